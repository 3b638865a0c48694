"""Verifying a store: that the log is as it was written, agrees with itself, and with the read models."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from ...domain.errors import AdmfError, ChangedError, CorruptionError, NotFoundError, StoreError
from ...eventstore.record import Head, Recorded, Unreadable
from ...eventstore.store import EventStore
from ..market.market_log import MarketLog
from ..running.progress import Silence
from ..simulation.executors import InProcess
from ..streams.workspace import Workspace
from .phase_audit import PhaseAudit
from .replay import replay_run
from .stream_audit import BarsAudit, ChainAudit, ContentAudit, NotesAudit, WorkflowAudit, decoded
from .stream_references import StreamReferences
from .violation import Violation

Progress = Callable[[int, int], None]
"""Is told the number of events that were checked, and of those that are to be checked."""


def _untold(done: int, total: int) -> None:
    """Be told, and do nothing."""


class Checked(msgspec.Struct, frozen=True):
    """How much was checked: streams, stored events, logical rows, metrics, and rows of read models."""

    streams: int = 0
    events: int = 0
    rows: int = 0
    metrics: int = 0
    read_model_rows: int = 0


class Verification(msgspec.Struct, frozen=True):
    """What came of verifying a store: the violations, in the order of the log, and how much was checked."""

    violations: tuple[Violation, ...]
    checked: Checked


def verify_workspace(workspace: Workspace, run: str = "", progress: Progress = _untold) -> Verification:
    """Verify everything in a workspace, or one run and what it refers to.

    The end of a stream that nothing refers to can be cut off without a trace in the log: that looks like a
    run that was stopped. Read models that had followed it tell.

    Parameters
    ----------
    workspace
        The store and its read models, which catch up with the log first.
    run
        Id of the run; everything is verified where it is empty.
    progress
        Follows the work: events are checked in the log first, then against the read models.

    Raises
    ------
    NotFoundError
        There is no such run.
    StoreError
        The store can't be read.
    """
    audit = LogAudit(workspace.store, lambda done, total: progress(done, 2 * total))
    violations = list(audit.run(run) if run else audit.everything())
    if not violations:
        violations = list(_analyzed_anew(workspace.store, audit.analyses))
    try:
        comparison = workspace.read_models.compare(
            run,
            audit.streams if run else (),
            lambda done: progress(audit.events + done, 2 * audit.events),
        )
    except StoreError as error:
        violations.append(Violation("read models", "read models", str(error)))
        return Verification(tuple(violations), audit.checked())
    violations += [Violation(each.address, "read models", each.message) for each in comparison.differences]
    return Verification(tuple(violations), audit.checked(comparison.rows))


def _analyzed_anew(store: EventStore, streams: Iterable[str]) -> Iterator[Violation]:
    """Carry out again what analyses computed from other streams; with other code, there is nothing to say."""
    for run, phase in dict.fromkeys(_run_and_phase(stream) for stream in streams):
        try:
            replays = replay_run(store, run, InProcess(), Silence(), phase=phase)
        except ChangedError:
            continue
        except AdmfError as error:
            yield Violation(f"{run}/{phase}", "output", f"it can't be computed again: {error}")
            continue
        for found in (replay.difference for replay in replays if replay.difference):
            message = f"{found.field} must be {found.replayed}, as follows again, is {found.recorded}."
            yield Violation(found.address, "output", message)


def _run_and_phase(stream: str) -> tuple[str, str]:
    run, _, turn = stream.partition("/")
    return run, turn.partition("#")[0]


class LogAudit:
    """Checks the log; good for one use.

    Parameters
    ----------
    store
        The event store.
    progress
        Follows the reading.

    Attributes
    ----------
    events
        The number of events to read, as far as that is known.
    """

    def __init__(self, store: EventStore, progress: Progress) -> None:
        self._store = store
        self._market = MarketLog(store)
        self._progress = progress
        self._chains: dict[str, ChainAudit] = {}
        self._contents: dict[str, ContentAudit] = {}
        self._references = StreamReferences(self._end_of)
        self._read = self._rows = 0
        self.events = 0
        self._run = ""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that were read: those of bars, then those of phases, then those of workflows."""
        return tuple(sorted(self._chains, key=lambda stream: (not _is_bars(stream), not _is_phase(stream))))

    @property
    def analyses(self) -> list[str]:
        """The streams of phases that handed on what follows from other streams."""
        contents = self._contents.items()
        return [name for name, each in contents if isinstance(each, PhaseAudit) and each.is_analysis]

    def checked(self, read_model_rows: int = 0) -> Checked:
        """Say how much was checked."""
        phases = [content for content in self._contents.values() if isinstance(content, PhaseAudit)]
        metrics = sum(phase.metrics for phase in phases)
        return Checked(len(self._chains), self._read, self._rows, metrics, read_model_rows)

    def everything(self) -> Iterator[Violation]:
        """Check the whole log, in its order."""
        self.events = self._store.last_position()
        for stored in self._store.scan():
            yield from self._take(stored)
        yield from self._ends()

    def run(self, run: str) -> Iterator[Violation]:
        """Check the stream of a run, and all streams of phases and bars that it leads to.

        Raises
        ------
        NotFoundError
            There is no such stream.
        """
        self._run = run
        read: list[str] = []
        missing = [run]
        while missing:
            self.events += self._stored_head(missing[0]).version
            for stored in self._store.scan(missing[0]):
                yield from self._take(stored)
            read.append(missing[0])
            named = self._references.streams
            missing = [stream for stream in (*named, *map(self._next_turn, named)) if stream not in read]
        if run not in self._chains:
            raise NotFoundError(f"there is no run {run!r}; `admf runs` lists the runs.")
        yield from self._ends()

    def _take(self, stored: Recorded | Unreadable) -> Iterator[Violation]:
        stream = stored.stream
        if stream not in self._chains:
            self._chains[stream], self._contents[stream] = ChainAudit(stream), self._content(stream)
        yield from self._chains[stream].take(stored)
        self._read += 1
        self._progress(self._read, self.events)
        if isinstance(stored, Unreadable):
            return
        self._rows += stored.rows
        event, violations = decoded(stored)
        yield from violations
        self._references.note(stored, event)
        if event is not None:
            yield from self._contents[stream].take(stored, event)

    def _ends(self) -> Iterator[Violation]:
        for content in self._contents.values():
            yield from content.end()
        yield from self._references.violations()

    def _content(self, stream: str) -> ContentAudit:
        if _is_bars(stream):
            return BarsAudit(stream)
        if stream.startswith("phase-"):
            return NotesAudit()
        return PhaseAudit(stream, self._market) if _is_phase(stream) else WorkflowAudit()

    def _end_of(self, stream: str) -> tuple[Head, str]:
        """Tell where a stream ends, as far as it was read; in a run's audit, also where others end."""
        if stream in self._chains:
            return self._chains[stream].head, self._chains[stream].topic
        return self._stored_head(stream) if self._run else Head(stream), ""

    def _next_turn(self, stream: str) -> str:
        """Return the stream of a turn that has begun, and that nothing names yet; else the given stream."""
        if not _is_phase(stream):
            return stream
        phase, _, turn = stream.partition("#")
        following = f"{phase}#{int(turn or 1) + 1}"
        return following if self._stored_head(following).version else stream

    def _stored_head(self, stream: str) -> Head:
        try:
            return self._store.head(stream)
        except CorruptionError:
            return Head(stream)


def _is_bars(stream: str) -> bool:
    return stream.startswith("bars-")


def _is_phase(stream: str) -> bool:
    return "/" in stream
