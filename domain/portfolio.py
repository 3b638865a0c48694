"""What a container owned after each of its fills, and the trades that its fills amount to.

All fills are of one symbol. Quantities are signed: positive for a purchase, negative for a sale. All sums
run in the order of the fills, so that the same fills always give the same bits.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled_lean
from .events import Bool, Float64, Int8, Int64

FLAT = 1e-9
"""A position of at most this part of the container's largest fill is rounding error, and counts as zero."""


class Trades(NamedTuple):
    """Round trips in columns, one row per trade in the order in which they began.

    Attributes
    ----------
    entry_fill, exit_fill
        Index of the fill that opened the trade, and of the one that closed it (-1 while the trade is open).
    side
        1 for a long trade, -1 for a short one.
    quantity
        Sum of all entries, positive.
    entry_price, exit_price
        Average price of all entries and of all exits; ``exit_price`` is NaN while the trade is open.
    fee
        Sum of the fees of its fills.
    pnl
        Profit or loss net of ``fee``; what is left of an open trade is valued at the mark price.
    """

    entry_fill: Int64
    exit_fill: Int64
    side: Int8
    quantity: Float64
    entry_price: Float64
    exit_price: Float64
    fee: Float64
    pnl: Float64

    @classmethod
    def empty(cls, size: int) -> "Trades":
        """Uninitialized columns of ``size`` rows, for `round_trips` to fill."""
        return cls(
            np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int8), *np.empty((5, size))
        )

    def at(self, rows: Int64 | Bool | slice) -> "Trades":
        """Return some of the trades."""
        columns: dict[str, np.ndarray] = self._asdict()
        return Trades(**{name: column[rows] for name, column in columns.items()})


@compiled_lean
def trades_from(trades: Trades, row: int) -> Trades:
    """Return the rows from ``row`` on."""
    return Trades(
        trades.entry_fill[row:],
        trades.exit_fill[row:],
        trades.side[row:],
        trades.quantity[row:],
        trades.entry_price[row:],
        trades.exit_price[row:],
        trades.fee[row:],
        trades.pnl[row:],
    )


@compiled_lean
def settle(
    quantity: Float64, price: Float64, fee: Float64, capital: float, position: Float64, cash: Float64
) -> None:
    """Write the position and the cash after each fill of one container into ``position`` and ``cash``.

    ``capital`` is the cash before the first fill. A position that is flat but for rounding error (see `FLAT`)
    is written, and carried on, as exactly zero.
    """
    largest = 0.0
    for i in range(quantity.size):
        largest = max(largest, abs(quantity[i]))
    held, money = 0.0, capital
    for i in range(quantity.size):
        held += quantity[i]
        if abs(held) <= FLAT * largest:
            held = 0.0
        money = money - quantity[i] * price[i] - fee[i]
        position[i] = held
        cash[i] = money


@compiled_lean
def _conclude(
    trades: Trades,
    row: int,
    exit_fill: int,
    entered: float,
    bought: float,
    exit_price: float,
    sold: float,
    paid: float,
) -> None:
    trades.exit_fill[row] = exit_fill
    trades.quantity[row] = entered
    trades.entry_price[row] = bought / entered
    trades.exit_price[row] = exit_price
    trades.fee[row] = paid
    trades.pnl[row] = trades.side[row] * (sold - bought) - paid


@compiled_lean
def round_trips(
    quantity: Float64, price: Float64, fee: Float64, position: Float64, mark: float, trades: Trades
) -> int:
    """Write the round trips of one container into ``trades`` and return their number.

    A trade runs from flat to flat, or to the fill that crosses zero: that fill closes one trade and opens the
    next, and its fee is split between them in proportion to quantity. Adds and partial exits average.

    Parameters
    ----------
    quantity, price, fee
        The fills, in order.
    position
        The position after each fill, exactly zero when flat, as `settle` writes it.
    mark
        Price at which an open trade is valued: the container's last close.
    trades
        Columns with room for as many rows as there are fills.
    """
    count = 0
    before = 0.0
    entered = bought = exited = sold = paid = 0.0
    for i in range(quantity.size):
        after = position[i]
        size = abs(quantity[i])
        crossed = before * after < 0.0
        closing = 0.0
        if crossed:
            closing = abs(before)
        elif before * quantity[i] < 0.0:
            closing = size
        opening = size - closing
        if closing > 0.0:
            exited += closing
            sold += closing * price[i]
            paid += fee[i] * (closing / size)
            if crossed or after == 0.0:
                _conclude(trades, count - 1, i, entered, bought, sold / exited, sold, paid)
        if opening > 0.0 and after != 0.0:
            if before == 0.0 or crossed:
                trades.entry_fill[count] = i
                trades.side[count] = 1 if after > 0.0 else -1
                count += 1
                entered = bought = exited = sold = paid = 0.0
            entered += opening
            bought += opening * price[i]
            paid += fee[i] * (opening / size)
        before = after
    if before != 0.0:
        _conclude(trades, count - 1, -1, entered, bought, np.nan, sold + abs(before) * mark, paid)
    return count


@compiled_lean
def settle_containers(
    starts: Int64,
    quantity: Float64,
    price: Float64,
    fee: Float64,
    capital: float,
    position: Float64,
    cash: Float64,
) -> None:
    """`settle` each of several containers whose fills lie one after the other.

    Container ``i`` has the fills ``starts[i]`` to ``starts[i + 1]`` (excluded).
    """
    for i in range(starts.size - 1):
        fills = slice(starts[i], starts[i + 1])
        settle(quantity[fills], price[fills], fee[fills], capital, position[fills], cash[fills])


@compiled_lean
def round_trips_of_containers(
    starts: Int64,
    quantity: Float64,
    price: Float64,
    fee: Float64,
    position: Float64,
    mark: Float64,
    trades: Trades,
) -> int:
    """Write the `round_trips` of several containers one after the other and return their number.

    Container ``i`` has the fills ``starts[i]`` to ``starts[i + 1]`` (excluded) and the mark price
    ``mark[i]``; ``entry_fill`` and ``exit_fill`` count from the first fill of the first container.
    """
    count = 0
    for i in range(starts.size - 1):
        fills = slice(starts[i], starts[i + 1])
        room = trades_from(trades, count)
        found = round_trips(quantity[fills], price[fills], fee[fills], position[fills], mark[i], room)
        for t in range(found):
            room.entry_fill[t] += starts[i]
            if room.exit_fill[t] >= 0:
                room.exit_fill[t] += starts[i]
        count += found
    return count


def filled_at_close(
    quantity: Float64, price: Float64, open_: Float64, close: Float64, slippage: float, *, opens: bool
) -> Bool:
    """Tell which fills happened at the close of their bars: those that have its price, after slippage.

    Parameters
    ----------
    quantity, price
        Of the fills, shape (n_fills,).
    open_, close
        Of the bar of each fill, shape (n_fills,).
    slippage
        As a fraction.
    opens
        Whether orders at market are filled at the open: a price that is both counts as that of the open.
    """
    slips = np.where(quantity > 0.0, 1.0 + slippage, 1.0 - slippage)
    at_close: Bool = price == close * slips
    if opens:
        at_close &= price != open_ * slips
    return at_close


@compiled_lean
def _seen(
    trades: Trades, row: int, bar: Int64, at_close: Bool, high: Float64, low: Float64, stop: int
) -> tuple[float, float]:
    """Return lowest and highest of the bars that one trade saw entirely; infinities if there are none."""
    entry, leave = trades.entry_fill[row], trades.exit_fill[row]
    first = bar[entry] + 1 if at_close[entry] else bar[entry]
    last = stop - 1
    if leave >= 0:
        last = bar[leave] if at_close[leave] else bar[leave] - 1
    lowest, highest = np.inf, -np.inf
    for t in range(first, last + 1):
        lowest, highest = min(lowest, low[t]), max(highest, high[t])
    return lowest, highest


@compiled_lean
def excursions(
    trades: Trades,
    fills: tuple[Int64, Float64, Bool],
    high: Float64,
    low: Float64,
    stop: int,
    mae: Float64,
    mfe: Float64,
) -> None:
    """Write how far the price went against each trade of a container (MAE), and how far in its favor (MFE).

    Both are fractions of the average entry price, at least 0, between the entry and the exit; for an open
    trade, up to the last bar. These prices count: the first entry's and the last exit's fill price, and high
    and low of each bar that the trade saw entirely. Those are all bars between entry and exit; the entry's
    bar, unless the entry was filled at its close; the exit's bar only if the exit was filled at its close.
    Of an entry inside of a bar, by a stop or limit order, the whole bar counts, since nobody knows which of
    its prices came before. A trade that adds to its position is measured against its average price all along.

    Parameters
    ----------
    trades
        Round trips, shape (n_trades,), as `round_trips` writes them.
    fills
        Bar, price and whether it was at the close of its bar, of each fill that the trades refer to.
    high, low
        Of all bars, shape (n_bars,).
    stop
        The bar after the container's last one.
    mae, mfe
        Written: shape (n_trades,).
    """
    bar, price, at_close = fills
    for i in range(trades.side.size):
        lowest, highest = _seen(trades, i, bar, at_close, high, low, stop)
        entry = price[trades.entry_fill[i]]
        leave = price[trades.exit_fill[i]] if trades.exit_fill[i] >= 0 else entry
        lowest, highest = min(lowest, min(entry, leave)), max(highest, max(entry, leave))
        average = trades.entry_price[i]
        fall, rise = max(average - lowest, 0.0) / average, max(highest - average, 0.0) / average
        mae[i], mfe[i] = (fall, rise) if trades.side[i] > 0 else (rise, fall)


@compiled_lean
def excursions_of_containers(
    starts: Int64,
    trades: Trades,
    fills: tuple[Int64, Float64, Bool],
    high: Float64,
    low: Float64,
    stops: Int64,
    mae: Float64,
    mfe: Float64,
) -> None:
    """Write the `excursions` of several containers whose trades lie one after the other.

    Container ``i`` has the trades ``starts[i]`` to ``starts[i + 1]`` (excluded), whose fills count from the
    first fill of the first container, and ``stops[i]`` is the bar after its last one.
    """
    for i in range(starts.size - 1):
        rows = slice(starts[i], starts[i + 1])
        own = Trades(
            trades.entry_fill[rows],
            trades.exit_fill[rows],
            trades.side[rows],
            trades.quantity[rows],
            trades.entry_price[rows],
            trades.exit_price[rows],
            trades.fee[rows],
            trades.pnl[rows],
        )
        excursions(own, fills, high, low, stops[i], mae[rows], mfe[rows])
