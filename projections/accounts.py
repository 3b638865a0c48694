"""What follows from fills: the account after each one, and the trades of each container."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..domain.events import Bool, Column, Float64, Int16, Int32, Int64, OrdersFilled, TrialsCompleted
from ..domain.portfolio import (
    Trades,
    excursions_of_containers,
    filled_at_close,
    round_trips_of_containers,
    settle_containers,
)
from .fold import Charges, Fold, Phase, Prices

WITHOUT_EXIT = """
SELECT * REPLACE (
    nullif(exit_bar, -1) AS exit_bar, nullif(exit_n, -1) AS exit_n, nullif(exit_price, 'NaN') AS exit_price,
    nullif(mae, 'NaN') AS mae, nullif(mfe, 'NaN') AS mfe
) FROM columns
"""

NEXT_OPEN = "next_open"


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


def gather_fills(fold: Fold, phase: Phase, event: OrdersFilled, first: int) -> Fills:
    """Write the fills of one event, with the account after each one, and return them.

    Cash is what is left after the interest that was charged up to then; that of a bar is charged at its open.
    Where there is interest, or there are several symbols, the balance at the end of each bar at which it
    changed is written, too.

    Parameters
    ----------
    fold, phase
        Where they are written, and the phase.
    event
        All fills of each of its containers, in order.
    first
        Number in its stream of the event's first row.

    Raises
    ------
    CorruptionError
        A symbol or bar is not among those of the phase.
    """
    order, timeline = _by_container(event.container), fold.timeline(phase)
    container, symbol, number = event.container[order], event.symbol[order], event.order[order]
    place = timeline.places(symbol, event.bar[order])
    quantity, price, fee = event.quantity[order], event.price[order], event.fee[order]
    position, cash = np.empty(container.size), np.empty(container.size)
    groups = np.lexsort((symbol, container)) if timeline.is_shared else slice(None)
    starts, held = _starts(_accounts(container[groups], symbol[groups])), np.empty(container.size)
    settle_containers(starts, quantity[groups], price[groups], fee[groups], phase.capital, held, cash)
    position[groups] = held
    charges = [part for part in fold.charges(phase) if part.amount.size]
    if timeline.is_shared or charges:
        flows = Flows(container, place, quantity, price, fee)
        cash = _gather_balances(fold, phase, charges, flows)
    n = np.arange(first, first + container.size)[order]
    is_last = _is_last(container, number)
    bar = event.bar[order]
    fills = Fills(n, container, number, symbol, bar, quantity, price, fee, position, cash, is_last)
    phase_key: dict[str, Column] = {"phase_key": np.full(container.size, phase.key, np.int32)}
    fold.recorder.gather("data.fills", phase_key | fills._asdict())
    return fills


class Flows(NamedTuple):
    """What changes the cash of containers, at places on the timeline."""

    container: Int32
    place: Int32
    quantity: Float64
    price: Float64
    fee: Float64


def _gather_balances(fold: Fold, phase: Phase, charges: Sequence[Charges], fills: Flows) -> Float64:
    """Write the cash at the end of each bar at which it changed, and return that after each fill."""
    parts = []
    for each in charges:
        chosen = np.isin(each.container, fills.container)
        container, amount = each.container[chosen], each.amount[chosen]
        places = fold.timeline(phase).places(each.symbol[chosen], each.bar[chosen])
        # As a purchase of one unit that nobody holds.
        parts.append(Flows(container, places, np.ones(amount.size), amount, np.zeros(amount.size)))
    columns = [np.concatenate(pieces) for pieces in zip(*parts, fills, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    container, place, quantity, price, fee = (column[order] for column in columns)
    unused, cash = np.empty((2, order.size))
    settle_containers(_starts(container), quantity, price, fee, phase.capital, unused, cash)
    ends = _starts(container.astype(np.int64) << 32 | place)[1:] - 1
    balances: dict[str, Column] = {
        "phase_key": np.full(ends.size, phase.key, np.int32),
        "container": container[ends],
        "bar": place[ends],
        "cash": cash[ends],
    }
    fold.recorder.gather("data.balances", balances)
    after = np.empty(order.size)
    after[order] = cash
    return after[order.size - fills.container.size :]


def gather_trades(fold: Fold, phase: Phase, event: TrialsCompleted, parts: Sequence[Fills]) -> None:
    """Derive the trades of containers from their fills, symbol by symbol, and write them.

    Parameters
    ----------
    fold, phase
        Where the trades are written, and the phase.
    event
        The containers.
    parts
        What was filled since the trials before these.
    """
    fills = _joined(parts, event.container) if parts else None
    if fills is None:
        return
    timeline = fold.timeline(phase)
    if timeline.is_shared:
        groups = np.lexsort((fills.symbol, fills.container))
        fills = _picked(fills, groups)
    starts = _starts(_accounts(fills.container, fills.symbol))
    sorter = np.argsort(event.container)
    trial = sorter[np.searchsorted(event.container, fills.container[starts[:-1]], sorter=sorter)]
    symbol = fills.symbol[starts[:-1]]
    last_bar = timeline.own_bars(symbol, event.stop_bar[trial] - 1)
    mark = np.full(symbol.size, np.nan)
    held = fills.position[starts[1:] - 1] != 0.0
    for number, bar in set(zip(symbol[held].tolist(), last_bar[held].tolist(), strict=True)):
        mark[(symbol == number) & (last_bar == bar)] = fold.close(phase, number, bar)
    room = Trades.empty(fills.container.size)
    count = round_trips_of_containers(
        starts, fills.quantity, fills.price, fills.fee, fills.position, mark, room
    )
    trades = _trades_at(room, slice(count))
    last_bars = np.repeat(last_bar, np.diff(starts))
    columns = _trade_columns(trades, fills, last_bars, _excursions(fold, phase, trades, fills, last_bars))
    phase_key: dict[str, Column] = {"phase_key": np.full(count, phase.key, np.int32)}
    fold.recorder.gather("data.trades", phase_key | columns, WITHOUT_EXIT)


def _excursions(fold: Fold, phase: Phase, trades: Trades, fills: Fills, last_bar: Int32) -> Float64:
    """Return MAE and MFE of trades, shape (2, n_trades); NaN without a price, or bars, in a damaged log."""
    found = np.full((2, trades.side.size), np.nan)
    symbol, leave = fills.symbol[trades.entry_fill], np.maximum(trades.exit_fill, trades.entry_fill)
    highest = np.maximum(last_bar[trades.entry_fill], fills.bar[leave])
    lowest = fills.bar[trades.entry_fill]
    bar = fills.bar.astype(np.int64)
    for number in np.flatnonzero(np.bincount(symbol)).tolist():
        prices = fold.prices(phase, number)
        known = (highest < prices.close.size) & (lowest >= 0) & (trades.entry_price != 0.0)
        chosen = np.flatnonzero((symbol == number) & known)
        own = _trades_at(trades, chosen)
        stops = last_bar[own.entry_fill].astype(np.int64) + 1
        filled = bar, fills.price, _is_at_close(phase, prices, fills)
        one_each, mae, mfe = np.arange(chosen.size + 1), *np.empty((2, chosen.size))
        excursions_of_containers(one_each, own, filled, prices.high, prices.low, stops, mae, mfe)
        found[:, chosen] = mae, mfe
    return found


def _is_at_close(phase: Phase, prices: Prices, fills: Fills) -> Bool:
    """Tell which fills happened at the close of their bars."""
    if prices.close.size == 0:
        return np.zeros(fills.bar.size, np.bool_)
    bar = fills.bar.clip(0, prices.close.size - 1)
    open_, close, opens = prices.open[bar], prices.close[bar], phase.fill == NEXT_OPEN
    return filled_at_close(fills.quantity, fills.price, open_, close, phase.slippage, opens=opens)


def _trade_columns(trades: Trades, fills: Fills, last_bar: Int32, excursions: Float64) -> dict[str, Column]:
    """Columns of trades in order of entry; ``last_bar`` is that of the fill's symbol."""
    entry = trades.entry_fill
    order = np.lexsort((fills.n[entry], fills.container[entry]))
    entry, exit_ = entry[order], trades.exit_fill[order]
    closed = exit_ >= 0
    owner = fills.container[entry]
    starts = _starts(owner)
    left = np.where(closed, fills.bar[exit_], last_bar[entry])
    return {
        "container": owner,
        "number": np.arange(1, owner.size + 1) - np.repeat(starts[:-1], np.diff(starts)),
        "symbol": fills.symbol[entry],
        "side": trades.side[order],
        "quantity": trades.quantity[order],
        "entry_bar": fills.bar[entry],
        "entry_price": trades.entry_price[order],
        "exit_bar": np.where(closed, left, -1),
        "exit_price": trades.exit_price[order],
        "fee": trades.fee[order],
        "pnl": trades.pnl[order],
        "mae": excursions[0][order],
        "mfe": excursions[1][order],
        "bars": left - fills.bar[entry],
        "entry_n": fills.n[entry],
        "exit_n": np.where(closed, fills.n[exit_], -1),
    }


def _joined(parts: Sequence[Fills], containers: Int32) -> Fills | None:
    """Join the fills of these containers; None if there are none."""
    columns: dict[str, np.ndarray] = parts[0]._asdict()
    if len(parts) > 1:
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Fills._fields}
    fills = Fills(**columns)
    chosen = np.isin(fills.container, containers)
    if not chosen.all():
        fills = _picked(fills, np.flatnonzero(chosen))
    return _picked(fills, _by_container(fills.container)) if chosen.any() else None


def _picked(fills: Fills, rows: Int64 | slice) -> Fills:
    columns: dict[str, np.ndarray] = fills._asdict()
    return Fills(**{name: column[rows] for name, column in columns.items()})


def _trades_at(trades: Trades, rows: Int64 | slice) -> Trades:
    if isinstance(rows, np.ndarray) and rows.size == trades.side.size:
        return trades
    return trades.at(rows)


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


def _accounts(container: Int32, symbol: Int16) -> Int64:
    """One number for each symbol of each container."""
    return container.astype(np.int64) << 16 | symbol


def _starts(owner: Int32 | Int64) -> Int64:
    """Where the rows of each owner begin, and their total number."""
    changes = np.flatnonzero(np.diff(owner)) + 1
    return np.concatenate(([0], changes, [owner.size])) if owner.size else np.zeros(1, np.int64)
