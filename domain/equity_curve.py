"""Statistics of one equity curve for reports: returns by month and year, drawdowns, tail risk.

They sort or make tables, so they are not among the metrics of every container.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from .bars import DAY
from .events import Float64, Int64
from .metrics import Profile


class MonthlyReturn(NamedTuple):
    """Return of one UTC month, 1 to 12, as a fraction."""

    year: int
    month: int
    value: float


class YearlyReturn(NamedTuple):
    """Return of one UTC year, as a fraction."""

    year: int
    value: float


class Drawdown(NamedTuple):
    """A stretch of an equity curve below its running peak.

    Attributes
    ----------
    peak, trough, recovery
        Times of the bar before it, of its lowest bar, and of the first bar that reached the peak again; None
        if none did. The peak of a drawdown from the capital is the first bar.
    depth
        Greatest depth as a fraction of the peak, positive.
    days
        From the peak to the recovery, or to the last bar.
    """

    peak: int
    trough: int
    recovery: int | None
    depth: float
    days: float


class TailRisk(NamedTuple):
    """What the extreme returns of an equity curve are like.

    Attributes
    ----------
    value_at_risk
        The return that is undercut in a part ``cutoff`` of all bars; a loss is negative.
    conditional_value_at_risk
        The mean of the returns below it.
    tail_ratio
        Size of the return that is exceeded in a part ``cutoff`` of all bars, by that of the one that is
        undercut in as many.
    stability
        Coefficient of determination of a straight line through the cumulative log returns.
    """

    value_at_risk: float
    conditional_value_at_risk: float
    tail_ratio: float
    stability: float


def equity_returns(capital: float, equity: Float64) -> Float64:
    """Return simple returns, shape (n_bars,), the first from ``capital``; 0 after an equity of 0 or less."""
    before = np.concatenate(([capital], equity[:-1]))
    alive = before > 0.0
    return np.where(alive, (equity - before) / np.where(alive, before, 1.0), 0.0)


def _period_returns(time: Int64, equity: Float64, capital: float, unit: str) -> tuple[Int64, Float64]:
    """Periods with bars, in units since 1970 UTC, and the returns between their last equities."""
    period = time.astype("datetime64[ns]").astype(f"datetime64[{unit}]").astype(np.int64)
    last = np.flatnonzero(np.append(period[1:] != period[:-1], True))
    return period[last], equity_returns(capital, equity[last])


def daily_returns(time: Int64, equity: Float64, capital: float) -> Float64:
    """Return from one UTC day's last equity to the next one's, of each day with bars, shape (n_days,)."""
    return _period_returns(time, equity, capital, "D")[1]


def monthly_returns(time: Int64, equity: Float64, capital: float) -> tuple[MonthlyReturn, ...]:
    """Return from one month's last equity to the next one's, of each month with bars; the first from capital.

    ``time`` is in nanoseconds since 1970 UTC, both arrays have shape (n_bars,), n_bars at least 1.
    """
    period, values = _period_returns(time, equity, capital, "M")
    return tuple(
        MonthlyReturn(1970 + month // 12, month % 12 + 1, value)
        for month, value in zip(period.tolist(), values.tolist(), strict=True)
    )


def yearly_returns(time: Int64, equity: Float64, capital: float) -> tuple[YearlyReturn, ...]:
    """Do as `monthly_returns` does, for years."""
    period, values = _period_returns(time, equity, capital, "Y")
    return tuple(
        YearlyReturn(1970 + year, value) for year, value in zip(period.tolist(), values.tolist(), strict=True)
    )


def deepest_drawdowns(time: Int64, equity: Float64, capital: float, count: int = 10) -> tuple[Drawdown, ...]:
    """Return the ``count`` deepest drawdowns, deepest first; among equals, the earlier one first.

    The first peak is ``capital``; both arrays have shape (n_bars,).
    """
    peak = np.maximum.accumulate(np.maximum(equity, capital))
    under = equity < peak
    edges = np.flatnonzero(np.diff(under, prepend=False, append=False))
    starts, stops = edges[::2], edges[1::2]
    troughs = [start + int(np.argmin(equity[start:stop])) for start, stop in zip(starts, stops, strict=True)]
    depths = np.array([1.0 - equity[trough] / peak[trough] for trough in troughs])
    found = []
    for i in np.argsort(-depths, kind="stable")[:count].tolist():
        begin, end = int(time[max(starts[i] - 1, 0)]), int(time[min(stops[i], time.size - 1)])
        recovery = end if stops[i] < time.size else None
        days = (end - begin) / DAY
        found.append(Drawdown(begin, int(time[troughs[i]]), recovery, float(depths[i]), days))
    return tuple(found)


def tail_risk(returns: Float64, profile: Profile = Profile.ADMF, cutoff: float = 0.05) -> TailRisk:
    """Measure the tails of ``returns``, shape (n_bars,).

    The returns at risk are those that occurred: a percentile with linear interpolation, and the mean of the
    lowest ``1 + floor((n - 1) cutoff)`` returns (empyrical-reloaded 0.7.1). In the profile ``quantstats``
    they are those of a normal distribution with the same mean and sample deviation (quantstats 0.0.86). NaN
    where there are no returns, and for the stability where a return is -1 or less or nothing changes.
    """
    n = returns.size
    if n == 0:
        return TailRisk(np.nan, np.nan, np.nan, np.nan)
    low, high = (float(level) for level in np.percentile(returns, [100 * cutoff, 100 * (1 - cutoff)]))
    at_risk, beyond = low, float(np.sort(returns)[: 1 + int((n - 1) * cutoff)].mean())
    if profile is Profile.QUANTSTATS:
        normal = NormalDist()
        score = normal.inv_cdf(cutoff)
        mean, deviation = float(returns.mean()), float(returns.std(ddof=1)) if n > 1 else np.nan
        at_risk, beyond = mean + score * deviation, mean - deviation * normal.pdf(score) / cutoff
    return TailRisk(at_risk, beyond, abs(high / low) if low != 0.0 else np.nan, _stability(returns))


def _stability(returns: Float64) -> float:
    if returns.size < 2 or returns.min() <= -1.0:
        return np.nan
    level = np.cumsum(np.log1p(returns))
    if np.ptp(level) == 0.0:
        return np.nan
    return float(np.corrcoef(np.arange(level.size), level)[0, 1] ** 2)
