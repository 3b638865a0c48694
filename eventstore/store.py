"""The event store: append to a stream, read it back, follow the whole log."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import (
    ConnectionPoolClosedError,
    InfrastructureFactory,
    IntegrityError,
    Notification,
    StoredEvent,
    TrackingRecorder,
)

from ..domain.errors import ConflictError, CorruptionError, NotFoundError, StoreError
from ..domain.events import Event
from .codec import encode
from .location import locate
from .mapper import RecordedMapper
from .record import EncodedEvent, Head, Recorded, Unreadable, record, verify
from .subscription import PAGE, PollingSubscription

_REMEDIES = {
    "unable to open database file": "Check that its folder may be read and written, or name another store.",
    "database is locked": "Another process is writing to it: wait until it is done, or stop it.",
    "disk is full": "Free some space, then resume the run: all that was appended is kept.",
    "disk I/O error": "The disk fails, or files may not grow any more. All that was appended is kept: make "
    "room, then resume the run.",
    "readonly database": "Make the file and its folder writable, or name another store.",
    "not a database": "That file is something else: name another store.",
}


class StreamRecorder(Protocol):
    """What the store asks of a recorder: the library's application recorder, and streams read by topic."""

    def insert_events(self, stored_events: Sequence[StoredEvent], /) -> Sequence[int] | None:
        """Insert in one transaction, or raise IntegrityError unless each stream goes on where it ends."""

    def select_events(
        self,
        originator_id: str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
        topics: Sequence[str] = (),
    ) -> Sequence[StoredEvent]:
        """Select events of one stream, of ``topics`` only if there are any."""

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Select events of the whole store in order of position."""

    def last_version(self, stream: str, /) -> int | None:
        """Version of a stream's last event, without reading the event; None if there is no such stream."""

    def max_notification_id(self) -> int | None:
        """Position of the newest event."""

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> PollingSubscription:
        """Follow the log from the position after ``gt``."""


class Subscription:
    """Events as they are appended, also by other processes: iterate inside ``with``; stop from any thread."""

    def __init__(self, notifications: PollingSubscription, mapper: RecordedMapper, name: str) -> None:
        self._notifications = notifications
        self._mapper = mapper
        self._name = name

    def __enter__(self) -> Self:
        self._notifications.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Recorded:
        with _explained(self._name):
            return self._mapper.to_domain_event(next(self._notifications))

    def stop(self) -> None:
        """End the iteration, at once if it waits."""
        self._notifications.stop()


class EventStore:
    """An append-only log of streams.

    Parameters
    ----------
    factory
        Makes the recorder and the mapper.
    name
        What error messages call the store.
    """

    def __init__(self, factory: InfrastructureFactory[TrackingRecorder], name: str) -> None:
        self._factory = factory
        self._name = name
        self._recorder = cast(StreamRecorder, factory.application_recorder())
        self._mapper = cast(RecordedMapper, factory.mapper())
        self._heads: dict[str, Head] = {}

    def append(
        self,
        head: Head,
        events: Sequence[Event | EncodedEvent],
        *,
        correlation_id: str,
        causation_id: str,
        held: Sequence[Recorded] = (),
    ) -> Head:
        """Append events after ``head`` in one transaction: all are durable on return, or none is stored.

        Parameters
        ----------
        head
            Where the caller knows the stream to end; ``Head(stream)`` for a new one.
        events
            The events in order; encoding them may have been done elsewhere.
        correlation_id, causation_id
            The run, and the address of the event that led to these; empty for none.
        held
            Events that `record` has placed after ``head`` before, when they happened; they come first.

        Returns
        -------
        Head
            Where the stream ends now.

        Raises
        ------
        ConflictError
            The stream does not end at ``head``: another process wrote to it. Nothing is stored.
        StoreError
            An event can't be encoded, or the store can't be written.
        """
        if self._heads.get(head.stream) != head:
            self._require_end(head)
        now = time.time_ns()
        batch = [self._mapper.to_stored_event(recorded) for recorded in held]
        end = held[-1].head if held else head
        for event in events:
            encoded = event if isinstance(event, EncodedEvent) else encode(event)
            recorded = record(
                end, encoded, correlation_id=correlation_id, causation_id=causation_id, recorded_at=now
            )
            batch.append(self._mapper.to_stored_event(recorded))
            end = recorded.head
        if batch:
            self._insert(head, batch)
            self._heads[head.stream] = end
        return end

    def head(self, stream: str) -> Head:
        """Where a stream ends; ``Head(stream)`` if it does not exist."""
        with _explained(self._name):
            last = self._recorder.select_events(stream, desc=True, limit=1)
        return self._mapper.to_domain_event(last[0]).head if last else Head(stream)

    def length(self, stream: str) -> int:
        """Return the number of events in a stream; unlike `head` this reads none of them."""
        with _explained(self._name):
            return self._recorder.last_version(stream) or 0

    def event_at(self, stream: str, number: int) -> Recorded:
        """Return the stored event that holds the logical row ``stream#number``.

        It is found by bisection: of a stream of a million events, some twenty are read.

        Raises
        ------
        NotFoundError
            The stream has no such row, or there is no such stream.
        CorruptionError
            The stream lacks the event that should hold it.
        """
        head = self.head(stream)
        if not 1 <= number <= head.rows:
            known = f"the stream has {head.rows}" if head.version else "there is no such stream"
            raise NotFoundError(f"there is no event {stream}#{number}; {known}.")
        low, high = 1, head.version
        while low <= high:
            middle = (low + high) // 2
            with _explained(self._name):
                (found,) = self._recorder.select_events(stream, gt=middle - 1, limit=1)
            recorded = self._mapper.to_domain_event(found)
            if number < recorded.first:
                high = middle - 1
            elif number >= recorded.first + recorded.rows:
                low = recorded.version + 1
            else:
                return recorded
        raise CorruptionError(
            f"stream {stream} must hold row {number}, and its events {high} and {low} leave it out. Restore "
            "the store from a backup."
        )

    def restore(self, head: Head, events: Sequence[Recorded]) -> Head:
        """Append events as another store recorded them, hashes and times included, in one transaction.

        Parameters
        ----------
        head
            Where the stream ends here; ``Head(stream)`` for a new one.
        events
            The events that followed it there, in order.

        Returns
        -------
        Head
            Where the stream ends now.

        Raises
        ------
        CorruptionError
            An event does not follow the one before it, in number or in the hash chains. Nothing is stored.
        ConflictError
            The stream does not end at ``head``. Nothing is stored.
        """
        self._require_end(head)
        end = head
        for recorded in events:
            end = verify(end, recorded)
        if events:
            self._insert(head, [self._mapper.to_stored_event(recorded) for recorded in events])
            self._heads[head.stream] = end
        return end

    def read(self, stream: str, after: int = 0, topics: Sequence[str] = ()) -> Iterator[Recorded]:
        """Read a stream in order, from the event after version ``after``; only ``topics`` if any."""
        return map(self._mapper.to_domain_event, self._stream(stream, after, topics))

    def read_all(self, after: int = 0, topics: Sequence[str] = ()) -> Iterator[Recorded]:
        """Read the whole log in order of position, from the event after position ``after``."""
        return map(self._mapper.to_domain_event, self._log(after, topics))

    def scan(self, stream: str = "") -> Iterator[Recorded | Unreadable]:
        """Read a stream, or the whole log, to its end whatever its state: what can't be read is named."""
        for stored in self._stream(stream, 0, ()) if stream else self._log(0, ()):
            try:
                yield self._mapper.to_domain_event(stored)
            except CorruptionError as error:
                yield Unreadable(str(stored.originator_id), stored.originator_version, str(error))

    def subscribe(self, after: int = 0, topics: Sequence[str] = ()) -> Subscription:
        """Read the log like `read_all`, then wait for more events until the subscription is stopped."""
        return Subscription(self._recorder.subscribe(after, topics), self._mapper, self._name)

    def last_position(self) -> int:
        """Position of the newest event; 0 when the store is empty."""
        with _explained(self._name):
            return self._recorder.max_notification_id() or 0

    def close(self) -> None:
        """Close all connections; the store can't be used afterwards."""
        self._factory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self, stream: str, after: int, topics: Sequence[str]) -> Iterator[StoredEvent]:
        full = True
        while full:
            with _explained(self._name):
                page = self._recorder.select_events(stream, gt=after, limit=PAGE, topics=topics)
            yield from page
            if full := len(page) == PAGE:
                after = page[-1].originator_version

    def _log(self, after: int, topics: Sequence[str]) -> Iterator[Notification]:
        full = True
        while full:
            with _explained(self._name):
                page = self._recorder.select_notifications(
                    after, PAGE, topics=topics, inclusive_of_start=False
                )
            yield from page
            if full := len(page) == PAGE:
                after = page[-1].id

    def _insert(self, head: Head, batch: Sequence[StoredEvent]) -> None:
        with _explained(self._name):
            try:
                self._recorder.insert_events(batch)
            except IntegrityError:
                # A recorder that lost the answer to a commit tries again, and meets what it wrote itself.
                stored = self._recorder.select_events(head.stream, gt=head.version, limit=len(batch))
                if list(stored) != list(batch):
                    self._require_end(head)
                    raise

    def _require_end(self, head: Head) -> None:
        found = self.head(head.stream)
        if found != head:
            raise ConflictError(
                f"stream {head.stream} must end with event {head.version} ({head.record_hash.hex()[:12]}), "
                f"found event {found.version} ({found.record_hash.hex()[:12]}): another process wrote to it. "
                "Stop that process, then resume the run."
            )


def open_store(url: str | Path) -> EventStore:
    """Open an event store, and make it if there is none yet.

    Parameters
    ----------
    url
        ``memory://``, a path or ``sqlite:///path``, or ``postgresql://user:password@host:port/dbname``; a
        password left out is taken from ``PGPASSWORD``.

    Raises
    ------
    StoreError
        The store can't be opened; the message says why and never holds the password.
    """
    location = locate(url)
    with _explained(location.name):
        factory: InfrastructureFactory[TrackingRecorder] = InfrastructureFactory.construct(
            location.environment
        )
        try:
            return EventStore(factory, location.name)
        except EventSourcingError:
            factory.close()
            raise


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Name the store and the remedy in what the library raises."""
    try:
        yield
    except ConnectionPoolClosedError as error:
        raise StoreError(f"event store {name} must be open, and was closed. Open it again.") from error
    except EventSourcingError as error:
        remedy = next((text for symptom, text in _REMEDIES.items() if symptom in str(error)), "")
        raise StoreError(f"event store {name}: {error}. {remedy}".rstrip()) from error
