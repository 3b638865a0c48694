"""What the stream of a workflow says about a run: how it began, what is done, and who carries it on."""

import msgspec

from ...domain.errors import NotFoundError
from ...domain.events import (
    Event,
    PhaseCompleted,
    PhaseFailed,
    PhaseRepeated,
    PhaseRetried,
    PhaseReused,
    PhaseSkipped,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
)
from ...eventstore.record import Head
from ...eventstore.store import EventStore

ENDED = frozenset({"completed", "failed"})
"""Statuses of a run that came to an end of its own."""


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A run, folded from its stream.

    Attributes
    ----------
    started
        How it began.
    completed
        The phases that ended well, by name.
    reused
        The phases that it has taken over from other runs, by name.
    failed
        The phases that failed and were not tried again, with the errors, by name.
    skipped
        Why phases were skipped, by name.
    changes
        What was changed of its limits when it was resumed.
    turns
        Number of turns that phases which repeat have ended before their last one, by name.
    retries
        How often phases were tried again, by name.
    status
        ``running``, ``completed``, ``failed`` or ``canceled``.
    reason
        Why it failed or was canceled.
    host, process
        What carries it on, or did last.
    began_at, taken_at, ended_at
        When it began, when that process took it over, and when the last event of its stream was recorded, in
        nanoseconds since 1970 in UTC.
    head
        Where its stream ends.
    """

    started: WorkflowStarted
    completed: dict[str, PhaseCompleted]
    reused: dict[str, PhaseReused]
    failed: dict[str, str]
    skipped: dict[str, str]
    turns: dict[str, int]
    retries: dict[str, int]
    changes: tuple[str, ...]
    status: str
    reason: str
    host: str
    process: int
    began_at: int
    taken_at: int
    ended_at: int
    head: Head

    def phase_status(self, phase: str) -> str:
        """Return what came of a phase, or ``running`` for one that has not ended."""
        return self.outcomes.get(phase, "running")

    def phase_reason(self, phase: str) -> str:
        """Say why a phase was skipped or failed, took no other turn, or where it was taken from, if so."""
        if phase in self.completed:
            return self.completed[phase].reason
        if phase in self.reused:
            reused = self.reused[phase]
            return f"taken from {reused.stream}" if reused.cached else ""
        return self.skipped.get(phase) or self.failed.get(phase, "")

    @property
    def outcomes(self) -> dict[str, str]:
        """What came of each phase: ``completed``, ``reused``, ``cached``, ``skipped`` or ``failed``."""
        return {
            **dict.fromkeys(self.skipped, "skipped"),
            **dict.fromkeys(self.failed, "failed"),
            **dict.fromkeys(self.completed, "completed"),
            **{name: "cached" if event.cached else "reused" for name, event in self.reused.items()},
        }

    @property
    def settled(self) -> dict[str, str]:
        """The outcomes that stay when the run is carried on.

        What failed is tried again if the run came to its end, and what was skipped is thought over.
        """
        return {
            phase: outcome
            for phase, outcome in self.outcomes.items()
            if phase in self.done or self.status not in ENDED
        }

    @property
    def done(self) -> frozenset[str]:
        """Names of the phases that ended well, or are taken over."""
        return frozenset((*self.reused, *self.completed))


def run_history(store: EventStore, run: str) -> RunHistory:
    """Fold the stream of a run.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    events = store.read(run)
    first = next(events, None)
    started = first.event if first else None
    if first is None or not isinstance(started, WorkflowStarted):
        raise NotFoundError(f"there is no run {run!r}; `admf runs` lists the runs.")
    phases = _Phases()
    status, reason, host, process = "running", "", started.host, started.process
    taken_at, last = first.recorded_at, first
    changes: tuple[str, ...] = ()
    for recorded in events:
        last = recorded
        match recorded.event:
            case WorkflowResumed() as event:
                if status in ENDED:
                    phases.failed.clear()
                    phases.skipped.clear()
                status, reason, host, process = "running", "", event.host, event.process
                taken_at = recorded.recorded_at
                changes += event.changes
            case WorkflowCompleted():
                status = "completed"
            case WorkflowFailed(message=reason):
                status = "failed"
            case WorkflowCanceled(reason=reason):
                status = "canceled"
            case event:
                phases.take(event)
    return RunHistory(
        started=started,
        completed=phases.completed,
        reused=phases.reused,
        failed=phases.failed,
        skipped=phases.skipped,
        turns=phases.turns,
        retries=phases.retries,
        changes=changes,
        status=status,
        reason=reason,
        host=host,
        process=process,
        began_at=first.recorded_at,
        taken_at=taken_at,
        ended_at=last.recorded_at,
        head=last.head,
    )


class _Phases(msgspec.Struct):
    """What the events so far say about phases; the fields are those of `RunHistory`."""

    completed: dict[str, PhaseCompleted] = {}
    reused: dict[str, PhaseReused] = {}
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    turns: dict[str, int] = {}
    retries: dict[str, int] = {}

    def take(self, event: Event) -> None:
        match event:
            case PhaseCompleted():
                self.completed[event.phase] = event
            case PhaseReused():
                self.reused[event.phase] = event
            case PhaseRepeated():
                self.turns[event.phase] = event.turn
            case PhaseRetried():
                phase = _name(event.phase)
                self.retries[phase] = self.retries.get(phase, 0) + 1
            case PhaseFailed():
                self.failed[_name(event.phase)] = f"{event.error}: {event.message}"
            case PhaseSkipped():
                self.skipped[event.phase] = event.reason


def _name(turn: str) -> str:
    """Return the name of the phase that a turn belongs to."""
    return turn.partition("#")[0]
