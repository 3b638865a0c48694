"""Performance metrics of one container, in named profiles.

Every profile gives the same metrics by its own formulas; the profile's name goes into the log with the
numbers, since the same equity curve gives Sharpe ratios from 0.05 to 0.96 under different defaults. The
formulas are those of `admf.domain.formulas`. A metric that is not defined, such as the Sharpe ratio of a flat
curve, is NaN.
"""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from .bars import DAY
from .compiled import compiled_lean
from .errors import UnknownNameError
from .events import Float64, Int64
from .measures import (
    NOISE,
    BarReturns,
    Drawdowns,
    Scratch,
    bar_returns,
    daily_returns,
    drawdowns,
    log_beta,
)
from .portfolio import Trades
from .tallies import TradeTally, bar_tally, bars_in_trades, geometric_mean_of_trades, tally


class Metric(IntEnum):
    """What is measured, in the order in which it is stored."""

    FINAL_EQUITY = 0
    PEAK_EQUITY = 1
    TOTAL_RETURN = 2
    BUY_AND_HOLD_RETURN = 3
    ANNUAL_RETURN = 4
    CAGR = 5
    VOLATILITY = 6
    DOWNSIDE_RISK = 7
    SHARPE_RATIO = 8
    SORTINO_RATIO = 9
    CALMAR_RATIO = 10
    OMEGA_RATIO = 11
    INFORMATION_RATIO = 12
    ALPHA = 13
    BETA = 14
    SKEWNESS = 15
    KURTOSIS = 16
    BEST_RETURN = 17
    WORST_RETURN = 18
    MAX_DRAWDOWN = 19
    AVERAGE_DRAWDOWN = 20
    MAX_DRAWDOWN_DAYS = 21
    AVERAGE_DRAWDOWN_DAYS = 22
    TIME_UNDER_WATER = 23
    ULCER_INDEX = 24
    RECOVERY_FACTOR = 25
    TRADES = 26
    LONG_TRADES = 27
    SHORT_TRADES = 28
    WIN_RATE = 29
    BEST_TRADE = 30
    WORST_TRADE = 31
    AVERAGE_TRADE = 32
    AVERAGE_WIN = 33
    AVERAGE_LOSS = 34
    PAYOFF_RATIO = 35
    MAX_CONSECUTIVE_WINS = 36
    MAX_CONSECUTIVE_LOSSES = 37
    MAX_TRADE_DAYS = 38
    AVERAGE_TRADE_DAYS = 39
    PROFIT_FACTOR = 40
    EXPECTANCY = 41
    SQN = 42
    KELLY = 43
    EXPOSURE = 44
    TURNOVER = 45
    FEES = 46


METRICS = tuple(metric.name.lower() for metric in Metric)
"""Names of the metrics, as configurations and results spell them."""

MINIMIZED = frozenset(
    {
        "volatility",
        "downside_risk",
        "kurtosis",
        "max_drawdown",
        "average_drawdown",
        "max_drawdown_days",
        "average_drawdown_days",
        "time_under_water",
        "ulcer_index",
        "max_consecutive_losses",
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
    EMPYRICAL = 2
    QUANTSTATS = 3


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


@compiled_lean
def _ratio(above: float, below: float) -> float:
    return above / below if below != 0.0 else np.nan


@compiled_lean
def _power(base: float, exponent: float) -> float:
    """Return what a growth comes to; an account of nothing or less stays at nothing."""
    return base**exponent if base > 0.0 else 0.0


@compiled_lean
def _write_returns(r: BarReturns, per_year: float, out: Float64) -> None:
    n, root = r.bars, math.sqrt(per_year)
    deviation = math.sqrt(_ratio(r.squares, n - 1.0))
    downside = math.sqrt(r.loss_squares / n)
    beta = r.product / r.market_squares if r.market_squares > NOISE * n else np.nan
    active = _ratio(r.squares - 2.0 * r.product + r.market_squares, n - 1.0)
    out[Metric.ANNUAL_RETURN] = _power(1.0 + out[Metric.TOTAL_RETURN], per_year / n) - 1.0
    out[Metric.VOLATILITY] = deviation * root
    out[Metric.DOWNSIDE_RISK] = downside * root
    out[Metric.SHARPE_RATIO] = _ratio(r.mean, deviation) * root
    out[Metric.SORTINO_RATIO] = _ratio(r.mean, downside) * root
    out[Metric.OMEGA_RATIO] = _ratio(r.mean * n - r.loss, -r.loss)
    out[Metric.INFORMATION_RATIO] = (
        _ratio(r.mean - r.market_mean, math.sqrt(active) if active > NOISE else 0.0) * root
    )
    out[Metric.ALPHA] = per_year * (r.mean - beta * r.market_mean)
    out[Metric.BETA] = beta
    variance = r.squares / n
    out[Metric.SKEWNESS] = _ratio(r.cubes / n, variance * math.sqrt(variance))
    out[Metric.KURTOSIS] = _ratio(r.fourths / n, variance * variance) - 3.0
    out[Metric.BEST_RETURN], out[Metric.WORST_RETURN] = r.best, r.worst


@compiled_lean
def _write_drawdowns(d: Drawdowns, n: int, out: Float64) -> None:
    out[Metric.PEAK_EQUITY] = d.peak
    out[Metric.MAX_DRAWDOWN] = d.deepest
    out[Metric.AVERAGE_DRAWDOWN] = d.depths / d.episodes if d.episodes > 0 else 0.0
    out[Metric.MAX_DRAWDOWN_DAYS] = d.longest / DAY
    out[Metric.AVERAGE_DRAWDOWN_DAYS] = d.lengths / (d.episodes * DAY) if d.episodes > 0 else 0.0
    out[Metric.TIME_UNDER_WATER] = d.under_water / n
    out[Metric.ULCER_INDEX] = math.sqrt(d.squares / n)
    out[Metric.CALMAR_RATIO] = _ratio(out[Metric.ANNUAL_RETURN], d.deepest)
    out[Metric.RECOVERY_FACTOR] = _ratio(out[Metric.TOTAL_RETURN], d.deepest)


@compiled_lean
def _write_trades(t: TradeTally, out: Float64) -> None:
    out[Metric.TRADES], out[Metric.LONG_TRADES], out[Metric.SHORT_TRADES] = (
        t.closed,
        t.long,
        t.closed - t.long,
    )
    if t.closed == 0:
        out[Metric.WIN_RATE : Metric.EXPOSURE] = np.nan
        return
    won = t.wins / t.closed
    payoff = _ratio(_ratio(t.gains, t.wins), _ratio(t.pains, t.losses))
    spread = t.squares - t.profit * t.profit / t.closed
    # A spread of this size is rounding error of equal profits.
    spread = spread if spread > 1e-14 * t.squares else 0.0
    out[Metric.WIN_RATE] = won
    out[Metric.BEST_TRADE], out[Metric.WORST_TRADE] = t.best, t.worst
    out[Metric.AVERAGE_TRADE] = t.returns / t.closed
    out[Metric.AVERAGE_WIN] = _ratio(t.gain_returns, t.wins)
    out[Metric.AVERAGE_LOSS] = -_ratio(t.pain_returns, t.losses)
    out[Metric.PAYOFF_RATIO] = payoff
    out[Metric.MAX_CONSECUTIVE_WINS], out[Metric.MAX_CONSECUTIVE_LOSSES] = t.winning, t.losing
    out[Metric.MAX_TRADE_DAYS] = t.longest / DAY
    out[Metric.AVERAGE_TRADE_DAYS] = t.lengths / (t.closed * DAY)
    out[Metric.PROFIT_FACTOR] = _ratio(t.gains, t.pains)
    out[Metric.EXPECTANCY] = t.profit / t.closed
    out[Metric.SQN] = _ratio(t.profit, math.sqrt(t.closed * _ratio(spread, t.closed - 1.0)))
    out[Metric.KELLY] = won - (1.0 - won) / payoff


@compiled_lean
def _rewrite_as_backtesting_py(
    curve: Curve, trades: Trades, count: int, fill_bar: Int64, t: TradeTally, out: Float64
) -> None:
    n = curve.equity.size
    days = daily_returns(curve.time, curve.equity)
    growth = days.growth
    annual = growth**252.0 - 1.0
    downside = days.downside * math.sqrt(252.0)
    volatility = math.sqrt(max((days.variance + growth**2) ** 252.0 - growth**504.0, 0.0))
    hold = curve.close[n - 1] / curve.close[min(curve.warm, n - 1)] - 1.0
    beta = log_beta(curve.equity, curve.close)
    out[Metric.BUY_AND_HOLD_RETURN] = hold
    out[Metric.ANNUAL_RETURN] = annual
    out[Metric.VOLATILITY] = volatility
    out[Metric.DOWNSIDE_RISK] = downside
    out[Metric.SHARPE_RATIO] = _ratio(annual, volatility)
    out[Metric.SORTINO_RATIO] = _ratio(annual, downside)
    out[Metric.CALMAR_RATIO] = _ratio(annual, out[Metric.MAX_DRAWDOWN])
    out[Metric.ALPHA] = out[Metric.TOTAL_RETURN] - beta * hold
    out[Metric.BETA] = beta
    out[Metric.AVERAGE_DRAWDOWN_DAYS] = np.ceil(out[Metric.AVERAGE_DRAWDOWN_DAYS])
    out[Metric.EXPOSURE] = bars_in_trades(trades, count, fill_bar, n) / n
    if t.closed > 0:
        out[Metric.AVERAGE_TRADE] = geometric_mean_of_trades(trades, count)
        out[Metric.AVERAGE_TRADE_DAYS] = np.ceil(out[Metric.AVERAGE_TRADE_DAYS])
        out[Metric.PROFIT_FACTOR] = _ratio(t.gain_returns, t.pain_returns)
        out[Metric.EXPECTANCY] = t.returns / t.closed


@compiled_lean
def _rewrite_as_empyrical(per_year: float, out: Float64) -> None:
    out[Metric.CAGR] = out[Metric.ANNUAL_RETURN]
    out[Metric.ALPHA] = (1.0 + out[Metric.ALPHA] / per_year) ** per_year - 1.0
    out[Metric.INFORMATION_RATIO] /= math.sqrt(per_year)


@compiled_lean
def _rewrite_as_quantstats(curve: Curve, r: BarReturns, d: Drawdowns, per_year: float, out: Float64) -> None:
    n = float(r.bars)
    bars = bar_tally(curve.capital, curve.equity)
    gains = r.mean * n - r.loss
    won = _ratio(bars.up, bars.up + bars.down)
    win, loss = _ratio(gains, bars.up), _ratio(r.loss, bars.down)
    payoff = _ratio(win, -loss)
    out[Metric.CAGR] = out[Metric.ANNUAL_RETURN]
    out[Metric.INFORMATION_RATIO] /= math.sqrt(per_year)
    out[Metric.SKEWNESS] *= math.sqrt(n * (n - 1.0)) / (n - 2.0) if n > 2.0 else np.nan
    out[Metric.KURTOSIS] = (
        (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * out[Metric.KURTOSIS] + 6.0) if n > 3.0 else np.nan
    )
    out[Metric.ULCER_INDEX] = math.sqrt(_ratio(d.squares, n - 1.0))
    out[Metric.RECOVERY_FACTOR] = _ratio(abs(r.mean * n), d.deepest)
    out[Metric.WIN_RATE] = won
    out[Metric.AVERAGE_WIN] = win
    out[Metric.AVERAGE_LOSS] = loss
    out[Metric.PAYOFF_RATIO] = payoff
    out[Metric.KELLY] = won - _ratio(1.0 - won, payoff)
    out[Metric.PROFIT_FACTOR] = _ratio(gains, -r.loss)
    out[Metric.MAX_CONSECUTIVE_WINS], out[Metric.MAX_CONSECUTIVE_LOSSES] = bars.winning, bars.losing
    out[Metric.EXPOSURE] = math.ceil(100.0 * ((bars.up + bars.down) / n)) / 100.0


@compiled_lean
def measure(
    profile: int,
    per_year: float,
    curve: Curve,
    trades: Trades,
    count: int,
    fill_bar: Int64,
    scratch: Scratch,
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
    scratch
        For `bar_returns` and `drawdowns`.
    out
        Array of shape (len(METRICS),).
    """
    n = curve.equity.size
    years = (curve.time[n - 1] - curve.time[0]) / YEAR
    final = curve.equity[n - 1]
    growth = final / curve.capital
    out[Metric.FINAL_EQUITY] = final
    out[Metric.TOTAL_RETURN] = growth - 1.0
    out[Metric.BUY_AND_HOLD_RETURN] = curve.close[n - 1] / curve.close[0] - 1.0
    out[Metric.CAGR] = growth ** (1.0 / years) - 1.0 if years > 0.0 and growth > 0.0 else np.nan
    peculiar = profile == Profile.BACKTESTING_PY
    highest = curve.equity[0] if peculiar else curve.capital
    valleys = drawdowns(highest, curve.equity, curve.time, scratch.lanes)
    returns = bar_returns(curve.capital, curve.equity, curve.close, valleys.lowest, scratch)
    deals = tally(trades, count, fill_bar, curve.time)
    _write_returns(returns, per_year, out)
    _write_drawdowns(valleys, n, out)
    _write_trades(deals, out)
    out[Metric.EXPOSURE] = curve.held / n
    out[Metric.TURNOVER] = _ratio(curve.traded, returns.equity * years)
    out[Metric.FEES] = curve.fees
    if profile == Profile.BACKTESTING_PY:
        _rewrite_as_backtesting_py(curve, trades, count, fill_bar, deals, out)
    elif profile == Profile.EMPYRICAL:
        _rewrite_as_empyrical(per_year, out)
    elif profile == Profile.QUANTSTATS:
        _rewrite_as_quantstats(curve, returns, valleys, per_year, out)
