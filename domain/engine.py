"""Simulation of containers: from a topology and its market to the events of a phase."""

from collections.abc import Iterator, Mapping

import numpy as np

from .bars import iso_time
from .columns import joined
from .errors import StrategyError
from .events import (
    CancelReason,
    Float64,
    Int32,
    Int64,
    NumericEvent,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    Scalar,
    SignalsEmitted,
    TrialsCompleted,
)
from .features import SERIES
from .kernel import (
    CANCELED,
    FILLED,
    Account,
    Book,
    Policy,
    Windows,
    book_rows,
    count_changes,
    first_defined,
    hold_targets,
    run_containers,
    write_changes,
)
from .measurement import Prices
from .metrics import METRICS
from .strategies import checked_targets
from .topology import Containers, LogLevel, Market, StrategySlot, Topology

BLOCK = 500_000
"""Target exposures that are held in memory at a time: bars x containers x strategies."""

RECORDED = {
    LogLevel.METRICS: (TrialsCompleted,),
    LogLevel.FILLS: (OrdersFilled, TrialsCompleted),
    LogLevel.FULL: (
        SignalsEmitted,
        OrdersPlaced,
        OrdersDenied,
        OrdersFilled,
        OrdersCanceled,
        TrialsCompleted,
    ),
}
"""Which events each log level keeps, in the order in which they are recorded."""


def simulate(topology: Topology, market: Market, containers: Containers) -> Iterator[NumericEvent]:
    """Simulate containers over the market, each alone with the topology's capital.

    Yields
    ------
    SignalsEmitted, OrdersPlaced, OrdersDenied, OrdersFilled, OrdersCanceled
        What happened, as far as the topology's log level asks for it, container by container. Types of which
        nothing happened are left out; all rows of a container and type are in one event.
    TrialsCompleted
        The containers with their parameters and metrics; last.

    Raises
    ------
    StrategyError
        A strategy raised, or returned something else than one target exposure in [-1, 1] per bar.
    """
    size = max(1, BLOCK // (len(market.bars) * len(topology.slots)))
    recorded: list[NumericEvent] = []
    for start in range(0, len(containers), size):
        recorded += _simulate_block(topology, market, containers.part(start, start + size))
    for kind in RECORDED[topology.log]:
        same = [event for event in recorded if isinstance(event, kind)]
        if same:
            yield joined(same)


def strategy_targets(
    slot: StrategySlot, parameters: Mapping[str, Scalar], market: Market
) -> tuple[Float64, int]:
    """Run a strategy over all bars.

    Returns
    -------
    targets
        Target exposure after each bar, shape (n_bars,), NaN for "as before".
    warm
        Index of the first bar at which all of its features are defined.

    Raises
    ------
    StrategyError
        The function raised, or what it returned is not one exposure per bar.
    """
    rows = {argument: market.feature(spec) for argument, spec in slot.strategy.needs(parameters).items()}
    arguments: dict[str, Float64 | Scalar] = {}
    for name in slot.strategy.arguments:
        if name in rows:
            arguments[name] = rows[name]
        else:
            arguments[name] = getattr(market.bars, name) if name in SERIES else parameters[name]
    try:
        result = slot.strategy.function(**arguments)
    except Exception as error:
        raise StrategyError(
            f"strategy {slot.name!r} raised {type(error).__name__}: {error}; "
            f"its parameters were {dict(parameters)}."
        ) from error
    warm = max((first_defined(row) for row in rows.values()), default=0)
    return checked_targets(slot.name, result, len(market.bars)), warm


def _held_targets(topology: Topology, market: Market, containers: Containers) -> tuple[Float64, Int64]:
    """Targets without gaps, shape (n_containers, n_slots, n_bars), and each container's warm-up."""
    held = np.empty((len(containers), len(topology.slots), len(market.bars)))
    warm = np.zeros(len(containers), np.int64)
    for index in range(len(containers)):
        row = containers.row(index)
        for number, slot in enumerate(topology.slots):
            targets, defined = strategy_targets(slot, topology.resolve(slot, row), market)
            warm[index] = max(warm[index], defined)
            wrong = hold_targets(targets, slot.lowest, slot.highest, held[index, number])
            if wrong >= 0:
                raise StrategyError(
                    f"strategy {slot.name!r}: a target exposure must lie in [-1, 1], "
                    f"was {targets[wrong]} at bar {wrong} ({iso_time(market.bars.time[wrong])})."
                )
    return held, warm


def _portfolio_targets(topology: Topology, held: Float64) -> Float64:
    """Weighted sum of the slots' targets, shape (n_containers, n_bars)."""
    if len(topology.slots) == 1:
        return held[:, 0] * topology.slots[0].weight
    total = np.zeros((held.shape[0], held.shape[2]))
    for number, slot in enumerate(topology.slots):
        total += held[:, number] * slot.weight
    # Signals that cancel, as in 0.3 - 0.1 - 0.2, leave rounding noise, which would be traded.
    return np.round(total, 12)


def _simulate_block(topology: Topology, market: Market, containers: Containers) -> list[NumericEvent]:
    held, warm = _held_targets(topology, market, containers)
    n = len(containers)
    ids = np.arange(containers.first_id, containers.first_id + n, dtype=np.int32)
    changes = np.empty((n, len(topology.slots)), np.int64)
    count_changes(held, containers.first_bar, containers.stop_bar, changes)
    signals = _signals(held, containers, ids, changes)
    target = _portfolio_targets(topology, held)
    book = Book.empty(int(2 * changes.sum() + n))
    ends, metrics = np.empty(n, np.int64), np.empty((n, len(METRICS)))
    bars, execution = market.bars, topology.execution
    run_containers(
        Prices(bars.time, bars.open, bars.close),
        target,
        Windows(containers.first_bar, containers.stop_bar, warm, _sizes(topology, containers)),
        Policy(
            int(execution.fill),
            int(execution.rounding),
            int(execution.end),
            execution.commission_rate,
            execution.commission_fixed,
            execution.slippage,
        ),
        Account(topology.capital, int(topology.sizer.rule), topology.sizer.value),
        (int(topology.profile), topology.bars_per_year),
        book,
        ends,
        metrics,
    )
    trials = TrialsCompleted(
        container=ids,
        fold=containers.fold,
        segment=containers.segment,
        first_bar=containers.first_bar,
        stop_bar=containers.stop_bar,
        parameters=dict(containers.parameters),
        metrics={name: np.ascontiguousarray(metrics[:, i]) for i, name in enumerate(METRICS)},
    )
    return [*signals, *_orders(book, ids, ends), trials]


def _sizes(topology: Topology, containers: Containers) -> Float64:
    varied = containers.parameters.get(topology.sizer.parameter)
    if varied is None:
        return np.full(len(containers), topology.sizer.value)
    return varied.astype(np.float64)


def _signals(held: Float64, containers: Containers, ids: Int32, changes: Int64) -> list[NumericEvent]:
    total = int(changes.sum())
    bar, target = np.empty(total, np.int32), np.empty(total)
    write_changes(held, containers.first_bar, containers.stop_bar, bar, target)
    slots = np.tile(np.arange(changes.shape[1], dtype=np.int16), len(ids))
    if total == 0:
        return []
    return [
        SignalsEmitted(
            container=np.repeat(ids, changes.sum(axis=1)),
            strategy=np.repeat(slots, changes.ravel()),
            symbol=np.zeros(total, np.int16),
            bar=bar,
            target=target,
        )
    ]


def _orders(book: Book, ids: Int32, ends: Int64) -> list[NumericEvent]:
    starts = np.concatenate(([0], ends[:-1]))
    counts = ends - starts
    rows = book_rows(book, 0, int(ends[-1]))
    container = np.repeat(ids, counts)
    order = (np.arange(ends[-1]) - np.repeat(starts, counts)).astype(np.int32)
    symbol = np.zeros(ends[-1], np.int16)
    filled, canceled = rows.outcome == FILLED, rows.outcome == CANCELED
    denied = ~(filled | canceled)
    events: list[NumericEvent] = []
    if ends[-1]:
        events.append(
            OrdersPlaced(container=container, order=order, symbol=symbol, bar=rows.bar, target=rows.target)
        )
    if denied.any():
        events.append(
            OrdersDenied(
                container=container[denied],
                order=order[denied],
                symbol=symbol[denied],
                bar=rows.fill_bar[denied],
                rule=rows.outcome[denied],
                available=rows.available[denied],
            )
        )
    if filled.any():
        events.append(
            OrdersFilled(
                container=container[filled],
                order=order[filled],
                symbol=symbol[filled],
                bar=rows.fill_bar[filled],
                quantity=rows.quantity[filled],
                price=rows.price[filled],
                fee=rows.fee[filled],
            )
        )
    if canceled.any():
        events.append(
            OrdersCanceled(
                container=container[canceled],
                order=order[canceled],
                symbol=symbol[canceled],
                bar=rows.bar[canceled],
                reason=np.full(int(canceled.sum()), CancelReason.END_OF_DATA, np.int8),
            )
        )
    return events
