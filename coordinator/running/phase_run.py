"""Carrying out the phases of one run: whether, how often and with what, and what came of them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Event as Signal
from time import monotonic
from typing import TypeVar

import msgspec

from ...domain.errors import (
    AdmfError,
    CanceledError,
    ConflictError,
    CorruptionError,
    ExecutorError,
    LimitError,
    StoreError,
    TimedOutError,
)
from ...domain.events import (
    Feed,
    PhaseCompleted,
    PhaseEnd,
    PhaseFailed,
    PhaseRepeated,
    PhaseRetried,
    PhaseReused,
    PhaseSkipped,
    TrialsCompleted,
)
from ...eventstore.codec import EncodedEvent
from ...eventstore.record import Head
from ...eventstore.store import EventStore
from ..streams.stream_writer import Journal, Outbox, Tracer
from ..streams.trace_query import TraceQuery, phase_stream
from ..streams.tried_phases import other_searches
from ..workflows.loading import Workflow
from ..workflows.phase_graph import CACHED, COMPLETED, FAILED, SKIPPED, Node
from .bus import Subscriber
from .limits import LimitClock, LimitGuard, Limits
from .phase_cache import PhaseCache
from .phase_execution import PhaseExecution
from .phase_inputs import PhaseInputs

End = TypeVar("End", bound=PhaseEnd)

PASSING = (StoreError, ExecutorError, OSError)
"""Errors that may pass, so that a phase is tried again: of the store, workers, files and the network."""
LASTING = (ConflictError, CorruptionError)
"""Those of them that don't."""


class PhaseError(Exception):
    """The phase ``phase`` raised ``error``, which ends the run."""

    def __init__(self, phase: str, error: Exception) -> None:
        super().__init__(phase)
        self.phase = phase
        self.error = error


class _StoppedError(AdmfError):
    """The run ends while the phase is under way."""


ENDS_ALL = (CanceledError, ConflictError, _StoppedError)
"""Errors that end a phase because its run ends."""


class Stop:
    """Ends the phases that run at the same time, each before its next append."""

    def __init__(self) -> None:
        self._signal = Signal()

    def set(self) -> None:
        """Ask for it."""
        self._signal.set()

    def wait(self, seconds: float) -> None:
        """Let time pass; raises like `receive`."""
        self._signal.wait(seconds)
        self.receive(())

    def receive(self, events: Sequence[EncodedEvent]) -> None:  # noqa: ARG002
        """Let a phase go on, as a guard of its bus, unless it is to end."""
        if self._signal.is_set():
            raise _StoppedError("the run ends, and so does this phase.")


class Clock:
    """Ends a phase that takes too long, at the end of a shard, whose events are durable."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = monotonic() + seconds

    def receive(self, events: Sequence[EncodedEvent]) -> None:
        """Take note of a group, as the last subscriber of the bus.

        Raises
        ------
        TimedOutError
            The time is over, and a shard was completed.
        """
        if monotonic() > self._end and events[-1].topic == TrialsCompleted.__name__:
            raise TimedOutError(
                f"timeout_seconds: more than {self._seconds:g} s passed; all completed shards are kept, and "
                "resuming the run goes on after them."
            )


class PhaseRun(msgspec.Struct, frozen=True, kw_only=True):
    """The phases of one run, as they are carried out.

    Attributes
    ----------
    workflow, feeds
        What is carried out, and the bars that each phase reads.
    store, journal, outbox
        Where everything is appended.
    execution, cache
        What executes phases, and what knows of phases that were executed already, if it may be asked.
    limits
        What the run may still take.
    outcomes
        What came of the phases that have ended; grows.
    turns
        Number of turns that phases which repeat have ended, and that others follow; grows.
    stop
        Ends phases that are under way.
    under_way
        Names of those phases, or of their turns, in the order in which they began.
    keys
        What the cache calls phases that have begun, by name.
    """

    workflow: Workflow
    feeds: Mapping[str, tuple[Feed, ...]]
    store: EventStore
    journal: Journal
    outbox: Outbox
    execution: PhaseExecution
    cache: PhaseCache | None
    limits: Limits
    outcomes: dict[str, str]
    turns: dict[str, int]
    stop: Stop
    under_way: dict[str, None] = {}
    keys: dict[str, str] = {}

    def carry_out(self, parallel: int) -> None:
        """Carry out every phase that has not ended, so many at once.

        With one at a time everything happens in this thread. Otherwise each phase has a thread of its own;
        when one raises, or this thread is interrupted, the others stop before their next append.

        Raises
        ------
        PhaseError
            A phase failed, and the workflow does not go on without it.
        CanceledError, ConflictError
            The run is somebody else's now.
        """
        graph = self.workflow.graph
        if parallel == 1:
            while ready := graph.ready(self.outcomes):
                self.outcomes[ready[0].name] = self._outcome(ready[0])
            return
        running: dict[str, Future[str]] = {}
        with ThreadPoolExecutor(parallel, thread_name_prefix="admf-phase") as pool:
            try:
                while True:
                    for node in graph.ready(self.outcomes):
                        if node.name not in running and len(running) < parallel:
                            running[node.name] = pool.submit(self._outcome, node)
                    if not running:
                        return
                    wait(running.values(), return_when=FIRST_COMPLETED)
                    for name in [name for name, future in running.items() if future.done()]:
                        self.outcomes[name] = running.pop(name).result()
            except BaseException:
                self.stop.set()
                raise

    def _outcome(self, node: Node) -> str:
        """Carry a phase out, and return what came of it."""
        try:
            return self._carried_out(node)
        except ENDS_ALL:
            raise
        except Exception as error:
            raise PhaseError(self._turn(node), error) from error

    def _carried_out(self, node: Node) -> str:
        try:
            if reason := self._inputs.obstacle(node):
                cause = self._cause(self._inputs.addresses(node))
                self.outbox.put(node.name, PhaseSkipped(phase=node.name, reason=reason), cause)
                return SKIPPED
            return self._repeat(node)
        except ENDS_ALL:
            raise
        except AdmfError as error:
            if isinstance(error, LimitError) or not node.course.continue_on_failure:
                raise
            failed = PhaseFailed(phase=self._turn(node), error=type(error).__name__, message=str(error))
            self.outbox.put(node.name, failed)
            self.under_way.pop(self._turn(node), None)
            return FAILED

    def _repeat(self, node: Node) -> str:
        """Carry out one turn, or in a loop the turns that are left, and return what came of them."""
        repeat = node.course.repeat
        while True:
            turn = self.turns.get(node.name, 0) + 1
            head = self._attempts(node, turn)
            cause = f"{head.stream}#{head.rows}"
            is_cached = head.stream != phase_stream(self._run, node.name, turn)
            reason = self._inputs.loop_end(node, repeat, turn) if repeat and not is_cached else ""
            if repeat and not (reason or is_cached):
                self.outbox.put(
                    node.name, _end(partial(PhaseRepeated, turn=turn), node, head), cause, last=False
                )
                self.under_way.pop(self._turn(node), None)
                self.turns[node.name] = turn
                continue
            if is_cached:
                # Phases that depend on it look into the journal for its stream: this can't wait its turn.
                self.journal.append([_end(partial(PhaseReused, cached=True), node, head)], cause)
                self.outbox.end(node.name)
            else:
                completed = _end(partial(PhaseCompleted, reason=reason), node, head)
                self.outbox.put(node.name, completed, cause)
                if self.cache and node.name in self.keys:
                    self.cache.note(self.keys[node.name], completed, cause)
            self.execution.progress.phase_completed(self._turn(node), cached=is_cached)
            self.under_way.pop(self._turn(node), None)
            return CACHED if is_cached else COMPLETED

    def _attempts(self, node: Node, turn: int) -> Head:
        """Execute a turn; after an error that may pass, again, with twice the delay each time."""
        delay = node.course.retry_delay_seconds
        for attempt in range(1, node.course.retries + 1):
            try:
                return self._execute(node, turn)
            except LASTING:
                raise
            except PASSING as error:
                retried = PhaseRetried(
                    phase=self._turn(node),
                    attempt=attempt,
                    delay=delay,
                    error=type(error).__name__,
                    message=str(error),
                )
                self.outbox.put(node.name, retried, last=False)
            self.stop.wait(delay)
            delay *= 2.0
        return self._execute(node, turn)

    def _execute(self, node: Node, turn: int) -> Head:
        self.limits.require_time()
        self.under_way[self._turn(node)] = None
        names = [each.name for each in self.workflow.graph.nodes]
        self.execution.progress.phase_started(self._turn(node), names.index(node.name) + 1, len(names))
        addresses = self._inputs.addresses(node, turn)
        seconds = node.course.timeout_seconds
        tracer = Tracer(self.store, phase_stream(self._run, node.name, turn), self._cause(addresses))
        reads = tuple(address.partition("/")[2].rpartition("#")[0] for address in addresses)
        section, recorded = self._inputs.section(node, turn), tracer.recorded_start()
        sources = recorded.sources if recorded else other_searches(TraceQuery(self.store), self._run, section)
        phase = self.execution.prepare(section, self.feeds[node.name], reads, sources)
        if self.cache and turn == 1 and recorded in (None, phase.started):
            key = self.keys[node.name] = self.cache.key(phase, node, self._run)
            if recorded is None and (found := self.cache.find(key)):
                return found
        clocks: list[Subscriber] = [LimitClock(self.limits), *([Clock(seconds)] if seconds else [])]
        guards = self.journal, self.stop, LimitGuard(self.limits, tracer)
        try:
            self.execution.run(phase, tracer, *guards, clocks=clocks)
        except ENDS_ALL:
            raise
        except BaseException:
            tracer.flush()
            raise
        return tracer.head

    def _cause(self, addresses: tuple[str, ...]) -> str:
        """Return the last output that was read, or else the start of the run."""
        return addresses[-1] if addresses else f"{self._run}#1"

    def _turn(self, node: Node) -> str:
        """Return the name of the turn that a phase is in."""
        return phase_stream(self._run, node.name, self.turns.get(node.name, 0) + 1).partition("/")[2]

    @property
    def _run(self) -> str:
        return self.journal.head.stream

    @property
    def _inputs(self) -> PhaseInputs:
        return PhaseInputs(self.workflow, self._run, TraceQuery(self.store), self.outcomes)


def _end(kind: Callable[..., End], node: Node, head: Head) -> End:
    return kind(
        phase=node.name,
        stream=head.stream,
        events=head.version,
        rows=head.rows,
        head_hash=head.content_hash.hex(),
    )
