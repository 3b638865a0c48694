"""Writing streams: the journal of a workflow, and the tracer of a phase."""

import time
from collections.abc import Iterable, Iterator, Sequence
from threading import RLock

from ...domain.errors import CanceledError, ChangedError, ConflictError
from ...domain.events import (
    Event,
    PhaseStageEntered,
    PhaseStarted,
    TrialsCompleted,
    WorkflowCanceled,
    WorkflowForked,
    WorkflowResumed,
)
from ...eventstore.codec import EncodedEvent
from ...eventstore.record import Head, Recorded, record
from ...eventstore.store import EventStore


class StreamWriter:
    """Appends groups of events to one stream, each in one transaction.

    Parameters
    ----------
    store
        The event store.
    head
        Where the stream ends. Its name is also the correlation id of its events.
    cause
        Address of the event that led to the first one of this stream; each later group is caused by the first
        event of the stream unless `append` is told otherwise.
    """

    def __init__(self, store: EventStore, head: Head, cause: str = "") -> None:
        self._store = store
        self._cause = cause
        self._held: list[Recorded] = []
        self._durable = head
        self.head = head

    def append(self, events: Sequence[Event | EncodedEvent], cause: str = "") -> Head:
        """Append a group, after what is held, and return where the stream ends now.

        Raises
        ------
        ConflictError
            Another process wrote to the stream.
        """
        start = self._durable if self._held else self.head
        # Held no more: whatever interrupts this, it may be stored.
        held, self._held = self._held, []
        self.head = self._store.append(
            start, events, correlation_id=start.stream, causation_id=cause or self._first_cause, held=held
        )
        return self.head

    def hold(self, events: Sequence[EncodedEvent]) -> None:
        """Record a group as of now, and store it in one transaction with the next one that is appended."""
        if not self._held:
            self._durable = self.head
        now, cause = time.time_ns(), self._first_cause
        for event in events:
            recorded = record(
                self.head, event, correlation_id=self.head.stream, causation_id=cause, recorded_at=now
            )
            self._held.append(recorded)
            self.head = recorded.head

    def flush(self) -> None:
        """Append what is held."""
        if self._held:
            self.append(())

    @property
    def _first_cause(self) -> str:
        return self._cause if self.head.version == 0 else f"{self.head.stream}#1"


class Journal(StreamWriter):
    """Writes the stream of a workflow, and notices when somebody else does.

    That another run was forked from this one is noted in between, and stops nobody. Phases in several threads
    may share it.
    """

    def __init__(self, store: EventStore, head: Head) -> None:
        super().__init__(store, head)
        self._lock = RLock()

    def append(self, events: Sequence[Event | EncodedEvent], cause: str = "") -> Head:
        """Append a group and return where the stream ends now; raises like `receive`."""
        with self._lock:
            while True:
                known = self.head
                try:
                    return super().append(events, cause)
                except ConflictError:
                    self.receive(())
                    if self.head == known:
                        raise

    def receive(self, events: Sequence[EncodedEvent]) -> None:  # noqa: ARG002
        """Let a phase go on, as the first subscriber of its bus, if the run is still ours.

        Raises
        ------
        CanceledError
            Somebody canceled the run.
        ConflictError
            Another process resumed the run.
        """
        with self._lock:
            if self._store.length(self.head.stream) != self.head.version:
                self._take_note()

    def _take_note(self) -> None:
        for recorded in self._store.read(self.head.stream, after=self.head.version):
            match recorded.event:
                case WorkflowForked():
                    self.head = recorded.head
                case WorkflowCanceled(reason=reason):
                    raise CanceledError(f"the run {self.head.stream} was canceled: {reason}.")
                case WorkflowResumed(host=host, process=process):
                    raise ConflictError(
                        f"the run {self.head.stream} was resumed by process {process} on {host}, which "
                        "carries it on; this process stops."
                    )
                case _:
                    raise ConflictError(
                        f"another process writes to the stream {self.head.stream}; this one stops."
                    )


class Outbox:
    """Appends what came of the phases of a run to its journal, in a fixed order, whichever ends first.

    So the content of the journal does not depend on which of several phases that run at once is faster. The
    last phase's end waits for that of the run. What waits is lost if the process is killed: then those phases
    are found to be done when the run is resumed, for their streams say so.

    Parameters
    ----------
    journal
        The journal.
    phases
        Names of the phases that have not ended, in the order.
    """

    def __init__(self, journal: Journal, phases: Iterable[str]) -> None:
        self._journal = journal
        self._waiting: dict[str, list[tuple[Event, str]]] = {phase: [] for phase in phases}
        self._ended: set[str] = set()
        self._lock = RLock()

    def put(self, phase: str, event: Event, cause: str = "", *, last: bool = True) -> None:
        """Append an event once all phases before have ended; with the `last` one, this phase has too."""
        with self._lock:
            self._waiting[phase].append((event, cause))
            if last:
                self._ended.add(phase)
            self._append_due()

    def end(self, phase: str) -> None:
        """Let a phase have ended whose last event is in the journal already."""
        with self._lock:
            self._ended.add(phase)
            self._append_due()

    def flush(self) -> None:
        """Append what waits for phases that will not end."""
        with self._lock:
            for name in self._waiting:
                self._append(name)

    def close(self, end: Event) -> None:
        """Append what came of the last phase, and the event by which the run ends."""
        waiting = next(iter(self._waiting.values()), [])
        self._journal.append([*(event for event, _ in waiting), end], waiting[0][1] if waiting else "")

    def _append_due(self) -> None:
        for name in [*self._waiting]:
            is_last = name in self._ended and len(self._waiting) == 1
            self._append(name, but=is_last)
            if name not in self._ended or is_last:
                break
            del self._waiting[name]

    def _append(self, phase: str, but: int = 0) -> None:
        waiting = self._waiting[phase]
        while len(waiting) > but:
            event, cause = waiting[0]
            self._journal.append([event], cause)
            del waiting[0]


class Tracer:
    """Writes the stream of a phase, as a subscriber of its bus.

    What the stream holds already, from a process that was stopped, is not written again: it is compared with
    what happens now, which must be the same.

    Parameters
    ----------
    store
        The event store.
    stream
        Name of the phase's stream.
    cause
        Address of the event that led to the phase.
    """

    def __init__(self, store: EventStore, stream: str, cause: str) -> None:
        self._writer = StreamWriter(store, Head(stream), cause)
        self._recorded: Iterator[Recorded] = store.read(stream)
        self._next = next(self._recorded, None)

    @property
    def head(self) -> Head:
        """Where the stream ends, as far as it has been written or compared."""
        return self._writer.head

    def recorded_start(self) -> PhaseStarted | None:
        """Return the event by which the phase started before, or None."""
        event = self._next.event if self._next and self.head.version == 0 else None
        return event if isinstance(event, PhaseStarted) else None

    def recorded_trials(self) -> TrialsCompleted | None:
        """Pass over the next shard that was recorded and return its trials, or None where there is none.

        Shards are appended whole: the events of one are all there, or none is.
        """
        while self._next is not None:
            recorded = self._advance(self._next)
            if recorded.topic == TrialsCompleted.__name__:
                event = recorded.event
                return event if isinstance(event, TrialsCompleted) else None
        return None

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Compare a group with what was recorded, and append what was not.

        A stage that is entered is recorded at that time, and appended with what comes next.

        Raises
        ------
        ChangedError
            What was recorded differs.
        ConflictError
            Another process wrote to the stream.
        """
        for number, event in enumerate(events):
            if self._next is None:
                is_mark = all(each.topic == PhaseStageEntered.__name__ for each in events)
                (self._writer.hold if is_mark else self._writer.append)(events[number:])
                return
            self._require_same(self._next, event)
            self._advance(self._next)

    def flush(self) -> None:
        """Append what waits for the next group, where none will come."""
        self._writer.flush()

    def _require_same(self, recorded: Recorded, event: EncodedEvent) -> None:
        again = record(self.head, event, correlation_id="", causation_id="", recorded_at=0)
        if again.content_hash != recorded.content_hash:
            raise ChangedError(
                f"{recorded.address}: {recorded.topic} was recorded, and carrying the phase out again gives "
                f"another {event.topic}. The code or the platform has changed; `admf replay` shows where."
            )

    def _advance(self, recorded: Recorded) -> Recorded:
        self._writer.head = recorded.head
        self._next = next(self._recorded, None)
        return recorded
