"""Many containers one after the other, in one call of compiled code."""

import numpy as np

from .book import Book, write_rows
from .compiled import compiled_lean
from .desk import Desk, Prices
from .events import Float64, Int64
from .kernel import simulate_container
from .measurement import Measures, Room, Spans, measure_container


@compiled_lean
def _begin(desk: Desk, capital: float, settings: Float64) -> None:
    """Give a container its capital and its own rules, and nothing else."""
    state, rules = desk.state, desk.rules
    state.cash = state.peak = state.last_equity = state.day_equity = capital
    state.size, state.stop_loss = settings[0], settings[1]
    state.take_profit, state.trailing_stop = settings[2], settings[3]
    rules.max_drawdown, rules.sizing = settings[4], int(settings[5])
    rules.supervised = int(rules.margined != 0 or settings[7] > 0.0 or rules.daily_loss > 0.0)
    state.gains = state.pains = 0.0
    state.wins = state.losses = state.open = state.halt = state.full = 0
    state.orders = state.fills = state.charges = 0
    state.day = -1
    state.watched = int(rules.priced != 0 or settings[6] > 0.0)
    for s in range(desk.holdings.size):
        holding = desk.holdings[s]
        holding.position = holding.entry = holding.entry_fee = 0.0
        holding.best = holding.used = 0.0
        holding.stop = holding.target = np.nan
        holding.entered = 0
        holding.closing = holding.opening = holding.wish = -1


@compiled_lean
def run_containers(
    desk: Desk,
    start: int,
    spans: Spans,
    wish_ends: Int64,
    settings: Float64,
    measures: Measures,
    room: Room,
    book: Book,
    metrics: Float64,
) -> int:
    """Simulate and measure the containers from ``start`` on.

    Parameters
    ----------
    desk
        The bars, wishes and rules of all of them, and room for what each of them does.
    start
        The first container; those before it are done.
    spans
        Per container: its bars.
    wish_ends
        The row after each container's last wish.
    settings
        Per container: size, stop loss, take profit, trailing stop, largest drawdown, sizing rule; and more
        than zero where it ever has exits, and a largest drawdown; shape (n_containers, 8).
    measures
        How they are measured, and with what capital they begin.
    room
        Scratch for that.
    book
        Written: what they did, as far as it is kept.
    metrics
        Written: shape (n_containers, n_metrics).

    Returns
    -------
    int
        How many containers are done: fewer than all where the room for rows did not suffice, of the desk if
        its state is ``full``, or else of the book.
    """
    state = desk.state
    prices = Prices(desk.time, desk.grid, desk.rules.mark)
    wish = wish_ends[start - 1] if start > 0 else 0
    for c in range(start, wish_ends.size):
        _begin(desk, measures.capital, settings[c])
        first, stop = spans.first[c], spans.stop[c]
        simulate_container(desk, first, stop, wish, wish_ends[c])
        if state.full != 0 or not write_rows(desk, book.first + c, book):
            return c
        measure_container(
            prices,
            (first, stop, spans.warm[c]),
            desk.fills[: state.fills],
            desk.charges[: state.charges],
            measures,
            room,
            metrics[c],
        )
        wish = wish_ends[c]
    return wish_ends.size
