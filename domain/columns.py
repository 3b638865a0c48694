"""Numeric events as tables: several joined into one, and a range of rows of one."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np

from .events import Column, Int64, NumericEvent

EventT = TypeVar("EventT", bound=NumericEvent)


def columns_of(event: NumericEvent) -> dict[str, Column]:
    """Return the columns of an event by name; those of a field that is a dictionary go by their keys."""
    columns: dict[str, Column] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        columns |= value if isinstance(value, dict) else {name: value}
    return columns


def joined(events: Sequence[EventT]) -> EventT:
    """Return one event with the rows of several of its type, in order."""
    if len(events) == 1:
        return events[0]
    columns: dict[str, object] = {}
    for name in events[0].__struct_fields__:
        parts = [getattr(event, name) for event in events]
        if isinstance(parts[0], dict):
            columns[name] = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        else:
            columns[name] = np.concatenate(parts)
    return msgspec.structs.replace(events[0], **columns)


def rows(event: EventT, start: int, stop: int) -> EventT:
    """Return the rows of an event from `start` to `stop` (excluded), as views."""
    return rows_at(event, slice(start, stop))


def rows_at(event: EventT, places: Int64 | slice) -> EventT:
    """Return the rows of an event at these places."""
    columns: dict[str, object] = {}
    for name in event.__struct_fields__:
        column = getattr(event, name)
        if isinstance(column, dict):
            columns[name] = {key: values[places] for key, values in column.items()}
        else:
            columns[name] = column[places]
    return msgspec.structs.replace(event, **columns)
