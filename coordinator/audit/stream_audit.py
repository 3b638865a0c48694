"""Auditing one stream, event by event."""

from collections.abc import Iterator
from typing import Protocol

from ...domain.errors import AdmfError
from ...domain.events import (
    BarsLoaded,
    Event,
    NumericEvent,
    PhaseCompleted,
    PhaseFailed,
    PhaseReused,
    PhaseSkipped,
    SessionsLoaded,
    WorkflowCompleted,
    WorkflowStarted,
)
from ...eventstore.codec import content_digest
from ...eventstore.record import Head, Recorded, Unreadable, flaws
from ..market.market_log import bars_stream
from .violation import Violation


class ContentAudit(Protocol):
    """Checks what the events of a stream say."""

    def take(self, recorded: Recorded, event: Event) -> Iterator[Violation]:
        """Check the next event."""

    def end(self) -> Iterator[Violation]:
        """Check what can be told only after the last event."""


class ChainAudit:
    """Checks that the events of a stream are those that were appended, and can be read."""

    def __init__(self, stream: str) -> None:
        self.head = Head(stream)
        self.topic = ""
        self._is_lost = False

    def take(self, stored: Recorded | Unreadable) -> Iterator[Violation]:
        """Check the next event of the stream."""
        if isinstance(stored, Unreadable):
            yield Violation(self.head.next_address, "unreadable", stored.reason)
            self._is_lost = True
            return
        # Behind an event that can't be read, nothing is known about where the next one must stand.
        if not self._is_lost:
            for flaw in flaws(self.head, stored):
                yield Violation(stored.address, flaw.rule, flaw.message)
        self._is_lost = False
        self.head, self.topic = stored.head, stored.topic


def decoded(recorded: Recorded) -> tuple[Event | None, tuple[Violation, ...]]:
    """Return what an event says, or None with the violation that keeps it from being read."""
    try:
        event = recorded.event
    except AdmfError as error:
        return None, (Violation(recorded.address, "payload", str(error)),)
    rows = getattr(event, event.__struct_fields__[0]).size if isinstance(event, NumericEvent) else 1
    if rows != recorded.rows:
        message = f"{recorded.topic} must have {recorded.rows} rows, as recorded; found {rows}."
        return None, (Violation(recorded.address, "payload", message),)
    return event, ()


class BarsAudit:
    """Checks that a stream of bars is named after its content."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._digests: list[bytes] = []

    def take(self, recorded: Recorded, event: Event) -> Iterator[Violation]:
        """Check that the event holds bars or their sessions."""
        if not isinstance(event, BarsLoaded | SessionsLoaded):
            message = f"a stream of bars must hold nothing but them and sessions; found {recorded.topic}."
            yield Violation(recorded.address, "start", message)
        self._digests.append(content_digest(recorded.topic, recorded.payload))

    def end(self) -> Iterator[Violation]:
        """Check the name."""
        expected = bars_stream(self._digests)
        if expected != self._stream:
            message = f"a stream of bars must be named after its content, {expected}, and is not."
            yield Violation(f"{self._stream}#1", "feed", message)


class NotesAudit:
    """Checks that a stream ``phase-<key>`` holds ends of phases; they are compared as those in a run."""

    def take(self, recorded: Recorded, event: Event) -> Iterator[Violation]:
        """Check the next event."""
        if not isinstance(event, PhaseCompleted):
            message = f"it must hold the ends of phases, and nothing else; found {recorded.topic}."
            yield Violation(recorded.address, "start", message)

    def end(self) -> Iterator[Violation]:
        """Check nothing."""
        return iter(())


class WorkflowAudit:
    """Checks the order of events in the stream of a workflow."""

    def __init__(self) -> None:
        self._phases: tuple[str, ...] = ()
        self._is_new = True
        self._done: set[str] = set()

    def take(self, recorded: Recorded, event: Event) -> Iterator[Violation]:
        """Check the next event."""
        if self._is_new and not isinstance(event, WorkflowStarted):
            message = f"a workflow must begin with WorkflowStarted; found {recorded.topic} before it."
            yield Violation(recorded.address, "start", message)
        self._is_new = False
        match event:
            case WorkflowStarted():
                self._phases = event.phases
            case PhaseCompleted() | PhaseReused() | PhaseSkipped() | PhaseFailed():
                self._done.add(event.phase.partition("#")[0])
            case WorkflowCompleted():
                missing = [name for name in self._phases if name not in self._done]
                if missing:
                    message = f"all phases must come before it; not ended: {', '.join(missing)}."
                    yield Violation(recorded.address, "workflow", message)

    def end(self) -> Iterator[Violation]:
        """Check nothing: a workflow may stop anywhere."""
        return iter(())
