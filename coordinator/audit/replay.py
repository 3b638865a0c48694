"""Executing a run again from the log alone, and comparing it event by event with what was recorded."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ...domain.errors import NotFoundError
from ...domain.events import PhaseStarted, TrialsCompleted
from ...eventstore.codec import EncodedEvent
from ...eventstore.record import Head, Recorded, record
from ...eventstore.store import EventStore
from ..configuration.sections import PhaseSection
from ..market.market_log import MarketLog
from ..running.phase_execution import PhaseExecution
from ..running.progress import Progress
from ..simulation.executors import Executor
from ..streams.differences import NOTHING, Difference, first_difference
from ..streams.run_history import run_history
from ..streams.trace_query import TraceQuery


class PhaseReplay(msgspec.Struct, frozen=True):
    """What came of replaying one phase.

    Attributes
    ----------
    phase, stream
        The phase, and the stream that holds it.
    outcome
        ``identical``, ``different``, or ``reused`` of a fork: it was not executed, for it belongs to another
        run. What was taken from the cache is executed, and compared with the stream it was taken from.
    events, rows
        Stored events that were the same, and the rows in them; of a reused phase, those that it holds.
    head_hash
        Content hash of the last of them.
    difference
        The first thing in which it differs, if it does.
    """

    phase: str
    stream: str
    outcome: str
    events: int
    rows: int
    head_hash: str
    difference: Difference | None = None


class RunReplay(msgspec.Struct, frozen=True):
    """What came of replaying a run, or the error that kept it from being replayed."""

    run: str
    phases: tuple[PhaseReplay, ...]
    error: str = ""

    @property
    def identical(self) -> bool:
        """Whether nothing was different."""
        return not self.error and all(phase.difference is None for phase in self.phases)


class _FinishedError(Exception):
    """The comparison has an answer; nothing more needs to be executed."""


class Comparison:
    """Compares what a phase does with what its stream holds, up to the first difference."""

    def __init__(self, store: EventStore, stream: str) -> None:
        self._recorded: Iterator[Recorded] = store.read(stream)
        self._next = next(self._recorded, None)
        self.head = Head(stream)
        self.difference: Difference | None = None

    def recorded_start(self) -> PhaseStarted | None:
        """Return the event by which the phase started."""
        event = self._next.event if self._next else None
        return event if isinstance(event, PhaseStarted) else None

    def recorded_trials(self) -> TrialsCompleted | None:
        """Return None: every shard is simulated again."""
        return None

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Compare a group of events, and stop the phase at the first difference or the end of the record."""
        for event in events:
            if self._next is None:
                break
            again = record(self.head, event, correlation_id="", causation_id="", recorded_at=0)
            if again.content_hash != self._next.content_hash:
                self.difference = first_difference(self._next, again)
                raise _FinishedError
            self.head = self._next.head
            self._next = next(self._recorded, None)
        if self._next is None:
            raise _FinishedError

    def result(self, phase: str) -> PhaseReplay:
        """Return what came of it, once the phase has ended."""
        if self._next is not None and self.difference is None:
            topic = self._next.topic
            self.difference = Difference(self._next.address, topic, "type", topic, NOTHING)
        head = self.head
        outcome = "different" if self.difference else "identical"
        hash_ = head.content_hash.hex()
        return PhaseReplay(phase, head.stream, outcome, head.version, head.rows, hash_, self.difference)


def replay_run(
    store: EventStore,
    run: str,
    executor: Executor,
    progress: Progress,
    *,
    phase: str = "",
    accept_code: bool = False,
) -> tuple[PhaseReplay, ...]:
    """Execute the phases of a run again, with the bars and the configuration in the log, and compare.

    A phase that was interrupted is compared as far as it came, and one that was not begun is left out.
    Nothing is written to the log.

    Parameters
    ----------
    store, run
        The run.
    executor, progress
        Where shards are simulated, and who follows.
    phase
        The only phase to replay, with all its turns; all of them where it is empty.
    accept_code
        Whether to replay with code that has changed since.

    Raises
    ------
    NotFoundError
        There is no such run, or it has not begun such a phase.
    ChangedError
        The code has changed, and that is not accepted.
    """
    history = run_history(store, run)
    started, trace = history.started, TraceQuery(store)
    begun = {
        name: turns for name in started.phases if store.head((turns := trace.turns(run, name))[0]).version
    }
    if phase and phase not in begun:
        raise NotFoundError(
            f"the run {run} has begun no phase {phase!r}; it has begun {', '.join(begun) or 'none'}."
        )
    chosen = [(name, stream) for name, turns in begun.items() if phase in ("", name) for stream in turns]
    execution = PhaseExecution(MarketLog(store), trace, executor, progress, Path(started.folder), accept_code)
    replays = []
    for number, (name, stream) in enumerate(chosen, start=1):
        if (reused := history.reused.get(name)) is not None and not reused.cached:
            head = (reused.events, reused.rows, reused.head_hash)
            replays.append(PhaseReplay(name, reused.stream, "reused", *head))
            continue
        turn = stream.partition("/")[2]
        progress.phase_started(turn, number, len(chosen))
        replays.append(_replay_phase(execution, Comparison(store, stream), turn))
        progress.phase_completed(turn)
    return tuple(replays)


def _replay_phase(execution: PhaseExecution, comparison: Comparison, phase: str) -> PhaseReplay:
    recorded = comparison.recorded_start()
    if recorded is not None:
        section = PhaseSection.model_validate_json(recorded.configuration)
        with suppress(_FinishedError):
            feeds, reads, sources = recorded.feeds, recorded.reads, recorded.sources
            execution.run(execution.prepare(section, feeds, reads, sources), comparison)
    return comparison.result(phase)
