"""Events as bytes and back. Nothing but msgspec is deserialized."""

from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from ..domain.errors import CorruptionError, StoreError
from ..domain.events import Column, ControlEvent, Event, NumericEvent
from . import columns
from .hashing import digest

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_CONTROL: dict[str, type[ControlEvent]] = {cls.__name__: cls for cls in get_args(ControlEvent)}
_NUMERIC: dict[str, type[NumericEvent]] = {cls.__name__: cls for cls in get_args(NumericEvent)}

SCHEMA_VERSIONS: dict[str, int] = dict.fromkeys((*_CONTROL, *_NUMERIC), 1) | {
    "WorkflowStarted": 2,
    "OrdersPlaced": 2,
    "OrdersDenied": 2,
}
"""The schema version in which events of each topic are written."""

UPCASTERS: dict[tuple[str, int], Upcaster] = {
    # Before version 2 a phase read one feed.
    ("WorkflowStarted", 1): lambda fields: (
        fields | {"feeds": {phase: [feed] for phase, feed in fields["feeds"].items()}}
    ),
    # Before version 2 all orders were at market.
    ("OrdersPlaced", 1): lambda columns: columns | {"type": np.zeros(len(columns["order"]), np.int8)},
    ("OrdersDenied", 1): lambda columns: columns | {"required": np.full(len(columns["order"]), np.nan)},
}
"""How to bring what was stored under (topic, old version) to the next version.

A function takes the fields of a control event, or the columns of a numeric one by their flat names
(``parameters.fast``), and returns them as the next version has them.
"""


class EncodedEvent(msgspec.Struct, frozen=True):
    """An event as bytes, not yet in a stream.

    Attributes
    ----------
    topic
        Name of the event's class.
    schema_version
        Version of that class.
    rows
        Logical rows: 1 for a control event.
    payload
        What is stored.
    digest
        BLAKE3 hash of what the event says; compression is outside it.
    """

    topic: str
    schema_version: int
    rows: int
    payload: bytes
    digest: bytes


_encoder = msgspec.msgpack.Encoder(order="deterministic")


def _dtype(hint: object) -> np.dtype[Any] | None:
    """Tell the declared type of an array; None for a dictionary of arrays."""
    if get_origin(hint) is dict:
        return None
    _, annotation = get_args(hint)
    dtype: np.dtype[Any] = np.dtype(*get_args(annotation))
    return dtype


_FIELDS = {
    topic: {field: _dtype(hint) for field, hint in get_type_hints(cls).items()}
    for topic, cls in _NUMERIC.items()
}


def encode(event: Event) -> EncodedEvent:
    """Turn an event into bytes; pure, so that worker processes may do it.

    Raises
    ------
    StoreError
        Columns differ in length, or a column does not have the type that the event declares.
    """
    topic = type(event).__name__
    version = SCHEMA_VERSIONS[topic]
    if topic in _CONTROL:
        payload = _encoder.encode(event)
        return EncodedEvent(topic, version, 1, payload, digest(payload))
    rows, payload, content = columns.encode(_flatten(event))
    return EncodedEvent(topic, version, rows, payload, content)


def event_digest(event: NumericEvent) -> bytes:
    """Digest of what a numeric event says, as `encode` gives it, but without compressing anything."""
    return columns.digest_of(_flatten(event))


def decode(topic: str, schema_version: int, payload: bytes) -> Event:
    """Turn bytes back into an event of the current schema version; arrays are read-only.

    Raises
    ------
    StoreError
        The topic or the schema version is not known here: a newer release wrote the event.
    CorruptionError
        The bytes are not those of such an event.
    """
    current = SCHEMA_VERSIONS.get(topic)
    if current is None or schema_version > current:
        raise StoreError(
            f"{topic} version {schema_version} is not known to this release, which reads "
            f"{f'versions up to {current}' if current else 'no such topic'}. Upgrade admf."
        )
    try:
        if topic in _CONTROL:
            fields = _upcast(topic, schema_version, msgspec.msgpack.decode(payload))
            return msgspec.convert(fields, _CONTROL[topic])
        return _nest(topic, _upcast(topic, schema_version, columns.decode(payload)))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"{topic} version {schema_version} can't be read: {error}. Restore the store from a backup."
        ) from error


def content_digest(topic: str, payload: bytes) -> bytes:
    """Digest of what a payload says; equals `EncodedEvent.digest`.

    Raises
    ------
    CorruptionError
        The bytes are not those of a numeric event.
    """
    return columns.content_digest(payload) if topic in _NUMERIC else digest(payload)


def statistics(topic: str, payload: bytes) -> dict[str, columns.Bounds]:
    """Smallest and largest value of each numeric column, read without decompressing; else empty."""
    return columns.bounds(payload) if topic in _NUMERIC else {}


def _upcast(topic: str, version: int, fields: dict[str, Any]) -> dict[str, Any]:
    for old in range(version, SCHEMA_VERSIONS[topic]):
        if (topic, old) not in UPCASTERS:
            raise StoreError(f"{topic} version {old} can no longer be read. Use the release that wrote it.")
        try:
            fields = UPCASTERS[topic, old](fields)
        except (KeyError, AttributeError) as error:
            raise CorruptionError(
                f"{topic} version {old} lacks {error}. Restore the store from a backup."
            ) from error
    return fields


def _flatten(event: Event) -> dict[str, Column]:
    topic = type(event).__name__
    flat: dict[str, Column] = {}
    for field, dtype in _FIELDS[topic].items():
        value = getattr(event, field)
        if dtype is None:
            flat |= {f"{field}.{key}": value[key] for key in sorted(value)}
        elif np.can_cast(value.dtype, dtype, "safe"):
            flat[field] = value.astype(dtype, copy=False)
        else:
            raise StoreError(
                f"{topic}.{field} must be {dtype}, found {value.dtype}. Convert it before it is recorded."
            )
    return flat


def _nest(topic: str, flat: dict[str, Any]) -> NumericEvent:
    fields = _FIELDS[topic]
    values: dict[str, Any] = {field: {} for field, dtype in fields.items() if dtype is None}
    for name, column in flat.items():
        field, dot, key = name.partition(".")
        if dot:
            values.setdefault(field, {})[key] = column
        elif column.dtype != fields.get(name, column.dtype):
            raise CorruptionError(f"{topic}.{name} must be {fields[name]}, found {column.dtype}.")
        else:
            values[field] = column
    if values.keys() != fields.keys():
        raise CorruptionError(f"{topic} must have the columns {', '.join(fields)}, found {', '.join(flat)}.")
    return _NUMERIC[topic](**values)
