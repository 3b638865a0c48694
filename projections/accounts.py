"""What follows from fills: the account after each one, and the trades of each container."""

from typing import NamedTuple

import numpy as np

from ..domain.errors import CorruptionError
from ..domain.events import Column, Float64, Int16, Int32, Int64, OrdersFilled
from ..domain.portfolio import Trades, round_trips_of_containers, settle_containers
from .recorder import DuckDBRecorder

FILLS_WITH_MARK = """
SELECT x.n, x.container, x.symbol, x.bar, x.quantity, x.price, x.fee, x.position, t.stop_bar - 1 AS last_bar,
    b.close AS mark
FROM data.fills x
JOIN data.trials t ON t.phase_key = x.phase_key AND t.container = x.container
JOIN data.feeds f ON f.phase_key = x.phase_key AND f.symbol = x.symbol
JOIN data.bars b ON b.stream_key = f.stream_key AND b.bar = t.stop_bar - 1
WHERE x.phase_key = ? AND x.container BETWEEN ? AND ? AND t.n BETWEEN ? AND ?
ORDER BY x.container, x.n
"""
WITHOUT_EXIT = """
SELECT * REPLACE (nullif(exit_bar, -1) AS exit_bar, nullif(exit_n, -1) AS exit_n) FROM columns
"""


class MarkedFills(NamedTuple):
    """Fills by container, with the container's last bar and the close at it."""

    n: Int64
    container: Int32
    symbol: Int16
    bar: Int32
    quantity: Float64
    price: Float64
    fee: Float64
    position: Float64
    last_bar: Int32
    mark: Float64


def fill_columns(event: OrdersFilled, phase_key: int, first: int, capital: float) -> dict[str, Column]:
    """Columns of the fills of one event with the account after each.

    Parameters
    ----------
    event
        All fills of each of its containers, in order.
    phase_key
        The phase.
    first
        Number in its stream of the event's first row.
    capital
        Cash of each container before its first fill.

    Raises
    ------
    CorruptionError
        A container has fills in two symbols.
    """
    order = np.argsort(event.container, kind="stable")
    container, symbol = event.container[order], event.symbol[order]
    mixed = np.flatnonzero((np.diff(container) == 0) & (np.diff(symbol) != 0))
    if mixed.size:
        raise CorruptionError(
            f"a container must trade one symbol, but container {container[mixed[0]]} has fills in symbols "
            f"{symbol[mixed[0]]} and {symbol[mixed[0] + 1]}, among the rows from {first}. "
            "Check the log with `admf verify`."
        )
    quantity, price, fee = event.quantity[order], event.price[order], event.fee[order]
    position, cash = np.empty(order.size), np.empty(order.size)
    settle_containers(_starts(container), quantity, price, fee, capital, position, cash)
    return {
        "phase_key": np.full(order.size, phase_key, np.int32),
        "n": first + order,
        "container": container,
        "order_number": event.order[order],
        "symbol": symbol,
        "bar": event.bar[order],
        "quantity": quantity,
        "price": price,
        "fee": fee,
        "position": position,
        "cash": cash,
    }


def insert_trades(recorder: DuckDBRecorder, phase_key: int, first: int, container: Int32) -> None:
    """Derive the trades of containers whose fills, and trials from row ``first``, have been written."""
    bounds = int(container.min()), int(container.max())
    rows = first, first + container.size - 1
    fills = MarkedFills(**recorder.columns(FILLS_WITH_MARK, (phase_key, *bounds, *rows)))
    starts = _starts(fills.container)
    room = Trades.empty(fills.container.size)
    count = round_trips_of_containers(
        starts,
        fills.quantity,
        fills.price,
        fills.fee,
        fills.position,
        fills.mark[starts[:-1]],
        room,
    )
    if count == 0:
        return
    entry, exit_ = room.entry_fill[:count], room.exit_fill[:count]
    closed = exit_ >= 0
    owner = fills.container[entry]
    trades_before = np.repeat(_starts(owner)[:-1], np.diff(_starts(owner)))
    left = np.where(closed, fills.bar[exit_], fills.last_bar[entry])
    recorder.insert(
        "data.trades",
        {
            "phase_key": np.full(count, phase_key, np.int32),
            "container": owner,
            "number": np.arange(1, count + 1) - trades_before,
            "symbol": fills.symbol[entry],
            "side": room.side[:count],
            "quantity": room.quantity[:count],
            "entry_bar": fills.bar[entry],
            "entry_price": room.entry_price[:count],
            "exit_bar": np.where(closed, left, -1),
            "exit_price": room.exit_price[:count],
            "fee": room.fee[:count],
            "pnl": room.pnl[:count],
            "bars": left - fills.bar[entry],
            "entry_n": fills.n[entry],
            "exit_n": np.where(closed, fills.n[exit_], -1),
        },
        WITHOUT_EXIT,
    )


def _starts(container: Int32) -> Int64:
    """Where each container's rows begin, and their total number."""
    changes = np.flatnonzero(np.diff(container)) + 1
    return np.concatenate(([0], changes, [container.size])) if container.size else np.zeros(1, np.int64)
