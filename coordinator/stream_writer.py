"""Writing one stream: the tracer of a phase, and of the workflow itself."""

from collections.abc import Sequence

from ..domain.events import Event
from ..eventstore.codec import EncodedEvent
from ..eventstore.record import Head
from ..eventstore.store import EventStore


class StreamWriter:
    """Appends groups of events to one stream, each in one transaction.

    Parameters
    ----------
    store
        The event store.
    stream
        Name of the stream, which is also the correlation id of its events.
    cause
        Address of the event that led to the first one of this stream; each later group is caused by the first
        event of the stream unless `append` is told otherwise.
    """

    def __init__(self, store: EventStore, stream: str, cause: str = "") -> None:
        self._store = store
        self._cause = cause
        self.head = Head(stream)

    def append(self, events: Sequence[Event | EncodedEvent], cause: str = "") -> Head:
        """Append a group and return where the stream ends now.

        Raises
        ------
        ConflictError
            Another process wrote to the stream.
        """
        first = self._cause if self.head.version == 0 else f"{self.head.stream}#1"
        self.head = self._store.append(
            self.head, events, correlation_id=self.head.stream, causation_id=cause or first
        )
        return self.head

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Append a group, as a subscriber of a phase's bus."""
        self.append(events)
