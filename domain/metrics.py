"""Performance metrics of one container, in named profiles.

Every profile gives the same metrics by its own formulas; the profile's name goes into the log with
the numbers, since the same equity curve gives Sharpe ratios from 0.05 to 0.96 under different defaults. A
metric that is not defined, such as the Sharpe ratio of a flat curve, is NaN.

Notation: E is equity at each bar's close, r its simple returns, N bars per year, T years between first and
last bar (of 365.25 days), p and q profit and return of closed trades, net of fees.

| metric | unit | ``admf`` | ``backtesting_py`` |
| --- | --- | --- | --- |
| final_equity, peak_equity | currency | last and highest E | same |
| total_return | fraction | last E / capital - 1 | same |
| buy_and_hold_return | fraction | last close / first close - 1 | from the first bar with all features |
| annual_return | fraction | (1 + total_return)^(N/n) - 1 | (1 + g)^N - 1, g the geometric mean of daily r |
| cagr | fraction | (1 + total_return)^(1/T) - 1 | same |
| volatility | fraction | std(r, ddof 1) sqrt(N) | sqrt((var(r, ddof 1) + (1+g)^2)^N - (1+g)^(2N)) |
| sharpe_ratio | - | mean(r) / std(r, ddof 1) sqrt(N) | annual_return / volatility |
| sortino_ratio | - | mean(r) sqrt(N / mean(min(r,0)^2)) | annual_return / sqrt(N mean(min(r,0)^2)) |
| calmar_ratio | - | annual_return / max_drawdown | same |
| beta | - | cov(r, r of close) / var(r of close) | same with log returns |
| alpha | fraction | N (mean(r) - beta mean(r of close)) | total_return - beta buy_and_hold_return |
| max_drawdown | fraction, positive | from the running peak, which starts at capital | starts at the first E |
| average_drawdown | fraction, positive | mean over drawdowns of two bars or more | same |
| max_drawdown_days, average_drawdown_days | days | peak to recovery or last bar | same, average rounded up |
| trades | count | closed trades | same |
| win_rate | fraction | trades with p > 0 | same |
| best_trade, worst_trade | fraction | of q | same |
| average_trade | fraction | mean(q) | geometric mean of q |
| max_trade_days, average_trade_days | days | entry to exit | same, the average rounded up |
| profit_factor | - | sum of p > 0 / -sum of p < 0 | the same of q |
| expectancy | currency, fraction | mean(p) | mean(q) |
| sqn | - | sqrt(trades) mean(p) / std(p, ddof 1) | same |
| kelly | fraction | W - (1 - W) / (mean gain / mean loss) of p | same |
| exposure | fraction | bars that close with a position | bars from a trade's entry to its exit |
| turnover | per year | traded value / mean(E) / T | same |
| fees | currency | sum | same |

The first return is taken from capital to the first E; once E has fallen to zero or below, returns are zero.
``backtesting_py`` resamples E to days first, and N is 252. Its formulas are those of backtesting.py 0.6.6
(``backtesting/_stats.py``), restated.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from .bars import DAY
from .compiled import compiled
from .errors import UnknownNameError
from .events import Float64, Int64
from .portfolio import Trades


class Metric(IntEnum):
    """What is measured, in the order in which it is stored."""

    FINAL_EQUITY = 0
    PEAK_EQUITY = 1
    TOTAL_RETURN = 2
    BUY_AND_HOLD_RETURN = 3
    ANNUAL_RETURN = 4
    CAGR = 5
    VOLATILITY = 6
    SHARPE_RATIO = 7
    SORTINO_RATIO = 8
    CALMAR_RATIO = 9
    ALPHA = 10
    BETA = 11
    MAX_DRAWDOWN = 12
    AVERAGE_DRAWDOWN = 13
    MAX_DRAWDOWN_DAYS = 14
    AVERAGE_DRAWDOWN_DAYS = 15
    TRADES = 16
    WIN_RATE = 17
    BEST_TRADE = 18
    WORST_TRADE = 19
    AVERAGE_TRADE = 20
    MAX_TRADE_DAYS = 21
    AVERAGE_TRADE_DAYS = 22
    PROFIT_FACTOR = 23
    EXPECTANCY = 24
    SQN = 25
    KELLY = 26
    EXPOSURE = 27
    TURNOVER = 28
    FEES = 29


METRICS = tuple(metric.name.lower() for metric in Metric)
"""Names of the metrics, as configurations and results spell them."""

MINIMIZED = frozenset(
    {
        "volatility",
        "max_drawdown",
        "average_drawdown",
        "max_drawdown_days",
        "average_drawdown_days",
        "max_trade_days",
        "average_trade_days",
        "turnover",
        "fees",
    }
)
"""The metrics of which less is better."""

YEAR = 365.25 * DAY


class Profile(IntEnum):
    """A named set of formulas."""

    ADMF = 0
    BACKTESTING_PY = 1


def metric_profile(name: str, where: str = "") -> Profile:
    """Return the profile called `name`; an unknown one raises `UnknownNameError`."""
    profiles = {profile.name.lower(): profile for profile in Profile}
    if name not in profiles:
        raise UnknownNameError("metric profile", name, profiles, where)
    return profiles[name]


def objective_direction(metric: str, where: str = "") -> str:
    """Return ``maximize`` or ``minimize`` for a metric; an unknown one raises `UnknownNameError`."""
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS, where)
    return "minimize" if metric in MINIMIZED else "maximize"


class Curve(NamedTuple):
    """What a container did, bar by bar over its window.

    ``equity``, ``time`` and ``close`` have shape (n_bars,); ``held`` counts the bars that closed with a
    position, ``traded`` and ``fees`` are sums of value and fees over its fills, and ``warm`` is the index of
    the first bar at which all of its features were defined.
    """

    time: Int64
    close: Float64
    equity: Float64
    capital: float
    held: int
    traded: float
    fees: float
    warm: int


@compiled
def _ratio(above: float, below: float) -> float:
    return above / below if below != 0.0 else np.nan


@compiled
def _step(before: float, after: float) -> float:
    """Return one simple return; zero once nothing is left to earn it on."""
    return after / before - 1.0 if before > 0.0 else 0.0


@compiled
def _deviation(total: float, squares: float, count: int) -> float:
    """Sample standard deviation from a sum and a sum of squares; rounding noise of a constant counts as 0."""
    if count < 2:
        return np.nan
    spread = squares - total * total / count
    return math.sqrt(spread / (count - 1)) if spread > 1e-14 * squares else 0.0


@compiled
def _daily(time: Int64, equity: Float64) -> Float64:
    """Equity at the last bar of each day."""
    days = np.empty(equity.size)
    count = 0
    for t in range(equity.size):
        if t + 1 == equity.size or time[t + 1] // DAY != time[t] // DAY:
            days[count] = equity[t]
            count += 1
    return days[:count]


@compiled
def _write_returns(curve: Curve, per_year: float, out: Float64) -> None:
    n = curve.equity.size
    total = squares = downside = 0.0
    market = market_squares = product = 0.0
    before, close_before = curve.capital, curve.close[0]
    for t in range(n):
        r = _step(before, curve.equity[t])
        m = curve.close[t] / close_before - 1.0
        before, close_before = curve.equity[t], curve.close[t]
        total += r
        squares += r * r
        market += m
        market_squares += m * m
        product += r * m
        downside += min(r, 0.0) ** 2
    growth = 1.0 + out[Metric.TOTAL_RETURN]
    deviation = _deviation(total, squares, n)
    out[Metric.BUY_AND_HOLD_RETURN] = curve.close[n - 1] / curve.close[0] - 1.0
    out[Metric.ANNUAL_RETURN] = growth ** (per_year / n) - 1.0 if growth > 0.0 else -1.0
    out[Metric.VOLATILITY] = deviation * math.sqrt(per_year)
    out[Metric.SHARPE_RATIO] = _ratio(total / n, deviation) * math.sqrt(per_year)
    out[Metric.SORTINO_RATIO] = _ratio(total / n, math.sqrt(downside / n)) * math.sqrt(per_year)
    beta = _ratio(product - total * market / n, market_squares - market * market / n)
    out[Metric.ALPHA] = per_year * (total - beta * market) / n
    out[Metric.BETA] = beta


@compiled
def _write_daily_returns(curve: Curve, out: Float64) -> None:
    n = curve.equity.size
    days = _daily(curve.time, curve.equity)
    count = days.size - 1
    total = squares = downside = 0.0
    for d in range(count):
        r = _step(days[d], days[d + 1])
        total += r
        squares += r * r
        downside += min(r, 0.0) ** 2
    growth = 0.0
    if count > 0 and days[0] > 0.0 and days[count] > 0.0:
        growth = (days[count] / days[0]) ** (1.0 / count)
    variance = _deviation(total, squares, count) ** 2
    out[Metric.BUY_AND_HOLD_RETURN] = curve.close[n - 1] / curve.close[min(curve.warm, n - 1)] - 1.0
    out[Metric.ANNUAL_RETURN] = growth**252.0 - 1.0
    out[Metric.VOLATILITY] = math.sqrt(max((variance + growth**2) ** 252.0 - growth**504.0, 0.0))
    out[Metric.SHARPE_RATIO] = _ratio(out[Metric.ANNUAL_RETURN], out[Metric.VOLATILITY])
    out[Metric.SORTINO_RATIO] = (
        _ratio(out[Metric.ANNUAL_RETURN], math.sqrt(downside / count) * math.sqrt(252.0))
        if count > 0
        else np.nan
    )
    total = market = market_squares = product = 0.0
    for t in range(n - 1):
        if curve.equity[t] > 0.0 and curve.equity[t + 1] > 0.0:
            r = math.log(curve.equity[t + 1] / curve.equity[t])
            m = math.log(curve.close[t + 1] / curve.close[t])
            total += r
            market += m
            market_squares += m * m
            product += r * m
    steps = max(n - 1, 1)
    beta = _ratio(product - total * market / steps, market_squares - market * market / steps)
    out[Metric.ALPHA] = out[Metric.TOTAL_RETURN] - beta * out[Metric.BUY_AND_HOLD_RETURN]
    out[Metric.BETA] = beta


@compiled
def _write_drawdowns(curve: Curve, peak: float, out: Float64) -> None:
    n = curve.equity.size
    deepest = depth = depths = longest = lengths = 0.0
    count = 0
    since = 0
    for t in range(n):
        equity = curve.equity[t]
        if equity < peak:
            depth = max(depth, 1.0 - equity / peak)
            deepest = max(deepest, depth)
        peak = max(peak, equity)
        if equity == peak or t == n - 1:
            if t > since + 1:
                days = (curve.time[t] - curve.time[since]) / DAY
                longest = max(longest, days)
                lengths += days
                depths += depth
                count += 1
            since = t
            depth = 0.0
    out[Metric.PEAK_EQUITY] = peak
    out[Metric.MAX_DRAWDOWN] = deepest
    out[Metric.AVERAGE_DRAWDOWN] = depths / count if count > 0 else 0.0
    out[Metric.MAX_DRAWDOWN_DAYS] = longest
    out[Metric.AVERAGE_DRAWDOWN_DAYS] = lengths / count if count > 0 else 0.0


@compiled
def _write_trades(
    trades: Trades, count: int, fill_bar: Int64, time: Int64, returns_profile: bool, out: Float64
) -> None:
    closed = wins = losses = 0
    gains = pains = pnl = squares = 0.0
    total = logs = gain_returns = pain_returns = days = longest = 0.0
    best, worst = -np.inf, np.inf
    for i in range(count):
        if trades.exit_fill[i] < 0:
            continue
        closed += 1
        p = trades.pnl[i]
        q = p / (trades.quantity[i] * trades.entry_price[i])
        pnl += p
        squares += p * p
        total += q
        logs += math.log(1.0 + q) if q > -1.0 else -np.inf
        best, worst = max(best, q), min(worst, q)
        if p > 0.0:
            wins += 1
            gains += p
            gain_returns += q
        elif p < 0.0:
            losses += 1
            pains -= p
            pain_returns -= q
        held = (time[fill_bar[trades.exit_fill[i]]] - time[fill_bar[trades.entry_fill[i]]]) / DAY
        longest = max(longest, held)
        days += held
    out[Metric.TRADES] = closed
    if closed == 0:
        out[Metric.WIN_RATE : Metric.EXPOSURE] = np.nan
        return
    won = wins / closed
    out[Metric.WIN_RATE] = won
    out[Metric.BEST_TRADE], out[Metric.WORST_TRADE] = best, worst
    out[Metric.AVERAGE_TRADE] = math.exp(logs / closed) - 1.0 if returns_profile else total / closed
    out[Metric.MAX_TRADE_DAYS] = longest
    out[Metric.AVERAGE_TRADE_DAYS] = math.ceil(days / closed) if returns_profile else days / closed
    out[Metric.PROFIT_FACTOR] = (
        _ratio(gain_returns, pain_returns) if returns_profile else _ratio(gains, pains)
    )
    out[Metric.EXPECTANCY] = total / closed if returns_profile else pnl / closed
    out[Metric.SQN] = _ratio(math.sqrt(closed) * pnl / closed, _deviation(pnl, squares, closed))
    if wins > 0 and losses > 0:
        out[Metric.KELLY] = won - (1.0 - won) / ((gains / wins) / (pains / losses))
    else:
        out[Metric.KELLY] = np.nan


@compiled
def _bars_in_trades(trades: Trades, count: int, fill_bar: Int64, n: int) -> int:
    """Bars from each trade's entry to its exit, both included, each bar once."""
    covered = 0
    upto = -1
    for i in range(count):
        start = max(fill_bar[trades.entry_fill[i]], upto + 1)
        end = n - 1 if trades.exit_fill[i] < 0 else fill_bar[trades.exit_fill[i]]
        covered += max(end - start + 1, 0)
        upto = max(upto, end)
    return covered


@compiled
def measure(
    profile: int,
    per_year: float,
    curve: Curve,
    trades: Trades,
    count: int,
    fill_bar: Int64,
    out: Float64,
) -> None:
    """Write the metrics of one container into ``out``, in the order of `METRICS`.

    Parameters
    ----------
    profile
        A `Profile`.
    per_year
        Bars per year, N.
    curve
        What it did, bar by bar.
    trades, count
        Its round trips; the first ``count`` rows are valid.
    fill_bar
        Bar of each fill, counted from the first bar of the window.
    out
        Array of shape (len(METRICS),).
    """
    n = curve.equity.size
    years = (curve.time[n - 1] - curve.time[0]) / YEAR
    final = curve.equity[n - 1]
    average = 0.0
    for t in range(n):
        average += curve.equity[t]
    average /= n
    peculiar = profile == Profile.BACKTESTING_PY
    out[Metric.FINAL_EQUITY] = final
    out[Metric.TOTAL_RETURN] = final / curve.capital - 1.0
    out[Metric.CAGR] = (
        (final / curve.capital) ** (1.0 / years) - 1.0 if years > 0.0 and final > 0.0 else np.nan
    )
    if peculiar:
        _write_daily_returns(curve, out)
        _write_drawdowns(curve, curve.equity[0], out)
        out[Metric.AVERAGE_DRAWDOWN_DAYS] = math.ceil(out[Metric.AVERAGE_DRAWDOWN_DAYS])
    else:
        _write_returns(curve, per_year, out)
        _write_drawdowns(curve, curve.capital, out)
    out[Metric.CALMAR_RATIO] = _ratio(out[Metric.ANNUAL_RETURN], out[Metric.MAX_DRAWDOWN])
    _write_trades(trades, count, fill_bar, curve.time, peculiar, out)
    out[Metric.EXPOSURE] = (_bars_in_trades(trades, count, fill_bar, n) if peculiar else curve.held) / n
    out[Metric.TURNOVER] = _ratio(curve.traded, average * years)
    out[Metric.FEES] = curve.fees
