"""What a bar does with an order: at which price it fills, how much of it, and what that costs.

Pure functions of numbers. A price is NaN where the order does not fill. ``side`` is 1 for a purchase and -1
for a sale; units are positive.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled_lean
from .desk import Rules

ROUNDING_ERROR = 1e-12


class Bar(NamedTuple):
    """One bar of one symbol."""

    open: float
    high: float
    low: float
    volume: float


@compiled_lean
def limit_price(bar: Bar, side: int, limit: float, through: int) -> float:
    """Price of a limit order's fill: the open where that is better, else its limit where it is reached."""
    if (bar.open - limit) * side < 0.0 or (bar.open == limit and not through):
        return bar.open
    beyond = (limit - bar.low) if side > 0 else (bar.high - limit)
    return limit if beyond > 0.0 or (beyond == 0.0 and not through) else np.nan


@compiled_lean
def stop_price(bar: Bar, side: int, stop: float) -> float:
    """Price of a stop order's fill: the open where that is beyond it, else its stop where it is reached."""
    if (bar.open - stop) * side >= 0.0:
        return bar.open
    beyond = (bar.high - stop) if side > 0 else (stop - bar.low)
    return stop if beyond >= 0.0 else np.nan


@compiled_lean
def stop_limit_price(bar: Bar, side: int, stop: float, limit: float, through: int) -> tuple[float, bool]:
    """Price at which a stop-limit order fills, and whether the bar reached its stop.

    Once the stop is reached, the order is a limit order. At the open both are known; inside of the bar it
    fills only where the limit is no worse than the stop, since otherwise the limit may have come before the
    stop.
    """
    trigger = stop_price(bar, side, stop)
    if np.isnan(trigger):
        return np.nan, False
    if trigger == bar.open:
        return limit_price(bar, side, limit, through), True
    within = (limit - trigger) * side
    return (trigger if within > 0.0 or (within == 0.0 and not through) else np.nan), True


@compiled_lean
def exit_price(bar: Bar, side: int, stop: float, target: float, through: int) -> tuple[float, bool]:
    """Price at which a position of ``side`` ends inside of a bar, and whether that is its target.

    ``stop`` and ``target`` are NaN for none. A price that the open has passed fills at the open; after that,
    the stop goes before the target. The target is a limit order of the other side.
    """
    if (bar.open - stop) * side <= 0.0:
        return bar.open, False
    if (bar.open - target) * side > 0.0 or (bar.open == target and not through):
        return bar.open, True
    worst = bar.low if side > 0 else bar.high
    if (worst - stop) * side <= 0.0:
        return stop, False
    price = limit_price(bar, -side, target, through)
    return price, not np.isnan(price)


@compiled_lean
def commission(rules: Rules, units: float, price: float) -> float:
    """Fee of a fill: a part of its value, an amount for each unit, and a fixed one; at least the minimum."""
    fee = units * price * rules.commission_rate + units * rules.commission_per_unit + rules.commission_fixed
    return max(fee, rules.commission_minimum)


@compiled_lean
def affordable(rules: Rules, budget: float, price: float) -> float:
    """Units that a budget buys, fee included; negative where it does not even pay the fee."""
    each = price * (1.0 + rules.commission_rate) + rules.commission_per_unit
    units = (budget - rules.commission_fixed) / each
    if rules.commission_minimum > 0.0 and commission(rules, units, price) <= rules.commission_minimum:
        return (budget - rules.commission_minimum) / price
    return units


@compiled_lean
def rounded(units: float, granularity: float) -> float:
    """Round units toward zero to a multiple of the granularity; zero leaves them as they are.

    A multiple but for rounding error is one: 0.3 is three lots of 0.1.
    """
    if granularity == 0.0:
        return units
    lots = units / granularity
    whole: float = np.round(lots)
    if abs(lots - whole) > ROUNDING_ERROR * whole:
        whole = np.floor(lots)
    return whole * granularity


@compiled_lean
def slipped(rules: Rules, market: float, side: int) -> float:
    """Price after slippage."""
    return market * (1.0 + rules.slippage) if side > 0 else market * (1.0 - rules.slippage)


@compiled_lean
def fillable(rules: Rules, volume: float, used: float) -> float:
    """Units that a bar's volume still fills after ``used`` units of it; infinite without a volume limit."""
    if rules.volume_limit == 0.0:
        return np.inf
    return max(rules.volume_limit * volume - used, 0.0) if volume > 0.0 else 0.0


@compiled_lean
def impacted(rules: Rules, price: float, side: int, units: float, volume: float) -> float:
    """Price after the impact of ``units`` of the bar's volume.

    The volume-share model of zipline 1.0 and later (``zipline/finance/slippage.py``, VolumeShareSlippage):
    the square of the share, times the impact factor, times the price.
    """
    if rules.price_impact == 0.0:
        return price
    share = min(units / volume, rules.volume_limit)
    return price + side * share * share * rules.price_impact * price
