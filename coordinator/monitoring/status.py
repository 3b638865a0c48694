"""How far runs have come, read from their streams."""

import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from ...domain.codes import Stage
from ...domain.events import (
    PhaseStageEntered,
    PhaseStarted,
    TrialsCompleted,
)
from ...eventstore.store import EventStore
from ..streams.run_history import RunHistory, run_history
from ..streams.trace_query import TraceQuery
from .process_state import shown_status

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
        Number of phases that have ended, or need not be executed any more, and of all.
    skipped, failed
        Names of those that were skipped, and of those that failed.
    phase
        The phase that it is in, or was in when it stopped, of several the first; ``phase#2`` in the second
        turn of one that repeats; empty where none is left.
    cached
        Names of the phases that were taken over because another run had completed the same.
    under_way
        Each phase that has begun and not ended, of branches that run at once several.
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
    skipped: tuple[str, ...]
    failed: tuple[str, ...]
    phase: str
    cached: tuple[str, ...]
    under_way: tuple["PhaseProgress", ...]
    shards: int
    trials: int
    planned: int
    phase_ends_at: datetime | None
    host: str
    process: int


class PhaseProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a phase has come that has begun and not ended.

    Attributes
    ----------
    phase
        Its name; ``phase#2`` in the second turn of one that repeats.
    elapsed
        Seconds since that turn began, or until it was stopped.
    shards, trials, planned, ends_at
        As those of the first such phase in `RunStatus`.
    retries
        How often it was tried again.
    """

    phase: str
    elapsed: float
    shards: int
    trials: int
    planned: int
    ends_at: datetime | None
    retries: int

    def __str__(self) -> str:
        counts = f"{self.trials:,} of {self.planned:,} trials" if self.planned else "preparing"
        parts = [counts, f"{self.elapsed:.1f} s"]
        if self.retries:
            parts.append(f"tried again {self.retries} time{'' if self.retries == 1 else 's'}")
        if self.ends_at:
            parts.append(f"ends about {self.ends_at:%H:%M:%S} UTC")
        return ", ".join(parts)


class PassedOver(msgspec.Struct, frozen=True):
    """What need not be executed any more when a run is resumed.

    Attributes
    ----------
    phases
        Names of the phases that have ended for good.
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

    began_at: int = 0
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
    tried_again = history.failed if history.status == "failed" else ()
    ended = [name for name in history.outcomes if name not in tried_again]
    streams = _next_streams(store, history, ended)
    stream = streams[0]
    pace = _pace(store, stream, history) if stream else _PhasePace()
    status = shown_status(history)
    end = time.time_ns() if status == "running" else max(history.ended_at, pace.until)
    return RunStatus(
        run=run,
        name=history.started.name,
        status=status,
        reason=history.reason,
        started_at=datetime.fromtimestamp(history.began_at / SECOND, UTC),
        elapsed=max(0, end - history.began_at) / SECOND,
        completed=len(ended),
        phases=len(history.started.phases),
        skipped=tuple(history.skipped),
        failed=tuple(history.failed),
        phase=stream.partition("/")[2],
        cached=tuple(name for name, outcome in history.outcomes.items() if outcome == "cached"),
        under_way=tuple(phases_under_way(store, history, streams)),
        shards=pace.shards,
        trials=pace.trials,
        planned=max(pace.planned, pace.trials),
        phase_ends_at=pace.ends_at if status == "running" else None,
        host=history.host,
        process=history.process,
    )


def phases_under_way(
    store: EventStore, history: RunHistory, streams: Iterable[str]
) -> Iterator[PhaseProgress]:
    """Tell how far the phases of these streams have come, of those that have begun."""
    is_running = shown_status(history) == "running"
    for stream in streams:
        if stream and store.head(stream).version:
            pace, phase = _pace(store, stream, history), stream.partition("/")[2]
            end = time.time_ns() if is_running else max(history.ended_at, pace.until)
            yield PhaseProgress(
                phase=phase,
                elapsed=max(0, end - pace.began_at) / SECOND,
                shards=pace.shards,
                trials=pace.trials,
                planned=max(pace.planned, pace.trials),
                ends_at=pace.ends_at if is_running else None,
                retries=history.retries.get(phase.partition("#")[0], 0),
            )


def passed_over(store: EventStore, run: str) -> PassedOver:
    """Tell what resuming a run would not execute again; raises like `run_status`."""
    history = run_history(store, run)
    settled = history.settled
    stream = _next_streams(store, history, settled)[0]
    pace = _pace(store, stream, history) if stream else _PhasePace()
    phases = tuple(name for name in history.started.phases if name in settled)
    return PassedOver(phases, stream.partition("/")[2], pace.shards, pace.trials)


def _next_streams(store: EventStore, history: RunHistory, ended: Collection[str]) -> list[str]:
    """Return the streams of the last turns of phases that have not ended; an empty one if none is left."""
    trace, run = TraceQuery(store), history.head.stream
    return [trace.stream(run, name) for name in history.started.phases if name not in ended] or [""]


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
                pace.began_at, pace.planned = recorded.recorded_at, planned
            case PhaseStageEntered(stage=Stage.COMPUTATION) if recorded.recorded_at > pace.since:
                pace.since, pace.measured = recorded.recorded_at, 0
    return pace
