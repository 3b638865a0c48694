"""From the fills of a container to its metrics.

The simulation and the audit of its log both measure here: metrics follow from bars, fills and interest alone.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled_inside, compiled_lean
from .desk import Charge, Fill, Prices, Records, Rows
from .events import Float64, Int64
from .measures import Scratch, scratch_for
from .metrics import METRICS, Curve, measure
from .portfolio import Trades, round_trips, settle, trades_from


class Spans(NamedTuple):
    """Per container: its first bar, the bar after its last, and the first with all features."""

    first: Int64
    stop: Int64
    warm: Int64


class Measures(NamedTuple):
    """How a phase measures: the metric profile, bars per year, and the cash before the first fill."""

    profile: int
    bars_per_year: float
    capital: float


class Room(NamedTuple):
    """Scratch for measuring containers one after the other; make it with `room_for`."""

    curves: Float64
    returns: Scratch
    position: Float64
    columns: Float64
    bars: Int64
    order: Int64
    found: Trades
    sorted: Trades


def room_for(prices: Prices, fills: int) -> Room:
    """Make room for measuring containers of as many fills as there may be at most."""
    _, symbols, bars = prices.grid.shape
    return Room(
        np.empty((2, bars)),
        scratch_for(bars),
        np.empty(symbols),
        np.empty((5, fills)),
        np.empty(fills, np.int64),
        np.empty(fills + 1, np.int64),
        Trades.empty(fills + 1),
        Trades.empty(fills + 1),
    )


@compiled_inside
def _value(marks: Float64, start: int, cash: float, position: Float64, equity: Float64) -> int:
    """Write the equity at closes from the bar ``start`` on, and return at how many there was a position."""
    held = 0
    for s in range(position.size):
        if position[s] == 0.0:
            continue
        own = marks[s, start : start + equity.size]
        for t in range(equity.size):
            equity[t] = (equity[t] if held > 0 else cash) + position[s] * own[t]
        held = equity.size
    if held == 0:
        equity[:] = cash
    return held


@compiled_lean
def mark_to_market(
    prices: Prices,
    first: int,
    fills: Rows[Fill],
    charges: Rows[Charge],
    capital: float,
    position: Float64,
    equity: Float64,
) -> int:
    """Write the equity at each close from the bar ``first`` on, as far as ``equity`` reaches.

    ``capital`` is the cash before the first fill; ``position`` is scratch, a number for each symbol. Returns
    the number of bars that closed with a position.
    """
    marks = prices.grid[prices.mark]
    cash = capital
    fill = charge = held = 0
    position[:] = 0.0
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
        held += _value(marks, bar, cash, position, equity[bar - first : following - first])
        bar = following
    return held


@compiled_lean
def _average(marks: Float64, first: int, curve: Float64) -> None:
    """Write the mean close of several symbols, each relative to its first one."""
    for t in range(curve.size):
        curve[t] = 0.0
    for s in range(marks.shape[0]):
        base = np.nan
        for t in range(curve.size):
            price = marks[s, first + t]
            if np.isnan(base):
                base = price
            curve[t] += 1.0 if np.isnan(base) else price / base
    for t in range(curve.size):
        curve[t] /= marks.shape[0]


@compiled_lean
def trades_of(prices: Prices, last: int, fills: Rows[Fill], capital: float, room: Room) -> int:
    """Write the round trips of a container into ``room.found``, symbol by symbol, and return their number.

    ``room.bars`` is written with the bar of each fill in the order that the trades' fill indexes refer to.
    """
    quantity, price, fee = room.columns[0], room.columns[1], room.columns[2]
    position, cash = room.columns[3], room.columns[4]
    trades = room.found
    start = count = 0
    for s in range(prices.grid.shape[1]):
        stop = start
        for i in range(fills.size):
            if fills[i].symbol == s:
                quantity[stop], price[stop] = fills[i].quantity, fills[i].price
                fee[stop], room.bars[stop] = fills[i].fee, fills[i].bar
                stop += 1
        if stop == start:
            continue
        own = slice(start, stop)
        settle(quantity[own], price[own], fee[own], capital, position[own], cash[own])
        rows = trades_from(trades, count)
        found = round_trips(
            quantity[own], price[own], fee[own], position[own], prices.grid[prices.mark, s, last], rows
        )
        for i in range(found):
            rows.entry_fill[i] += start
            if rows.exit_fill[i] >= 0:
                rows.exit_fill[i] += start
        count += found
        start = stop
    return count


@compiled_lean
def _sort_trades(room: Room, count: int) -> None:
    """Put trades of several symbols into the order in which they began."""
    found, ordered, bars, order = room.found, room.sorted, room.bars, room.order
    for i in range(count):
        entered = bars[found.entry_fill[i]]
        j = i
        while j > 0 and bars[found.entry_fill[order[j - 1]]] > entered:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
    for i in range(count):
        row = order[i]
        ordered.entry_fill[i], ordered.exit_fill[i] = found.entry_fill[row], found.exit_fill[row]
        ordered.side[i], ordered.quantity[i] = found.side[row], found.quantity[row]
        ordered.entry_price[i], ordered.exit_price[i] = found.entry_price[row], found.exit_price[row]
        ordered.fee[i], ordered.pnl[i] = found.fee[row], found.pnl[row]


@compiled_lean
def measure_container(
    prices: Prices,
    span: tuple[int, int, int],
    fills: Rows[Fill],
    charges: Rows[Charge],
    measures: Measures,
    room: Room,
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
    measures
        How it is measured.
    room
        Scratch.
    out
        Written: shape (n_metrics,).
    """
    first, stop, warm = span
    capital = measures.capital
    equity = room.curves[0, : stop - first]
    held = mark_to_market(prices, first, fills, charges, capital, room.position, equity)
    count = trades_of(prices, stop - 1, fills, capital, room)
    marks = prices.grid[prices.mark]
    trades, market = room.found, marks[0, first:stop]
    if marks.shape[0] > 1:
        _sort_trades(room, count)
        trades, market = room.sorted, room.curves[1, : stop - first]
        _average(marks, first, room.curves[1, : stop - first])
    traded = fees = 0.0
    for i in range(fills.size):
        traded += abs(fills[i].quantity) * fills[i].price
        fees += fills[i].fee
        room.bars[i] -= first
    for i in range(charges.size):
        fees += charges[i].amount
    curve = Curve(
        prices.time[first:stop],
        market,
        equity,
        capital,
        held,
        traded,
        fees,
        max(warm - first, 0),
    )
    measure(measures.profile, measures.bars_per_year, curve, trades, count, room.bars, room.returns, out)


@compiled_lean
def _measure_containers(
    prices: Prices,
    spans: Spans,
    fill_ends: Int64,
    charge_ends: Int64,
    fills: Rows[Fill],
    charges: Rows[Charge],
    measures: Measures,
    room: Room,
    metrics: Float64,
) -> None:
    fill = charge = 0
    for c in range(fill_ends.size):
        measure_container(
            prices,
            (spans.first[c], spans.stop[c], spans.warm[c]),
            fills[fill : fill_ends[c]],
            charges[charge : charge_ends[c]],
            measures,
            room,
            metrics[c],
        )
        fill, charge = fill_ends[c], charge_ends[c]


def measure_containers(
    prices: Prices,
    spans: Spans,
    ends: tuple[Int64, Int64],
    fills: Records,
    charges: Records,
    measures: Measures,
) -> Float64:
    """Measure several containers whose fills and charges lie one after the other.

    Those of container ``i`` end before the rows ``ends[0][i]`` and ``ends[1][i]``. Returns an array of shape
    (n_containers, n_metrics).
    """
    metrics = np.empty((ends[0].size, len(METRICS)))
    room = room_for(prices, fills.size)
    _measure_containers(prices, spans, *ends, fills, charges, measures, room, metrics)
    return metrics
