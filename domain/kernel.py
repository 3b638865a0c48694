"""The simulation loop: target exposures in, orders and fills out.

A container runs alone over its window. At each bar, in this order: the order of the bar before is filled, a
change of target becomes an order.
"""

from typing import NamedTuple

import numpy as np

from .compiled import compiled
from .events import DenialRule, Float64, Int8, Int32, Int64
from .execution import EndOfData, FillPrice, Rounding, SizingRule
from .measurement import Fills, Prices, measure_container


class Policy(NamedTuple):
    """An `Execution` as plain numbers."""

    fill: int
    rounding: int
    end: int
    commission_rate: float
    commission_fixed: float
    slippage: float


class Account(NamedTuple):
    """Capital and sizing of one container."""

    capital: float
    sizing_rule: int
    size: float


class Windows(NamedTuple):
    """Per container: its first bar, the bar after its last, the first with all features, and its size."""

    first: Int32
    stop: Int32
    warm: Int64
    size: Float64


class Book(NamedTuple):
    """Orders and what became of each: one row per order, container after container.

    ``outcome`` is `FILLED`, `CANCELED`, or a `DenialRule`; for a filled order ``fill_bar``, ``quantity``,
    ``price`` and ``fee`` are valid, for a denied one ``fill_bar`` and ``available``.
    """

    bar: Int32
    target: Float64
    outcome: Int8
    fill_bar: Int32
    quantity: Float64
    price: Float64
    fee: Float64
    available: Float64

    @classmethod
    def empty(cls, size: int) -> "Book":
        """Uninitialized room for `size` orders."""
        return cls(
            np.empty(size, np.int32),
            np.empty(size),
            np.empty(size, np.int8),
            np.empty(size, np.int32),
            *np.empty((4, size)),
        )


FILLED = 0
CANCELED = -1
NEXT_OPEN, SAME_CLOSE, NEXT_CLOSE = (int(choice) for choice in FillPrice)
END_CLOSE, END_CLOSE_AT_OPEN = int(EndOfData.CLOSE), int(EndOfData.CLOSE_AT_OPEN)
FLOOR = int(Rounding.FLOOR)
PERCENTAGE, UNITS = int(SizingRule.PERCENTAGE), int(SizingRule.UNITS)
NO_EQUITY, BELOW_ONE_UNIT, INSUFFICIENT_FUNDS = (int(rule) for rule in DenialRule)


@compiled
def book_rows(book: Book, start: int, stop: int) -> Book:
    """Return the orders at rows ``start`` to ``stop`` (excluded), as views."""
    return Book(
        book.bar[start:stop],
        book.target[start:stop],
        book.outcome[start:stop],
        book.fill_bar[start:stop],
        book.quantity[start:stop],
        book.price[start:stop],
        book.fee[start:stop],
        book.available[start:stop],
    )


@compiled
def first_defined(values: Float64) -> int:
    """Return the index of the first value that is not NaN, or the number of values."""
    for t in range(values.size):
        if not np.isnan(values[t]):
            return t
    return int(values.size)


@compiled
def hold_targets(targets: Float64, lowest: float, highest: float, held: Float64) -> int:
    """Write targets into ``held`` with gaps filled and bounds applied.

    Returns the first bar at which a target lies outside [-1, 1], or -1.
    """
    value = 0.0
    for t in range(targets.size):
        wish = targets[t]
        if not np.isnan(wish):
            if wish < -1.0 or wish > 1.0:
                return t
            value = min(max(wish, lowest), highest)
        held[t] = value
    return -1


@compiled
def count_changes(held: Float64, first: Int32, stop: Int32, counts: Int64) -> None:
    """Count how often each target changes inside its window, from flat before it.

    ``held`` has shape (n_containers, n_slots, n_bars), ``counts`` (n_containers, n_slots).
    """
    for c in range(held.shape[0]):
        for s in range(held.shape[1]):
            before = 0.0
            changes = 0
            for t in range(first[c], stop[c]):
                changes += held[c, s, t] != before
                before = held[c, s, t]
            counts[c, s] = changes


@compiled
def write_changes(held: Float64, first: Int32, stop: Int32, bar: Int32, target: Float64) -> None:
    """Write the bar and the new value of each change that `count_changes` counts, in the same order."""
    row = 0
    for c in range(held.shape[0]):
        for s in range(held.shape[1]):
            before = 0.0
            for t in range(first[c], stop[c]):
                if held[c, s, t] != before:
                    before = held[c, s, t]
                    bar[row], target[row] = t, before
                    row += 1


@compiled
def _wanted(target: float, equity: float, price: float, policy: Policy, account: Account) -> float:
    """Units that a position at this target should have, without sign and before rounding."""
    exposure = abs(target)
    if account.sizing_rule == UNITS:
        return account.size * exposure
    if account.sizing_rule == PERCENTAGE:
        budget = equity * account.size / 100.0 * exposure
    else:
        budget = account.size * exposure
    return (budget - policy.commission_fixed) / (price * (1.0 + policy.commission_rate))


@compiled
def _execute(
    book: Book,
    row: int,
    bar: int,
    market: float,
    cash: float,
    position: float,
    policy: Policy,
    account: Account,
) -> tuple[float, float]:
    """Fill or deny one order at the market price; return cash and position after it."""
    target = book.target[row]
    book.fill_bar[row] = bar
    equity = cash + position * market
    if target == 0.0:
        quantity = -position
        price = market * (1.0 - policy.slippage) if quantity < 0.0 else market * (1.0 + policy.slippage)
    else:
        if equity <= 0.0:
            book.outcome[row], book.available[row] = NO_EQUITY, equity
            return cash, position
        price = market * (1.0 + policy.slippage) if target > 0.0 else market * (1.0 - policy.slippage)
        units = max(_wanted(target, equity, price, policy, account), 0.0)
        if policy.rounding == FLOOR:
            units = np.floor(units)
        quantity = (units if target > 0.0 else -units) - position
        if quantity * target < 0.0:
            price = market * (1.0 - policy.slippage) if quantity < 0.0 else market * (1.0 + policy.slippage)
        if quantity == 0.0:
            book.outcome[row], book.available[row] = BELOW_ONE_UNIT, equity
            return cash, position
        cost = units * price * (1.0 + policy.commission_rate) + policy.commission_fixed
        if quantity * target > 0.0 and cost > equity * (1.0 + 1e-12):
            book.outcome[row], book.available[row] = INSUFFICIENT_FUNDS, equity
            return cash, position
    fee = abs(quantity) * price * policy.commission_rate + policy.commission_fixed
    book.outcome[row] = FILLED
    book.quantity[row], book.price[row], book.fee[row] = quantity, price, fee
    position = 0.0 if target == 0.0 else position + quantity
    return cash - quantity * price - fee, position


@compiled
def _place(book: Book, count: int, bar: int, target: float, position: float) -> int:
    """Write the orders that bring a position to a target: none, one, or two for a reversal."""
    if position != 0.0 and position * target <= 0.0:
        book.bar[count], book.target[count], book.outcome[count] = bar, 0.0, CANCELED
        count += 1
    if target != 0.0:
        book.bar[count], book.target[count], book.outcome[count] = bar, target, CANCELED
        count += 1
    return count


@compiled
def simulate_container(
    prices: Prices,
    target: Float64,
    first: int,
    stop: int,
    policy: Policy,
    account: Account,
    book: Book,
    row: int,
) -> int:
    """Run one container over the bars ``first`` to ``stop`` (excluded).

    Parameters
    ----------
    prices
        The bars.
    target
        Target exposure after each bar's close, shape (n_bars,), without NaN.
    first, stop
        The window.
    policy, account
        How orders are filled and sized.
    book, row
        Where its orders are written, from ``row`` on; at most two per change of target, and one at the end.

    Returns
    -------
    int
        The row after its last order.
    """
    cash, position = account.capital, 0.0
    pending = count = row
    wish = 0.0
    for t in range(first, stop):
        last = t == stop - 1
        if pending < count:
            market = prices.open[t] if policy.fill == NEXT_OPEN else prices.close[t]
            while pending < count:
                cash, position = _execute(book, pending, t, market, cash, position, policy, account)
                pending += 1
        if last and policy.end == END_CLOSE_AT_OPEN and position != 0.0:
            count = _place(book, count, t, 0.0, position)
            cash, position = _execute(book, pending, t, prices.open[t], cash, position, policy, account)
            pending = count
        if target[t] != wish:
            wish = target[t]
            count = _place(book, count, t, wish, position)
            while policy.fill == SAME_CLOSE and pending < count:
                cash, position = _execute(book, pending, t, prices.close[t], cash, position, policy, account)
                pending += 1
        if last and policy.end == END_CLOSE and position != 0.0:
            pending = count
            count = _place(book, count, t, 0.0, position)
            cash, position = _execute(book, pending, t, prices.close[t], cash, position, policy, account)
            pending = count
    return count


@compiled
def _fills(orders: Book) -> Fills:
    filled = np.nonzero(orders.outcome == FILLED)[0]
    return Fills(orders.fill_bar[filled], orders.quantity[filled], orders.price[filled], orders.fee[filled])


@compiled
def run_containers(
    prices: Prices,
    target: Float64,
    windows: Windows,
    policy: Policy,
    account: Account,
    profile: tuple[int, float],
    book: Book,
    ends: Int64,
    metrics: Float64,
) -> None:
    """Simulate and measure containers one after the other.

    Parameters
    ----------
    prices
        The bars.
    target
        Target exposures, shape (n_containers, n_bars).
    windows
        Per container.
    policy, account
        How orders are filled and sized; the account's size is replaced by each container's own.
    profile
        The metric profile and the number of bars per year.
    book
        Room for all orders.
    ends
        Written: the row in ``book`` after each container's last order, shape (n_containers,).
    metrics
        Written: shape (n_containers, n_metrics).
    """
    row = 0
    for c in range(target.shape[0]):
        first, stop = windows.first[c], windows.stop[c]
        own = Account(account.capital, account.sizing_rule, windows.size[c])
        end = simulate_container(prices, target[c], first, stop, policy, own, book, row)
        fills = _fills(book_rows(book, row, end))
        span = (first, stop, windows.warm[c])
        measure_container(prices, span, fills, account.capital, profile, metrics[c])
        row = end
        ends[c] = end
