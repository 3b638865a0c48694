"""What containers did, in columns: copied out of the records of each one while they are at hand.

The rows of containers lie one after the other. Bars are places on the timeline.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from .account import FILLED
from .compiled import compiled_lean
from .desk import Desk
from .events import Bool, Float64, Int8, Int16, Int32, Int64

TYPES = {
    "container": np.int32,
    "order": np.int32,
    "symbol": np.int16,
    "bar": np.int32,
    "type": np.int8,
    "outcome": np.int8,
}
"""Types of columns that are no floating-point numbers."""
PLACED, ENDED, FILLS, CHARGES = range(4)


class Placed(NamedTuple):
    """All orders."""

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    type: Int8
    target: Float64
    limit: Float64
    stop: Float64


class Ended(NamedTuple):
    """The orders that were denied or canceled, and when; see `desk.Order`."""

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    outcome: Int8
    required: Float64
    available: Float64


class Filled(NamedTuple):
    """All fills."""

    container: Int32
    order: Int32
    symbol: Int16
    bar: Int32
    quantity: Float64
    price: Float64
    fee: Float64


class Charged(NamedTuple):
    """All interest."""

    container: Int32
    symbol: Int16
    bar: Int32
    amount: Float64


class Book(NamedTuple):
    """Room for rows; only the first ``rows`` of each table, in the order of its fields, are written.

    ``first`` is the number of the first container. ``orders`` and ``fills`` say whether orders, and fills
    with interest, are kept at all.
    """

    placed: Placed
    ended: Ended
    filled: Filled
    charged: Charged
    rows: Int64
    first: int
    orders: bool
    fills: bool


Table = TypeVar("Table", Placed, Ended, Filled, Charged)


def _columns(tables: Sequence[tuple[type[NamedTuple], int]]) -> Iterator[np.ndarray]:
    """Lay out the columns of tables with so many rows, each of them at a whole number of words."""
    fields = [
        (np.dtype(TYPES.get(name, np.float64)), rows) for table, rows in tables for name in table._fields
    ]
    starts = np.cumsum([0, *(-(-rows * kind.itemsize // 8) * 8 for kind, rows in fields)]).tolist()
    # One piece of memory: a large one is kept by the allocator, where many small ones are given back.
    memory = np.empty(starts[-1], np.uint8)
    for (kind, rows), start in zip(fields, starts[:-1], strict=True):
        yield memory[start : start + rows * kind.itemsize].view(kind)


def book_for(rows: int, first: int, *, orders: bool, fills: bool) -> Book:
    """Make room for as many orders and fills of all containers."""
    placed, filled = rows * orders, rows * fills
    columns = _columns([(Placed, placed), (Ended, placed), (Filled, filled), (Charged, 0)])
    return Book(
        Placed(*islice(columns, len(Placed._fields))),
        Ended(*islice(columns, len(Ended._fields))),
        Filled(*islice(columns, len(Filled._fields))),
        Charged(*islice(columns, len(Charged._fields))),
        np.zeros(4, np.int64),
        first,
        orders,
        fills,
    )


def _extended(table: Table, rows: int) -> Table:
    if table.container.size >= rows:
        return table
    columns: dict[str, np.ndarray] = table._asdict()
    return type(table)(**{name: np.resize(column, 2 * rows) for name, column in columns.items()})


def extended(book: Book, orders: int, fills: int, charges: int) -> Book:
    """Make sure that there is room for so many rows more, twice as much where there was not."""
    placed, ended, filled, charged = book.rows.tolist()
    return book._replace(
        placed=_extended(book.placed, (placed + orders) * book.orders),
        ended=_extended(book.ended, (ended + orders) * book.orders),
        filled=_extended(book.filled, (filled + fills) * book.fills),
        charged=_extended(book.charged, (charged + charges) * book.fills),
    )


def rows_of(table: Table, rows: slice | Bool) -> Table:
    """Return some rows of a table."""
    columns: dict[str, np.ndarray] = table._asdict()
    return type(table)(**{name: column[rows] for name, column in columns.items()})


@compiled_lean
def _write_orders(desk: Desk, container: int, placed: Placed, ended: Ended, rows: Int64) -> None:
    row, end = rows[PLACED], rows[ENDED]
    for i in range(desk.state.orders):
        order = desk.orders[i]
        placed.container[row], placed.order[row], placed.symbol[row] = container, i, order.symbol
        placed.bar[row], placed.type[row], placed.target[row] = order.bar, order.type, order.target
        placed.limit[row], placed.stop[row] = order.limit, order.stop
        row += 1
        if order.outcome != FILLED:
            ended.container[end], ended.order[end], ended.symbol[end] = container, i, order.symbol
            ended.bar[end], ended.outcome[end] = order.outcome_bar, order.outcome
            ended.required[end], ended.available[end] = order.required, order.available
            end += 1
    rows[PLACED], rows[ENDED] = row, end


@compiled_lean
def _write_fills(desk: Desk, container: int, filled: Filled, charged: Charged, rows: Int64) -> None:
    row = rows[FILLS]
    for i in range(desk.state.fills):
        fill = desk.fills[i]
        filled.container[row], filled.order[row], filled.symbol[row] = container, fill.order, fill.symbol
        filled.bar[row], filled.quantity[row] = fill.bar, fill.quantity
        filled.price[row], filled.fee[row] = fill.price, fill.fee
        row += 1
    rows[FILLS], row = row, rows[CHARGES]
    for i in range(desk.state.charges):
        charge = desk.charges[i]
        charged.container[row], charged.symbol[row] = container, charge.symbol
        charged.bar[row], charged.amount[row] = charge.bar, charge.amount
        row += 1
    rows[CHARGES] = row


@compiled_lean
def write_rows(desk: Desk, container: int, book: Book) -> bool:
    """Write what a container did; where there is not room for all of it, write nothing and return False."""
    state, rows = desk.state, book.rows
    if book.orders and rows[PLACED] + state.orders > min(book.placed.bar.size, book.ended.bar.size):
        return False
    if book.fills and rows[FILLS] + state.fills > book.filled.bar.size:
        return False
    if book.fills and rows[CHARGES] + state.charges > book.charged.bar.size:
        return False
    if book.orders:
        _write_orders(desk, container, book.placed, book.ended, rows)
    if book.fills:
        _write_fills(desk, container, book.filled, book.charged, rows)
    return True
