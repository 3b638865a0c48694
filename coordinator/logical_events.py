"""The log row by row, as people see it: batches taken apart, and names in place of the numbers of things."""

from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from typing import get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..domain.bars import iso_time
from ..domain.errors import ConfigurationError, NotFoundError, UnknownNameError
from ..domain.events import (
    BarsLoaded,
    CancelReason,
    Column,
    ControlEvent,
    DenialRule,
    Event,
    Int64,
    NumericEvent,
    PhaseStarted,
    Scalar,
    Segment,
)
from ..eventstore.record import Recorded
from ..eventstore.store import EventStore

TOPICS = frozenset(kind.__name__ for kind in get_args(ControlEvent) + get_args(NumericEvent))
OF_CONTAINERS = frozenset(
    kind.__name__ for kind in get_args(NumericEvent) if "container" in kind.__struct_fields__
)
"""Types of events whose rows each belong to a container."""
NAMES: dict[str, type[IntEnum]] = {"rule": DenialRule, "reason": CancelReason, "segment": Segment}
"""Columns of numbers that stand for names."""

FieldValue = Scalar | None | list["FieldValue"] | dict[str, "FieldValue"]


class LogicalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One logical event.

    Attributes
    ----------
    address
        ``stream#n``.
    type
        Name of its class.
    recorded_at
        When it was written, ISO 8601 in UTC.
    time
        Time of the bar that it belongs to, ISO 8601; None for a control event.
    fields
        What it says. A row of a numeric event names its symbol, strategy, rule, reason and segment.
    """

    address: str
    type: str
    recorded_at: str
    time: str | None
    fields: dict[str, FieldValue]


class Selection(msgspec.Struct, frozen=True):
    """The first logical events that were asked for, and how many more there are."""

    events: tuple[LogicalEvent, ...]
    more: int


def select_events(
    store: EventStore, stream: str, *, kind: str = "", container: int | None = None, limit: int
) -> Selection:
    """Return the first logical events of a stream.

    Stored events of other types are not read, and batches whose smallest and largest container rule out the
    given one are not decoded.

    Parameters
    ----------
    store, stream
        The stream.
    kind
        Type of the events; every type where it is empty.
    container
        The container whose events are meant.
    limit
        How many to return.

    Raises
    ------
    NotFoundError
        There is no such stream.
    UnknownNameError
        There is no such type of event.
    ConfigurationError
        Events of that type belong to no container.
    """
    topics = _topics(kind, container)
    head = store.head(stream)
    if head.version == 0:
        raise NotFoundError(f"there is no stream {stream!r}; `admf show` lists the phases of a run.")
    names = _Names(store, stream)
    found: list[LogicalEvent] = []
    more = 0
    for recorded in store.read(stream, topics=topics):
        if not topics and len(found) == limit:
            return Selection(tuple(found), head.rows - recorded.first + 1 + more)
        if container is not None and not _may_hold(recorded, container):
            continue
        rows = range(recorded.rows) if container is None else _rows_of(recorded.event, container)
        shown = rows[: limit - len(found)]
        more += len(rows) - len(shown)
        if shown:
            found += _logical_events(recorded, shown, names)
    return Selection(tuple(found), more)


def _topics(kind: str, container: int | None) -> tuple[str, ...]:
    if kind and kind not in TOPICS:
        raise UnknownNameError("type of event", kind, TOPICS)
    if container is not None and kind and kind not in OF_CONTAINERS:
        raise ConfigurationError(
            f"events of the type {kind} belong to no container; those of the types "
            f"{', '.join(sorted(OF_CONTAINERS))} do."
        )
    if kind:
        return (kind,)
    return tuple(sorted(OF_CONTAINERS)) if container is not None else ()


def _may_hold(recorded: Recorded, container: int) -> bool:
    bounds = recorded.statistics.get("container")
    return bounds is not None and bounds[0] <= container <= bounds[1]


def _rows_of(event: Event, container: int) -> list[int]:
    column: NDArray[np.int32] = getattr(event, "container")  # noqa: B009 - a union has no common attribute
    rows: list[int] = np.flatnonzero(column == container).tolist()
    return rows


class _Names:
    """What a phase calls its symbols and strategies, and the times of its bars; read when first asked for."""

    def __init__(self, store: EventStore, stream: str) -> None:
        self._store = store
        self._stream = stream
        self._times: dict[int, Int64] = {}

    @cached_property
    def started(self) -> PhaseStarted | None:
        for recorded in self._store.read(self._stream, topics=(PhaseStarted.__name__,)):
            if isinstance(event := recorded.event, PhaseStarted):
                return event
        return None

    def time(self, symbol: int, bar: int) -> str | None:
        if self.started is None:
            return None
        if symbol not in self._times:
            bars = self._store.read(self.started.feeds[symbol].stream, topics=(BarsLoaded.__name__,))
            parts = [event.time for recorded in bars if isinstance(event := recorded.event, BarsLoaded)]
            self._times[symbol] = np.concatenate(parts)
        return iso_time(self._times[symbol][bar])

    def name(self, column: str, value: Scalar) -> Scalar:
        if column in NAMES:
            return NAMES[column](int(value)).name.lower()
        if self.started is not None and column == "symbol":
            return self.started.feeds[int(value)].symbol
        if self.started is not None and column == "strategy":
            return self.started.strategies[int(value)]
        return value


def _logical_events(recorded: Recorded, rows: range | list[int], names: _Names) -> Iterator[LogicalEvent]:
    event = recorded.event
    written = iso_time(recorded.recorded_at)
    if not isinstance(event, get_args(NumericEvent)):
        fields: dict[str, FieldValue] = msgspec.to_builtins(event)
        yield LogicalEvent(
            address=recorded.address, type=recorded.topic, recorded_at=written, time=None, fields=fields
        )
        return
    columns = {field: getattr(event, field) for field in event.__struct_fields__}
    for row in rows:
        values = {name: _value(column, row) for name, column in columns.items()}
        yield LogicalEvent(
            address=f"{recorded.stream}#{recorded.first + row}",
            type=recorded.topic,
            recorded_at=written,
            time=_bar_time(values, names),
            fields={
                name: value if isinstance(value, dict) else names.name(name, value)
                for name, value in values.items()
                if name != "time"
            },
        )


def _value(column: Column | dict[str, Column], row: int) -> Scalar | dict[str, FieldValue]:
    if isinstance(column, dict):
        return {name: values[row].item() for name, values in column.items()}
    scalar: Scalar = column[row].item()
    return scalar


def _bar_time(values: dict[str, Scalar | dict[str, FieldValue]], names: _Names) -> str | None:
    if isinstance(time := values.get("time"), int):
        return iso_time(time)
    symbol, bar = values.get("symbol"), values.get("bar")
    return names.time(symbol, bar) if isinstance(symbol, int) and isinstance(bar, int) else None
