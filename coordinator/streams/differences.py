"""Where two things that should be the same are not: events column by column, settings key by key."""

from collections.abc import Iterator

import msgspec
import numpy as np

from ...domain.events import Bool, Column, Event
from ...eventstore.record import Recorded

NOTHING = "nothing"
"""What stands for a value that one of the two does not have."""


class Difference(msgspec.Struct, frozen=True):
    """The first thing in which a stream differs from another that should be the same.

    Attributes
    ----------
    address
        The logical event, ``stream#n``.
    type
        Its type.
    field
        The column or field in which it differs; ``type`` where the types do.
    recorded, replayed
        Both values, as text.
    """

    address: str
    type: str
    field: str
    recorded: str
    replayed: str


def first_difference(recorded: Recorded, replayed: Recorded) -> Difference:
    """Find the first row and column, or the first field, in which two events of unequal content differ."""
    if recorded.topic != replayed.topic:
        return Difference(recorded.address, recorded.topic, "type", recorded.topic, replayed.topic)
    versions = (0, "schema_version", str(recorded.schema_version), str(replayed.schema_version))
    row, field, was, is_ = min(_differences(recorded.event, replayed.event), default=versions)
    return Difference(f"{recorded.stream}#{recorded.first + row}", recorded.topic, field, was, is_)


def settings(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield what stands in nested mappings and lists, by paths such as ``strategies.cross.parameters.fast``.

    An element of a list goes by its name, or its number if it has none; a list of plain values is one value.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from settings(item, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from settings(item, f"{path}.{item.get('name', number)}")
    else:
        yield path, value


def _differences(before: Event, now: Event) -> Iterator[tuple[int, str, str, str]]:
    """Yield the first differing row of each column, or every differing field, with both values."""
    old, new = _fields(before), _fields(now)
    for name in {**old, **new}:
        was, is_ = old.get(name), new.get(name)
        if not isinstance(was, np.ndarray) or not isinstance(is_, np.ndarray):
            if repr(was) != repr(is_):
                yield 0, name, _text(was), _text(is_)
            continue
        size = min(was.size, is_.size)
        unequal = _unequal(was[:size], is_[:size])
        if unequal.any():
            row = int(np.argmax(unequal))
            yield row, name, repr(was[row].item()), repr(is_[row].item())
        elif was.size != is_.size:
            yield size, "rows", str(was.size), str(is_.size)


def _unequal(was: Column, is_: Column) -> Bool:
    """Compare as hashes do: by type and bit by bit, so that NaN equals NaN, and -0.0 is not 0.0."""
    if was.dtype != is_.dtype and was.dtype.kind != "U":
        return np.ones(was.size, np.bool_)
    if was.dtype == np.float64:
        was, is_ = was.view(np.int64), is_.view(np.int64)
    return np.not_equal(was, is_)


def _fields(event: Event) -> dict[str, object]:
    """Return the fields of an event by name; those inside mappings, structs and JSON by their path."""
    flat: dict[str, object] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, np.ndarray):
            flat[name] = value
        elif isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            plain = msgspec.json.decode(value) if name == "configuration" else msgspec.to_builtins(value)
            flat |= dict(settings(plain, name))
    return flat


def _text(value: object) -> str:
    return NOTHING if value is None else str(value)
