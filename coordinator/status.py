"""How far runs have come, read from their streams."""

import time
from datetime import UTC, datetime

import msgspec

from ..domain.codes import Stage
from ..domain.events import (
    PhaseStageEntered,
    PhaseStarted,
    TrialsCompleted,
)
from ..eventstore.store import EventStore
from .process_state import shown_status
from .run_history import RunHistory, run_history
from .trace_query import phase_stream

SECOND = 1e9


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run has come.

    Attributes
    ----------
    run, name
        Its id, and the name of its workflow.
    status
        ``running``, ``stale`` (its process is gone), ``completed``, ``failed`` or ``canceled``.
    reason
        Why it failed or was canceled; else empty.
    started_at
        When it began, in UTC.
    elapsed
        Seconds since then, or until it ended.
    completed, phases
        Number of phases that are completed or reused, and of all.
    phase
        The phase that it is in, or was in when it stopped; empty where none is left.
    shards, trials
        Of that phase, how many were completed.
    planned
        Trials that follow from the configuration of that phase; what comes of them may lead to more.
    phase_ends_at
        When that phase will have completed them, at the pace of the shards since the process took the run
        over; None where nothing is measured, or nothing runs.
    host, process
        What carries the run on, or did last.
    """

    run: str
    name: str
    status: str
    reason: str
    started_at: datetime
    elapsed: float
    completed: int
    phases: int
    phase: str
    shards: int
    trials: int
    planned: int
    phase_ends_at: datetime | None
    host: str
    process: int


class PassedOver(msgspec.Struct, frozen=True):
    """What need not be executed any more when a run is resumed.

    Attributes
    ----------
    phases
        Names of the phases that are completed or reused.
    phase
        The phase that it goes on with; empty where none is left.
    shards, trials
        How many of that phase were completed.
    """

    phases: tuple[str, ...]
    phase: str
    shards: int
    trials: int


class _PhasePace(msgspec.Struct):
    """What the stream of a phase says about how fast it goes; times in nanoseconds since 1970."""

    planned: int = 0
    shards: int = 0
    trials: int = 0
    measured: int = 0
    since: int = 0
    until: int = 0

    @property
    def ends_at(self) -> datetime | None:
        left = self.planned - self.trials
        if not self.measured or left <= 0:
            return None
        pace = (self.until - self.since) / self.measured
        return datetime.fromtimestamp((self.until + left * pace) / SECOND, UTC)


def run_status(store: EventStore, run: str) -> RunStatus:
    """Tell how far a run has come.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    history = run_history(store, run)
    phase = next((name for name in history.started.phases if name not in history.done), "")
    pace = _pace(store, phase_stream(run, phase), history) if phase else _PhasePace()
    status = shown_status(history)
    end = time.time_ns() if status == "running" else max(history.ended_at, pace.until)
    return RunStatus(
        run=run,
        name=history.started.name,
        status=status,
        reason=history.reason,
        started_at=datetime.fromtimestamp(history.began_at / SECOND, UTC),
        elapsed=max(0, end - history.began_at) / SECOND,
        completed=len(history.done),
        phases=len(history.started.phases),
        phase=phase,
        shards=pace.shards,
        trials=pace.trials,
        planned=max(pace.planned, pace.trials),
        phase_ends_at=pace.ends_at if status == "running" else None,
        host=history.host,
        process=history.process,
    )


def passed_over(store: EventStore, run: str) -> PassedOver:
    """Tell what resuming a run would not execute again; raises like `run_status`."""
    history, status = run_history(store, run), run_status(store, run)
    phases = tuple(name for name in history.started.phases if name in history.done)
    return PassedOver(phases, status.phase, status.shards, status.trials)


def _pace(store: EventStore, stream: str, history: RunHistory) -> _PhasePace:
    pace = _PhasePace(since=history.taken_at)
    topics = [kind.__name__ for kind in (PhaseStarted, PhaseStageEntered, TrialsCompleted)]
    for recorded in store.read(stream, topics=topics):
        if recorded.topic == TrialsCompleted.__name__:
            pace.shards += 1
            pace.trials += recorded.rows
            pace.until = recorded.recorded_at
            if recorded.recorded_at > pace.since:
                pace.measured += recorded.rows
            continue
        match recorded.event:
            case PhaseStarted(planned=planned):
                pace.planned = planned
            case PhaseStageEntered(stage=Stage.COMPUTATION) if recorded.recorded_at > pace.since:
                pace.since, pace.measured = recorded.recorded_at, 0
    return pace
