"""Auditing what happened in the containers of a shard: signals, orders and fills, up to their trials."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...domain.events import (
    Bool,
    Int32,
    Int64,
    InterestCharged,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PhaseStarted,
    SignalsEmitted,
    TrialsCompleted,
)
from ...domain.panel import Panel
from ...eventstore.record import Recorded
from .violation import Violation

ContainerEvent = (
    SignalsEmitted | OrdersPlaced | OrdersDenied | OrdersFilled | OrdersCanceled | InterestCharged
)
Outcome = OrdersDenied | OrdersFilled | OrdersCanceled

NAMED = 5
"""Rows of one event that are named where they break one rule: without its fills, thousands of orders do."""


class Batch(NamedTuple):
    """Rows of one type, and the stored event that holds them."""

    recorded: Recorded
    event: ContainerEvent | TrialsCompleted


class Fault(NamedTuple):
    """Rows of a batch that break a rule, and what to say about the one at an index."""

    batch: Batch
    wrong: Bool
    rule: str
    describe: Callable[[int], str]

    @property
    def containers(self) -> set[int]:
        """The containers of the rows."""
        found: set[int] = set(self.batch.event.container[self.wrong].tolist())
        return found

    def violations(self) -> Iterator[Violation]:
        """Yield one violation for each of the first rows; the last one tells how many more there are."""
        recorded = self.batch.recorded
        rows = np.flatnonzero(self.wrong).tolist()
        for number, row in enumerate(rows[:NAMED], start=1):
            more = f" And so in {len(rows) - NAMED:,} more rows." if number == NAMED < len(rows) else ""
            message = f"{recorded.topic}: {self.describe(row)}{more}"
            yield Violation(f"{recorded.stream}#{recorded.first + row}", self.rule, message)


def shard_faults(
    batches: Sequence[Batch],
    trials: TrialsCompleted,
    started: PhaseStarted,
    panel: Panel | None,
    *,
    logs_orders: bool,
    fills_partly: bool,
) -> Iterator[Fault]:
    """Check rows against the trials that they led to, and outcomes against orders, if those are logged.

    ``panel`` holds the bars that the phase read, if they could be read; ``fills_partly`` says whether an
    order may be filled in parts. A fault may have no rows.
    """
    for batch in batches:
        yield from _place_faults(batch, trials, started, panel)
    yield from _order_faults(batches, logs_orders=logs_orders, fills_partly=fills_partly)


def trial_faults(batch: Batch, trials: TrialsCompleted, first: int, bars: int) -> Iterator[Fault]:
    """Check that trials are numbered from `first` on, and lie inside of the bars."""
    expected = np.arange(first, first + trials.container.size)
    yield Fault(
        batch,
        trials.container != expected,
        "container",
        lambda row: f"container {expected[row]} must come next, found {trials.container[row]}.",
    )
    yield Fault(
        batch,
        ~((trials.first_bar >= 0) & (trials.first_bar < trials.stop_bar) & (trials.stop_bar <= bars)),
        "bar",
        lambda row: (
            f"a container must lie inside of the {bars} bars of its feed, found bars "
            f"{trials.first_bar[row]} to {trials.stop_bar[row]}."
        ),
    )


def _place_faults(
    batch: Batch, trials: TrialsCompleted, started: PhaseStarted, panel: Panel | None
) -> Iterator[Fault]:
    """Check that rows name containers, bars, symbols and strategies that are there."""
    event = batch.event
    if isinstance(event, TrialsCompleted):
        return
    order = np.argsort(trials.container)
    place = order[np.searchsorted(trials.container, event.container, sorter=order).clip(max=order.size - 1)]
    known = trials.container[place] == event.container
    yield Fault(
        batch,
        ~known,
        "container",
        lambda row: f"container {event.container[row]} must be among the trials that follow, and is not.",
    )
    first, stop = trials.first_bar[place], trials.stop_bar[place]
    bar = _on_timeline(event, panel)
    on_timeline = " on the timeline" if len(started.feeds) > 1 else ""
    yield Fault(
        batch,
        known & ((bar < first) | (bar >= stop)),
        "bar",
        lambda row: (
            f"bar {event.bar[row]} of container {event.container[row]} must be one of its bars, "
            f"{first[row]} to {stop[row] - 1}{on_timeline}."
        ),
    )
    yield Fault(
        batch,
        (event.symbol < (-1 if isinstance(event, InterestCharged) else 0))
        | (event.symbol >= len(started.feeds)),
        "bar",
        lambda row: f"symbol {event.symbol[row]} must be one of the phase's {len(started.feeds)}.",
    )
    if isinstance(event, SignalsEmitted):
        yield Fault(
            batch,
            (event.strategy < 0) | (event.strategy >= len(started.strategies)),
            "bar",
            lambda row: (
                f"strategy {event.strategy[row]} must be one of the phase's {len(started.strategies)}."
            ),
        )
    elif isinstance(event, OrdersPlaced | OrdersFilled | InterestCharged):
        again = (np.diff(event.container, prepend=-1) == 0) & (np.diff(bar, prepend=0) < 0)
        yield Fault(
            batch,
            again,
            "bar",
            lambda row: (
                f"container {event.container[row]} must go on in time, and goes back to {event.bar[row]}."
            ),
        )


def _on_timeline(event: ContainerEvent, panel: Panel | None) -> Int32:
    """Places of rows on the timeline, -1 where the symbol has no such bar."""
    if panel is None or len(panel.bars) == 1:
        return event.bar
    places = np.where(event.symbol < 0, event.bar, np.int32(-1))
    for number, own in enumerate(panel.at):
        found = (event.symbol == number) & (event.bar >= 0) & (event.bar < own.size)
        places[found] = own[event.bar[found]]
    return places


def _order_faults(batches: Sequence[Batch], *, logs_orders: bool, fills_partly: bool) -> Iterator[Fault]:
    """Check that each order that was placed has one outcome, and each outcome one such order.

    An order that is filled in parts may have many fills, and what is left of it may be canceled.
    """
    placed = [batch for batch in batches if isinstance(batch.event, OrdersPlaced)]
    ended = [batch for batch in batches if isinstance(batch.event, Outcome)]
    orders, outcomes = _keys(placed), _keys(ended)
    for batch in ended:
        keys = _keys([batch])
        others = outcomes
        if fills_partly and not isinstance(batch.event, OrdersDenied):
            denied = [each for each in ended if isinstance(each.event, OrdersDenied)]
            others = np.concatenate((_keys(denied), np.unique(keys)))
        yield _order_fault(batch, np.isin(keys, _repeated(others)), "has another outcome, too")
        if logs_orders:
            yield _order_fault(batch, ~np.isin(keys, orders), "was never placed")
    for batch in placed:
        keys = _keys([batch])
        yield _order_fault(batch, np.isin(keys, _repeated(orders)), "was placed twice")
        yield _order_fault(batch, ~np.isin(keys, outcomes), "has no outcome")


def _order_fault(batch: Batch, wrong: Bool, what: str) -> Fault:
    event = batch.event
    keys = _keys([batch])
    return Fault(
        batch,
        wrong,
        "order",
        lambda row: f"order {keys[row] & 0xFFFFFFFF} of container {event.container[row]} {what}.",
    )


def _keys(batches: Sequence[Batch]) -> Int64:
    """One number for each order of each container."""
    keys = [np.empty(0, np.int64)]
    for _, event in batches:
        if isinstance(event, OrdersPlaced | Outcome):
            keys.append(event.container.astype(np.int64) << 32 | event.order)
    return np.concatenate(keys)


def _repeated(keys: Int64) -> Int64:
    found, counts = np.unique(keys, return_counts=True)
    return found[counts > 1]
