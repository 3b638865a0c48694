"""What follows from fills: the account after each one, and the trades of each container."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..domain.errors import CorruptionError
from ..domain.events import Bool, Column, Float64, Int16, Int32, Int64, OrdersFilled, TrialsCompleted
from ..domain.portfolio import Trades, round_trips_of_containers, settle_containers
from .fold import Fold, Phase

WITHOUT_EXIT = """
SELECT * REPLACE (
    nullif(exit_bar, -1) AS exit_bar, nullif(exit_n, -1) AS exit_n, nullif(exit_price, 'NaN') AS exit_price
) FROM columns
"""


class Fills(NamedTuple):
    """Rows of `data.fills` of one phase, by container, and in order."""

    n: Int64
    container: Int32
    order_number: Int32
    symbol: Int16
    bar: Int32
    quantity: Float64
    price: Float64
    fee: Float64
    position: Float64
    cash: Float64
    is_last: Bool


def settled_fills(event: OrdersFilled, first: int, capital: float) -> Fills:
    """Compute the account after each fill of one event.

    Parameters
    ----------
    event
        All fills of each of its containers, in order.
    first
        Number in its stream of the event's first row.
    capital
        Cash of each container before its first fill.

    Raises
    ------
    CorruptionError
        A container has fills in two symbols.
    """
    order = _by_container(event.container)
    container, symbol = event.container[order], event.symbol[order]
    mixed = np.flatnonzero((np.diff(container) == 0) & (np.diff(symbol) != 0))
    if mixed.size:
        raise CorruptionError(
            f"a container must trade one symbol, but container {container[mixed[0]]} has fills in symbols "
            f"{symbol[mixed[0]]} and {symbol[mixed[0] + 1]}, among the rows from {first}. "
            "Check the log with `admf verify`."
        )
    quantity, price, fee = event.quantity[order], event.price[order], event.fee[order]
    position, cash = np.empty(container.size), np.empty(container.size)
    settle_containers(_starts(container), quantity, price, fee, capital, position, cash)
    return Fills(
        np.arange(first, first + container.size)[order],
        container,
        event.order[order],
        symbol,
        event.bar[order],
        quantity,
        price,
        fee,
        position,
        cash,
        _is_last(container, event.order[order]),
    )


def gather_trades(fold: Fold, phase: Phase, event: TrialsCompleted, parts: Sequence[Fills]) -> Int16:
    """Derive the trades of containers from their fills, and return the symbol that each of them traded.

    Parameters
    ----------
    fold, phase
        Where the trades are written, and the phase.
    event
        The containers.
    parts
        What was filled since the trials before these.
    """
    symbols = np.zeros(event.container.size, np.int16)
    fills = _joined(parts, event.container) if parts else None
    if fills is None:
        return symbols
    starts = _starts(fills.container)
    sorter = np.argsort(event.container)
    trial = sorter[np.searchsorted(event.container, fills.container[starts[:-1]], sorter=sorter)]
    symbols[trial] = fills.symbol[starts[:-1]]
    last_bar = event.stop_bar - 1
    mark = np.full(symbols.size, np.nan)
    held = trial[fills.position[starts[1:] - 1] != 0.0]
    for symbol, bar in set(zip(symbols[held].tolist(), last_bar[held].tolist(), strict=True)):
        mark[(symbols == symbol) & (last_bar == bar)] = fold.close(phase, symbol, bar)
    room = Trades.empty(fills.container.size)
    count = round_trips_of_containers(
        starts, fills.quantity, fills.price, fills.fee, fills.position, mark[trial], room
    )
    columns = _trade_columns(room, count, fills, np.repeat(last_bar[trial], np.diff(starts)))
    phase_key: dict[str, Column] = {"phase_key": np.full(count, phase.key, np.int32)}
    fold.recorder.gather("data.trades", phase_key | columns, WITHOUT_EXIT)
    return symbols


def _trade_columns(trades: Trades, count: int, fills: Fills, last_bar: Int32) -> dict[str, Column]:
    """Columns of the first ``count`` trades; ``last_bar`` is that of the container of each fill."""
    entry, exit_ = trades.entry_fill[:count], trades.exit_fill[:count]
    closed = exit_ >= 0
    owner = fills.container[entry]
    starts = _starts(owner)
    left = np.where(closed, fills.bar[exit_], last_bar[entry])
    return {
        "container": owner,
        "number": np.arange(1, owner.size + 1) - np.repeat(starts[:-1], np.diff(starts)),
        "symbol": fills.symbol[entry],
        "side": trades.side[:count],
        "quantity": trades.quantity[:count],
        "entry_bar": fills.bar[entry],
        "entry_price": trades.entry_price[:count],
        "exit_bar": np.where(closed, left, -1),
        "exit_price": trades.exit_price[:count],
        "fee": trades.fee[:count],
        "pnl": trades.pnl[:count],
        "bars": left - fills.bar[entry],
        "entry_n": fills.n[entry],
        "exit_n": np.where(closed, fills.n[exit_], -1),
    }


def _joined(parts: Sequence[Fills], containers: Int32) -> Fills | None:
    """Join the fills of these containers; None if there are none."""
    columns: dict[str, np.ndarray] = parts[0]._asdict()
    if len(parts) > 1:
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Fills._fields}
    chosen = np.isin(columns["container"], containers)
    if not chosen.all():
        columns = {name: column[chosen] for name, column in columns.items()}
    order = _by_container(columns["container"])
    return Fills(**{name: column[order] for name, column in columns.items()}) if chosen.any() else None


def _is_last(container: Int32, order: Int32) -> Bool:
    """Tell the last fill of each order from those that filled a part of it before."""
    keys = container.astype(np.int64) << 32 | order
    last = np.ones(keys.size, np.bool_)
    if (np.diff(keys) <= 0).any():
        last[:] = False
        last[keys.size - 1 - np.unique(keys[::-1], return_index=True)[1]] = True
    return last


def _by_container(container: Int32) -> Int64 | slice:
    """Index that sorts rows by container and leaves them in order otherwise."""
    return slice(None) if (np.diff(container) >= 0).all() else np.argsort(container, kind="stable")


def _starts(container: Int32) -> Int64:
    """Where each container's rows begin, and their total number."""
    changes = np.flatnonzero(np.diff(container)) + 1
    return np.concatenate(([0], changes, [container.size])) if container.size else np.zeros(1, np.int64)
