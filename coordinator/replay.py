"""Executing a run again from the log alone, and comparing it event by event with what was recorded."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from ..domain.errors import NotFoundError
from ..domain.events import Event, PhaseStarted, TrialsCompleted
from ..eventstore.codec import EncodedEvent, decode
from ..eventstore.record import Head, Recorded, record
from ..eventstore.store import EventStore
from .configuration import PhaseSection
from .executors import Executor
from .market_log import MarketLog
from .phase_execution import PhaseExecution
from .progress import Progress
from .run_history import run_history
from .trace_query import phase_stream


class Difference(msgspec.Struct, frozen=True):
    """The first thing in which an execution differs from what was recorded.

    Attributes
    ----------
    address
        The logical event, ``stream#n``.
    type
        Its type.
    field
        The column or field in which it differs.
    recorded, replayed
        Both values, as text.
    """

    address: str
    type: str
    field: str
    recorded: str
    replayed: str


class PhaseReplay(msgspec.Struct, frozen=True):
    """What came of replaying one phase: the number of events that were the same, and the first difference."""

    phase: str
    events: int
    rows: int
    difference: Difference | None


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
            recorded = self._next
            if recorded is None:
                raise _FinishedError
            again = record(self.head, event, correlation_id="", causation_id="", recorded_at=0)
            if again.content_hash != recorded.content_hash:
                self.difference = first_difference(recorded, event)
                raise _FinishedError
            self.head = recorded.head
            self._next = next(self._recorded, None)


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

    A phase that was interrupted is compared as far as it came.

    Parameters
    ----------
    store, run
        The run.
    executor, progress
        Where shards are simulated, and who follows.
    phase
        The only phase to replay; all of them where it is empty.
    accept_code
        Whether to replay with code that has changed since.

    Raises
    ------
    NotFoundError
        There is no such run or phase.
    ChangedError
        The code has changed, and that is not accepted.
    """
    started = run_history(store, run).started
    if phase and phase not in started.phases:
        raise NotFoundError(
            f"the run {run} has no phase {phase!r}; its phases are {', '.join(started.phases)}."
        )
    chosen = [phase] if phase else list(started.phases)
    market = MarketLog(store)
    execution = PhaseExecution(market, executor, progress, Path(started.folder), accept_code)
    replays = []
    for number, name in enumerate(chosen, start=1):
        comparison = Comparison(store, phase_stream(run, name))
        recorded = comparison.recorded_start()
        if recorded is None:
            continue
        progress.phase_started(name, number, len(chosen))
        section = PhaseSection.model_validate_json(recorded.configuration)
        with suppress(_FinishedError):
            execution.run(section, recorded.feeds[0], comparison)
        progress.phase_completed(name)
        head = comparison.head
        replays.append(PhaseReplay(name, head.version, head.rows, comparison.difference))
    return tuple(replays)


def first_difference(recorded: Recorded, replayed: EncodedEvent) -> Difference:
    """Find the first row and column, or the first field, in which two events differ."""
    if recorded.topic != replayed.topic:
        return Difference(recorded.address, recorded.topic, "type", recorded.topic, replayed.topic)
    before = recorded.event
    now = decode(replayed.topic, replayed.schema_version, replayed.payload)
    row, field, values = min(_differences(before, now), default=(0, "rows", ("", "")))
    if field == "rows":
        values = (str(recorded.rows), str(replayed.rows))
    return Difference(f"{recorded.stream}#{recorded.first + row}", recorded.topic, field, *values)


def _differences(before: Event, now: Event) -> Iterator[tuple[int, str, tuple[str, str]]]:
    """Yield the first differing row of each column, or every differing field."""
    old, new = _fields(before), _fields(now)
    for name in {**old, **new}:
        was, is_ = old.get(name), new.get(name)
        if not isinstance(was, np.ndarray) or not isinstance(is_, np.ndarray):
            if was != is_:
                yield 0, name, (str(was), str(is_))
            continue
        size = min(was.size, is_.size)
        unequal = was[:size] != is_[:size]
        if was.dtype.kind == "f":
            unequal &= ~(np.isnan(was[:size]) & np.isnan(is_[:size]))
        if unequal.any():
            row = int(np.argmax(unequal))
            yield row, name, (repr(was[row].item()), repr(is_[row].item()))
        elif was.size != is_.size:
            shown = (f"{was.size} rows", f"{is_.size} rows")
            yield size, name, shown


def _fields(event: Event) -> dict[str, object]:
    """Fields of an event by name; those inside dictionaries and structs by their path."""
    flat: dict[str, object] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        elif isinstance(value, msgspec.Struct):
            flat |= {f"{name}.{key}": item for key, item in _paths(msgspec.to_builtins(value))}
        else:
            flat[name] = value
    return flat


def _paths(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, f"{path}[{index}]")
    else:
        yield path, value
