"""What the stream of a workflow says about a run: how it began, what is done, and who carries it on."""

import msgspec

from ..domain.errors import NotFoundError
from ..domain.events import (
    PhaseCompleted,
    PhaseFailed,
    PhaseReused,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
)
from ..eventstore.record import Head
from ..eventstore.store import EventStore


class RunHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A run, folded from its stream.

    Attributes
    ----------
    started
        How it began.
    completed
        The phases that ended well, by name.
    reused
        The phases that it has taken over from the run that it was forked from, by name.
    failed
        The phases that failed and were not resumed.
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
    failed: frozenset[str]
    status: str
    reason: str
    host: str
    process: int
    began_at: int
    taken_at: int
    ended_at: int
    head: Head

    def phase_status(self, phase: str) -> str:
        """Return ``completed``, or what came of a phase that has begun and is not."""
        if phase in self.completed:
            return "completed"
        return "failed" if phase in self.failed else "running"

    @property
    def done(self) -> frozenset[str]:
        """Names of the phases that need not be carried out any more."""
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
    completed: dict[str, PhaseCompleted] = {}
    reused: dict[str, PhaseReused] = {}
    failed: set[str] = set()
    status, reason, host, process = "running", "", started.host, started.process
    taken_at, last = first.recorded_at, first
    for recorded in events:
        last = recorded
        match recorded.event:
            case PhaseCompleted() as event:
                completed[event.phase] = event
            case PhaseReused() as event:
                reused[event.phase] = event
            case PhaseFailed(phase=phase):
                failed.add(phase)
            case WorkflowResumed() as event:
                failed.clear()
                status, reason, host, process = "running", "", event.host, event.process
                taken_at = recorded.recorded_at
            case WorkflowCompleted():
                status = "completed"
            case WorkflowFailed(message=reason):
                status = "failed"
            case WorkflowCanceled(reason=reason):
                status = "canceled"
    return RunHistory(
        started=started,
        completed=completed,
        reused=reused,
        failed=frozenset(failed),
        status=status,
        reason=reason,
        host=host,
        process=process,
        began_at=first.recorded_at,
        taken_at=taken_at,
        ended_at=last.recorded_at,
        head=last.head,
    )
