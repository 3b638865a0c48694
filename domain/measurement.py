"""From the fills of a container to its metrics.

The simulation and the audit of its log both measure here: metrics follow from bars, fills and interest alone.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled, compiled_lean
from .desk import Charge, Fill, Prices, Rows
from .events import Float64, Int64
from .metrics import Curve, measure
from .portfolio import Trades, round_trips, settle


class Spans(NamedTuple):
    """Per container: its first bar, the bar after its last, and the first with all features."""

    first: Int64
    stop: Int64
    warm: Int64


class Measures(NamedTuple):
    """How a phase measures: the metric profile, and the number of bars per year."""

    profile: int
    bars_per_year: float


@compiled_lean
def _value(prices: Prices, start: int, cash: float, position: Float64, equity: Float64) -> int:
    """Write the equity at closes from the bar ``start`` on, and return at how many there was a position."""
    marks = prices.grid[prices.mark]
    if position.size == 1:
        for t in range(equity.size):
            equity[t] = cash + position[0] * marks[0, start + t]
        return equity.size if position[0] != 0.0 else 0
    invested = False
    for t in range(equity.size):
        equity[t] = cash
    for s in range(position.size):
        if position[s] != 0.0:
            invested = True
            for t in range(equity.size):
                equity[t] += position[s] * marks[s, start + t]
    return equity.size if invested else 0


@compiled_lean
def _mark(
    prices: Prices,
    first: int,
    fills: Rows[Fill],
    charges: Rows[Charge],
    capital: float,
    position: Float64,
    equity: Float64,
) -> int:
    cash = capital
    fill = charge = held = 0
    bar, end = first, first + equity.size
    while bar < end:
        while fill < fills.size and fills[fill].bar == bar:
            cash = cash - fills[fill].quantity * fills[fill].price - fills[fill].fee
            position[fills[fill].symbol] += fills[fill].quantity
            fill += 1
        while charge < charges.size and charges[charge].bar == bar:
            cash -= charges[charge].amount
            charge += 1
        following = end
        if fill < fills.size:
            following = min(following, fills[fill].bar)
        if charge < charges.size:
            following = min(following, charges[charge].bar)
        held += _value(prices, bar, cash, position, equity[bar - first : following - first])
        bar = following
    return held


@compiled
def mark_to_market(
    prices: Prices, first: int, fills: Rows[Fill], charges: Rows[Charge], capital: float, equity: Float64
) -> int:
    """Write the equity at each close from the bar ``first`` on, as far as ``equity`` reaches.

    ``capital`` is the cash before the first fill. Returns the number of bars that closed with a position.
    """
    flat = np.zeros(prices.grid.shape[1])
    return _mark(prices, first, fills, charges, capital, flat, equity)


@compiled
def _market_curve(prices: Prices, first: int, stop: int) -> Float64:
    """Return the close of one symbol, or the mean of several, each relative to its first."""
    marks = prices.grid[prices.mark]
    if prices.grid.shape[1] == 1:
        only: Float64 = marks[0, first:stop]
        return only
    curve = np.zeros(stop - first)
    for s in range(prices.grid.shape[1]):
        base = np.nan
        for t in range(first, stop):
            if np.isnan(base):
                base = marks[s, t]
            curve[t - first] += 1.0 if np.isnan(base) else marks[s, t] / base
    for t in range(curve.size):
        curve[t] /= prices.grid.shape[1]
    return curve


@compiled
def trades_of(
    prices: Prices, last: int, fills: Rows[Fill], capital: float, trades: Trades, bars: Int64
) -> int:
    """Write the round trips of a container, symbol by symbol, and return their number.

    ``bars`` is written with the bar of each fill in the order that the trades' fill indexes refer to.
    """
    size = fills.size
    quantity, price, fee = np.empty(size), np.empty(size), np.empty(size)
    position, cash = np.empty(size), np.empty(size)
    start = count = 0
    for s in range(prices.grid.shape[1]):
        stop = start
        for i in range(size):
            if fills[i].symbol == s:
                quantity[stop], price[stop] = fills[i].quantity, fills[i].price
                fee[stop], bars[stop] = fills[i].fee, fills[i].bar
                stop += 1
        if stop == start:
            continue
        own = slice(start, stop)
        settle(quantity[own], price[own], fee[own], capital, position[own], cash[own])
        room = Trades(
            trades.entry_fill[count:],
            trades.exit_fill[count:],
            trades.side[count:],
            trades.quantity[count:],
            trades.entry_price[count:],
            trades.exit_price[count:],
            trades.fee[count:],
            trades.pnl[count:],
        )
        found = round_trips(
            quantity[own], price[own], fee[own], position[own], prices.grid[prices.mark, s, last], room
        )
        for i in range(found):
            room.entry_fill[i] += start
            if room.exit_fill[i] >= 0:
                room.exit_fill[i] += start
        count += found
        start = stop
    return count


@compiled
def _in_time(trades: Trades, count: int, bars: Int64) -> Trades:
    """Put trades of several symbols into the order in which they began."""
    entered = np.empty(count, np.int64)
    for i in range(count):
        entered[i] = bars[trades.entry_fill[i]]
    order = np.arange(count)
    for i in range(1, count):
        moved = order[i]
        j = i
        while j > 0 and entered[order[j - 1]] > entered[moved]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = moved
    return Trades(
        trades.entry_fill[order],
        trades.exit_fill[order],
        trades.side[order],
        trades.quantity[order],
        trades.entry_price[order],
        trades.exit_price[order],
        trades.fee[order],
        trades.pnl[order],
    )


@compiled
def measure_container(
    prices: Prices,
    span: tuple[int, int, int],
    fills: Rows[Fill],
    charges: Rows[Charge],
    capital: float,
    measures: Measures,
    out: Float64,
) -> None:
    """Write the metrics of one container.

    Parameters
    ----------
    prices
        The bars.
    span
        The container's first bar, the bar after its last, and the first with all features.
    fills, charges
        What it traded and what it paid for borrowing, inside of these bars and in their order.
    capital
        Its cash before the first fill.
    measures
        How it is measured.
    out
        Written: shape (n_metrics,).
    """
    first, stop, warm = span
    equity = np.empty(stop - first)
    held = mark_to_market(prices, first, fills, charges, capital, equity)
    size = fills.size
    columns = np.empty((5, size + 1))
    trades = Trades(
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int8),
        columns[0],
        columns[1],
        columns[2],
        columns[3],
        columns[4],
    )
    bars = np.empty(size, np.int64)
    number = trades_of(prices, stop - 1, fills, capital, trades, bars)
    if prices.grid.shape[1] > 1:
        trades = _in_time(trades, number, bars)
    traded = fees = 0.0
    for i in range(size):
        traded += abs(fills[i].quantity) * fills[i].price
        fees += fills[i].fee
    for i in range(charges.size):
        fees += charges[i].amount
    curve = Curve(
        prices.time[first:stop],
        _market_curve(prices, first, stop),
        equity,
        capital,
        held,
        traded,
        fees,
        max(warm - first, 0),
    )
    measure(measures.profile, measures.bars_per_year, curve, trades, number, bars - first, out)


@compiled
def measure_containers(
    prices: Prices,
    spans: Spans,
    fill_ends: Int64,
    charge_ends: Int64,
    fills: Rows[Fill],
    charges: Rows[Charge],
    capital: float,
    measures: Measures,
    metrics: Float64,
) -> None:
    """`measure_container` for several containers whose fills and charges lie one after the other.

    Those of container ``i`` end before the rows ``fill_ends[i]`` and ``charge_ends[i]``; ``metrics``, of
    shape (n_containers, n_metrics), is written.
    """
    fill = charge = 0
    for c in range(fill_ends.size):
        measure_container(
            prices,
            (spans.first[c], spans.stop[c], spans.warm[c]),
            fills[fill : fill_ends[c]],
            charges[charge : charge_ends[c]],
            capital,
            measures,
            metrics[c],
        )
        fill, charge = fill_ends[c], charge_ends[c]
