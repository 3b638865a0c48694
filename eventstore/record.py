"""What is stored, and the two hash chains that bind the events of a stream together."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from ..domain.errors import CorruptionError, StoreError
from ..domain.events import Event
from . import codec
from .codec import EncodedEvent
from .columns import Bounds
from .hashing import digest

__all__ = ["EncodedEvent", "Flaw", "Head", "Recorded", "Unreadable", "flaws", "record", "verify"]


class Head(msgspec.Struct, frozen=True):
    """Where a stream ends, which is where the next event goes.

    Attributes
    ----------
    stream
        Name of the stream.
    version
        Number of events stored in it.
    rows
        Number of logical rows that they hold.
    content_hash
        Hash of what happened and nothing else: no run id, time, host, process or compression.
    record_hash
        Hash of every stored field.
    """

    stream: str
    version: int = 0
    rows: int = 0
    content_hash: bytes = bytes(32)
    record_hash: bytes = bytes(32)

    @property
    def next_address(self) -> str:
        """Address that the next logical row will have."""
        return f"{self.stream}#{self.rows + 1}"


class Recorded(msgspec.Struct, frozen=True):
    """An event in its stream.

    Attributes
    ----------
    stream, version
        The stream, and the event's number in it, from 1.
    position
        The event's number in the whole store; None where the event was read by its stream.
    first, rows
        Number in the stream of its first logical row, from 1, and how many rows it holds.
    topic, schema_version
        Name of its class, and the version in which it was written.
    correlation_id, causation_id
        The run, and the address of the event that led to this one; empty for none.
    recorded_at
        When it was written, nanoseconds since 1970 in UTC.
    content_hash, record_hash
        The hash chains up to and including this event; see `Head`.
    payload
        The event as bytes.
    """

    stream: str
    version: int
    position: int | None
    first: int
    rows: int
    topic: str
    schema_version: int
    correlation_id: str
    causation_id: str
    recorded_at: int
    content_hash: bytes
    record_hash: bytes
    payload: bytes

    @property
    def address(self) -> str:
        """Address of its first logical row."""
        return f"{self.stream}#{self.first}"

    @property
    def event(self) -> Event:
        """The event itself, decoded at each use.

        Raises
        ------
        StoreError
            A newer release wrote it.
        CorruptionError
            Its bytes are not those of an event.
        """
        try:
            return codec.decode(self.topic, self.schema_version, self.payload)
        except StoreError as error:
            raise type(error)(f"{self.address}: {error}") from error

    @property
    def statistics(self) -> dict[str, Bounds]:
        """Smallest and largest value of each numeric column, read without decompressing.

        Named as stored (``parameters.fast``). Text, boolean and empty columns, and those of nothing but NaN,
        have none.
        """
        return codec.statistics(self.topic, self.payload)

    @property
    def head(self) -> Head:
        """Where its stream ended when it had been appended."""
        return Head(
            self.stream, self.version, self.first + self.rows - 1, self.content_hash, self.record_hash
        )


def record(
    head: Head, event: EncodedEvent, *, correlation_id: str, causation_id: str, recorded_at: int
) -> Recorded:
    """Give an event its place after ``head``, and link it to both hash chains."""
    unlinked = Recorded(
        stream=head.stream,
        version=head.version + 1,
        position=None,
        first=head.rows + 1,
        rows=event.rows,
        topic=event.topic,
        schema_version=event.schema_version,
        correlation_id=correlation_id,
        causation_id=causation_id,
        recorded_at=recorded_at,
        content_hash=_content_hash(head, event),
        record_hash=b"",
        payload=event.payload,
    )
    return msgspec.structs.replace(unlinked, record_hash=_record_hash(head, unlinked))


class Unreadable(msgspec.Struct, frozen=True):
    """What is stored where an event should be, and why it can't be read."""

    stream: str
    version: int
    reason: str


class Flaw(NamedTuple):
    """Why an event is not the one that was appended: the rule that is broken, and what was found."""

    rule: str
    message: str


def flaws(head: Head, recorded: Recorded) -> Iterator[Flaw]:
    """Check that an event follows ``head``, in number and in both hash chains.

    Yields
    ------
    Flaw
        For each rule that is broken: ``contiguity``, ``payload``, ``content hash`` or ``record hash``. Hashes
        tell nothing about an event that follows another one.
    """
    place = (recorded.stream, recorded.version, recorded.first)
    if place != (head.stream, head.version + 1, head.rows + 1):
        yield Flaw(
            "contiguity",
            f"event {head.version + 1} of stream {head.stream} must come next, with row {head.rows + 1}; "
            f"found event {recorded.version} with row {recorded.first}. Events are missing or out of order: "
            "restore the store from a backup.",
        )
        return
    chains = [("record", recorded.record_hash, _record_hash(head, recorded))]
    try:
        chains.insert(0, ("content", recorded.content_hash, _content_hash(head, _encoded(recorded))))
    except CorruptionError as error:
        yield Flaw("payload", str(error))
    for chain, stored, computed in chains:
        if stored != computed:
            yield Flaw(
                f"{chain} hash",
                f"the {chain} hash must be {computed.hex()}, found {stored.hex()}. The event was changed "
                "after it was written: restore the store from a backup.",
            )


def verify(head: Head, recorded: Recorded) -> Head:
    """Require that an event has no `flaws` after ``head``.

    Returns
    -------
    Head
        Where the stream ends with this event; check the next one against it.

    Raises
    ------
    CorruptionError
        The event is not the one that was appended there.
    """
    for flaw in flaws(head, recorded):
        raise CorruptionError(f"{recorded.address}: {flaw.message}")
    return recorded.head


def _encoded(recorded: Recorded) -> EncodedEvent:
    return EncodedEvent(
        recorded.topic,
        recorded.schema_version,
        recorded.rows,
        recorded.payload,
        codec.content_digest(recorded.topic, recorded.payload),
    )


def _content_hash(head: Head, event: EncodedEvent) -> bytes:
    version, rows = (number.to_bytes(8, "little") for number in (event.schema_version, event.rows))
    return digest(head.content_hash, event.topic.encode(), version, rows, event.digest)


def _record_hash(head: Head, recorded: Recorded) -> bytes:
    fields = msgspec.msgpack.encode(
        (
            recorded.stream,
            recorded.version,
            recorded.first,
            recorded.rows,
            recorded.topic,
            recorded.schema_version,
            recorded.correlation_id,
            recorded.causation_id,
            recorded.recorded_at,
            recorded.content_hash,
        )
    )
    return digest(head.record_hash, fields, recorded.payload)
