"""The desk of one container: its bars, its rules, and the records of what it holds, orders and pays.

Records are passed to compiled functions by reference, one machine word each; that keeps calls cheap.
"""

from typing import Annotated, NamedTuple, Protocol, TypeVar, get_args, get_type_hints, overload

import numpy as np
from numpy.typing import NDArray

from .compiled import constant
from .events import Float64, Int64

Row = TypeVar("Row", covariant=True)
Records = NDArray[np.void]
"""An array of records, as NumPy sees it."""

OPEN, HIGH, LOW, CLOSE, VOLUME, MARK = map(constant, range(6))
"""Rows of the grid of prices. A dense grid has no row of its own for the mark price: it is the close."""

Short = Annotated[int, np.int32]
Tiny = Annotated[int, np.int8]


class Rows(Protocol[Row]):
    """An array of records, as compiled code sees it."""

    @property
    def size(self) -> int:
        """Number of records."""

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> "Rows[Row]": ...

    def __getitem__(self, index: int | slice) -> "Row | Rows[Row]":
        """Return a record by reference, or a part of the array."""


class Rules:
    """Execution, sizing and risk limits as plain numbers, in the words of `admf.domain.execution`.

    ``priced`` says whether wishes have prices, ``charged`` whether interest is, ``margined`` whether there
    are margin calls, and ``supervised`` whether the account is looked at after each bar; ``mark`` is the
    grid's row of mark prices.
    """

    fill: int
    through: int
    end: int
    granularity: float
    commission_rate: float
    commission_per_unit: float
    commission_fixed: float
    commission_minimum: float
    slippage: float
    volume_limit: float
    price_impact: float
    leverage: float
    maintenance_margin: float
    borrow_rate: float
    interest_rate: float
    sizing: int
    minimum_trades: int
    start: float
    max_position: float
    max_leverage: float
    max_drawdown: float
    daily_loss: float
    priced: int
    mark: int
    charged: int
    margined: int
    supervised: int


class Wish:
    """A target exposure that a portfolio wishes for at the close of a bar.

    Its volatility, and the prices (NaN for none), are read only where rules say so. One for the symbol -1
    states sizes and exits; see `admf.domain.stitching`.
    """

    bar: int
    symbol: int
    target: float
    volatility: float
    limit: float
    stop: float
    stop_loss: float
    take_profit: float


class Order:
    """An order and what became of it.

    ``outcome`` is zero for a fill, a `DenialRule`, or a `CancelReason` below zero; ``wish`` is the row of the
    wish that it follows from, -1 for none.
    """

    bar: Short
    wish: Short
    outcome_bar: Short
    symbol: Short
    type: Tiny
    outcome: Tiny
    target: float
    limit: float
    stop: float
    required: float
    available: float


class Fill:
    """What the market did; ``order`` is the order's row."""

    order: Short
    bar: Short
    symbol: int
    quantity: float
    price: float
    fee: float


class Charge:
    """Interest that was paid; ``symbol`` is -1 for cash."""

    bar: Short
    symbol: Short
    amount: float


class Holding:
    """One symbol in an account.

    Attributes
    ----------
    position, entry, entry_fee
        Units, and the average price and fee at which they were entered.
    stop, target, best
        Prices at which the position ends, NaN for none, and the best price since its entry.
    last
        The place of the symbol's last bar in the window.
    used
        Units of the current bar's volume that have been filled.
    entered
        How the position began in the current bar.
    closing, closing_left
        The row of the open order that closes the position, -1 for none, and the quantity that is left of it.
    opening, opening_left, opening_type
        The same of the order that opens one, NaN until it is decided, and the type that it has by now.
    wish
        The row of the last wish that an order followed.
    """

    position: float
    entry: float
    entry_fee: float
    stop: float
    target: float
    best: float
    last: int
    used: float
    entered: int
    closing: int
    closing_left: float
    opening: int
    opening_left: float
    opening_type: int
    wish: int


class State:
    """The account itself.

    Attributes
    ----------
    cash, peak, last_equity, day_equity
        Money; the highest equity at a close, the last one, and the last one of the day before.
    size, stop_loss, take_profit, trailing_stop
        The container's own size and exits, these as fractions.
    gains, pains, wins, losses
        Sums and numbers of the trades closed so far, where sizing needs them.
    orders, fills, charges
        The rows to write next.
    open
        Number of open orders.
    halt, day
        The rule that has halted trading, zero for none, and the current day.
    full
        Whether there was no more room for rows.
    watched
        Whether prices inside of bars matter: there are exits, or orders that name prices.
    """

    cash: float
    peak: float
    last_equity: float
    day_equity: float
    size: float
    stop_loss: float
    take_profit: float
    trailing_stop: float
    gains: float
    pains: float
    wins: int
    losses: int
    orders: int
    fills: int
    charges: int
    open: int
    halt: int
    day: int
    full: int
    watched: int


def record_type(record: type) -> np.dtype[np.void]:
    """Lay out a record in memory: eight bytes for each field, unless its annotation names another type."""
    hints = get_type_hints(record, include_extras=True)
    wide = {float: np.float64, int: np.int64}
    fields = [(name, wide.get(hint) or get_args(hint)[1]) for name, hint in hints.items()]
    return np.dtype(fields, align=True)


WISH, ORDER, FILL, CHARGE = (record_type(record) for record in (Wish, Order, Fill, Charge))
RULES, HOLDING, STATE = (record_type(record) for record in (Rules, Holding, State))


class Prices(NamedTuple):
    """Bars of all symbols on one timeline.

    ``time`` has shape (n_bars,), ``grid`` (5 or 6, n_symbols, n_bars); NaN where a symbol has no bar.
    ``mark`` is the row of the grid with each symbol's last close up to then.
    """

    time: Int64
    grid: Float64
    mark: int


class Desk(NamedTuple):
    """All that one container sees and changes; ``orders``, ``fills`` and ``charges`` are room for rows."""

    time: Int64
    grid: Float64
    wishes: Rows[Wish]
    rules: Rules
    state: State
    holdings: Rows[Holding]
    orders: Rows[Order]
    fills: Rows[Fill]
    charges: Rows[Charge]
