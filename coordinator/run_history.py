"""What the stream of a workflow says about a run: how it began, what is done, and who carries it on."""

import msgspec

from ..domain.errors import NotFoundError
from ..domain.events import (
    PhaseCompleted,
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
    status
        ``running``, ``completed``, ``failed`` or ``canceled``.
    reason
        Why it failed or was canceled.
    host, process
        What carries it on, or did last.
    head
        Where its stream ends.
    """

    started: WorkflowStarted
    completed: dict[str, PhaseCompleted]
    status: str
    reason: str
    host: str
    process: int
    head: Head


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
    status, reason, host, process, head = "running", "", started.host, started.process, first.head
    for recorded in events:
        head = recorded.head
        match recorded.event:
            case PhaseCompleted() as event:
                completed[event.phase] = event
            case WorkflowResumed() as event:
                status, reason, host, process = "running", "", event.host, event.process
            case WorkflowCompleted():
                status = "completed"
            case WorkflowFailed(message=reason):
                status = "failed"
            case WorkflowCanceled(reason=reason):
                status = "canceled"
    return RunHistory(
        started=started,
        completed=completed,
        status=status,
        reason=reason,
        host=host,
        process=process,
        head=head,
    )
