"""The log row by row, as people see it: batches taken apart, and names in place of the numbers of things."""

from collections import deque
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import get_args

import msgspec

from ...domain.bars import iso_time
from ...domain.codes import CancelReason, DenialRule, Segment
from ...domain.errors import NotFoundError
from ...domain.events import Column, NumericEvent, Scalar
from ...eventstore.record import Head, Recorded
from ...eventstore.store import EventStore
from .event_filter import EventFilter, EventSearch
from .phase_names import PhaseNames

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
        Time of the bar that it belongs to, ISO 8601; None where it belongs to none.
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


ALL = EventFilter()


def select_events(store: EventStore, stream: str, wanted: EventFilter = ALL, *, limit: int) -> Selection:
    """Return the first logical events of a stream.

    Stored events of other types are not read, and batches whose smallest and largest values rule out what is
    wanted are not decoded.

    Parameters
    ----------
    store, stream
        The stream.
    wanted
        Which events are meant.
    limit
        How many to return.

    Raises
    ------
    NotFoundError
        There is no such stream.
    UnknownNameError
        There is no such type of event, or no such symbol.
    ConfigurationError
        Events of that type belong to no container, or no symbol.
    """
    topics, head, names = wanted.topics, _head(store, stream), PhaseNames(store, stream)
    search = EventSearch(wanted, names)
    found: list[LogicalEvent] = []
    more = 0
    for recorded in store.read(stream, topics=topics):
        if wanted == ALL and len(found) == limit:
            return Selection(tuple(found), head.rows - recorded.first + 1 + more)
        rows = search.rows(recorded)
        shown = rows[: limit - len(found)]
        more += len(rows) - len(shown)
        found += _taken_apart(recorded, shown, names)
    return Selection(tuple(found), more)


def follow_events(
    store: EventStore, stream: str, wanted: EventFilter = ALL, *, limit: int
) -> Iterator[LogicalEvent]:
    """Yield the last logical events of a stream, then others as they are appended, also by other processes.

    It never ends by itself. Parameters and errors are those of `select_events`.
    """
    topics, names = wanted.topics, PhaseNames(store, stream)
    position, head = store.last_position(), _head(store, stream)
    search = EventSearch(wanted, names)
    last: deque[tuple[Recorded, Sequence[int]]] = deque()
    version, surplus = head.version, -limit
    for recorded in store.read(stream, topics=topics):
        version = max(version, recorded.version)
        if rows := search.rows(recorded):
            last.append((recorded, rows))
            surplus += len(rows)
        while surplus > 0 and len(last[0][1]) <= surplus:
            surplus -= len(last.popleft()[1])
    for recorded, rows in last:
        yield from _taken_apart(recorded, rows[max(surplus, 0) :], names)
        surplus = 0
    with store.subscribe(after=position, topics=topics) as subscription:
        for recorded in subscription:
            if recorded.stream == stream and recorded.version > version:
                yield from _taken_apart(recorded, search.rows(recorded), names)


def logical_events(store: EventStore, stream: str) -> Iterator[LogicalEvent]:
    """Yield all logical events of a stream in order."""
    names = PhaseNames(store, stream)
    for recorded in store.read(stream):
        yield from _taken_apart(recorded, range(recorded.rows), names)


def _head(store: EventStore, stream: str) -> Head:
    head = store.head(stream)
    if head.version == 0:
        raise NotFoundError(f"there is no stream {stream!r}; `admf show` lists the phases of a run.")
    return head


def _taken_apart(recorded: Recorded, rows: Sequence[int], names: PhaseNames) -> Iterator[LogicalEvent]:
    if not rows:
        return
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
                name: value if isinstance(value, dict) else _named(name, value, names)
                for name, value in values.items()
                if name != "time"
            },
        )


def _value(column: Column | dict[str, Column], row: int) -> Scalar | dict[str, FieldValue]:
    if isinstance(column, dict):
        return {name: values[row].item() for name, values in column.items()}
    scalar: Scalar = column[row].item()
    return scalar


def _named(column: str, value: Scalar, names: PhaseNames) -> Scalar | None:
    if column in NAMES:
        return NAMES[column](int(value)).name.lower()
    if column == "symbol" and names.symbols:
        return names.symbols[int(value)] if int(value) >= 0 else None
    if column == "strategy" and names.strategies:
        return names.strategies[int(value)]
    return value


def _bar_time(values: dict[str, Scalar | dict[str, FieldValue]], names: PhaseNames) -> str | None:
    if isinstance(time := values.get("time"), int):
        return iso_time(time)
    symbol, bar = values.get("symbol"), values.get("bar")
    if isinstance(symbol, int) and isinstance(bar, int) and names.started:
        return names.iso_time(symbol, bar)
    return None
