"""Whatever is done to a store, in any order, it says what a dictionary of lists says."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from admf.coordinator.market.data_files import DataFiles
from admf.coordinator.running.fork import plan_fork
from admf.coordinator.running.progress import Silence
from admf.coordinator.running.sequencer import Sequencer
from admf.coordinator.simulation.executors import InProcess
from admf.coordinator.simulation.leftovers import MEMORY
from admf.coordinator.simulation.shards import Simulation
from admf.coordinator.streams.archive import import_archive, write_archive
from admf.coordinator.streams.event_filter import EventFilter
from admf.coordinator.streams.logical_events import logical_events, select_events
from admf.coordinator.workflows.loading import load_workflow
from admf.domain.errors import ConflictError, NotFoundError
from admf.domain.events import (
    BarsLoaded,
    Event,
    Feed,
    PhaseStarted,
    SignalsEmitted,
    WorkflowResumed,
    WorkflowStarted,
)
from admf.domain.topology import Containers
from admf.eventstore.codec import EncodedEvent
from admf.eventstore.record import Head, Recorded, verify
from admf.eventstore.store import EventStore, open_store
from admf.projections.read_models import ReadModels
from eventsourcing.persistence import IntegrityError, StoredEvent
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

BARS = "bars-0"
RUNS = ("workflow_20261121_101500_00000001", "workflow_20261121_101500_00000002")
PHASES = ("search", "confirm")
STREAMS = [RUNS[0], *(f"{run}/{phase}" for run in RUNS for phase in PHASES)]
FEED = Feed(symbol="SPY", timeframe="1d", stream=BARS, rows=9)
Signal = tuple[int, int, float]


class Row(NamedTuple):
    """Type of a logical event, the container that it names if any, and what it says if it is a signal."""

    type: str
    container: int | None = None
    signal: Signal | None = None


STARTS = ("2000-01-26", "2000-01-28")
"""Where the second phase of a workflow may begin."""

streams = st.sampled_from(STREAMS)
any_stream = st.runner().flatmap(lambda machine: st.sampled_from(["no stream", *sorted(machine.model)]))
appends = st.integers(1, 17)
"""After how many appends the process is killed."""
signals = st.tuples(st.integers(0, 3), st.integers(0, 8), st.sampled_from([-1.0, 0.0, 0.5, 1.0]))
batches = st.lists(st.lists(signals, min_size=1, max_size=5), min_size=1, max_size=3)


def beginning(stream: str) -> Event:
    run, _, phase = stream.partition("/")
    if not phase:
        return WorkflowStarted(
            name=run,
            configuration="{}",
            folder=".",
            phases=PHASES,
            feeds=dict.fromkeys(PHASES, (FEED,)),
            seed=1,
            package_version="0",
            python_version="3",
            host="here",
            process=1,
        )
    return PhaseStarted(
        phase=phase,
        type="backtest",
        configuration="{}",
        depends_on=(),
        feeds=(FEED,),
        strategies=("cross",),
        features=(),
        capital=1.0,
        metric_profile="admf",
        code={},
        planned=1,
    )


def emitted(batch: list[Signal]) -> SignalsEmitted:
    containers, bars, targets = zip(*batch, strict=True)
    return SignalsEmitted(
        container=np.array(containers, np.int32),
        strategy=np.zeros(len(batch), np.int16),
        symbol=np.zeros(len(batch), np.int16),
        bar=np.array(bars, np.int32),
        target=np.array(targets),
    )


class KilledError(BaseException):
    """Stands for the end of the process: nothing but this is raised, and nothing catches it."""


class CountingExecutor(InProcess):
    """Counts the shards that it simulates."""

    simulated = 0

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Iterator[list[EncodedEvent]]:
        for events in super().map(simulation, shards):
            self.simulated += 1
            yield events


class Append(NamedTuple):
    """Events that are appended together: their stream, the rows of each, and a phase's content hashes."""

    stream: str
    rows: list[list[Row]]
    contents: list[bytes]


class Run(NamedTuple):
    """A workflow that is run: what it has still to append, and the streams of the phases that it reuses."""

    start: str
    reused: dict[str, str]
    ahead: list[Append]


@cache
def data_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="admf-machine-"))
    atexit.register(shutil.rmtree, folder)
    closes = (100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.03, 40)))).tolist()
    days = np.datetime64("2000-01-03") + np.arange(40)
    rows = [f"{day},{c!r},{c * 1.01!r},{c * 0.99!r},{c!r},1" for day, c in zip(days, closes, strict=True)]
    (folder / "walk.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows, ""]))
    return folder / "walk.csv"


@cache
def data_files() -> DataFiles:
    """One for all examples, so that the file is read once."""
    return DataFiles(data_file().parent)


def workflow(start: str) -> dict[str, object]:
    """Three shards, then one."""
    return {
        "cache": False,  # the model foresees every append
        "log": "metrics",
        "data": {"file": str(data_file())},
        "workflow": [
            {
                "name": "search",
                "type": "optimization",
                "shard_size": 1,
                "data": {"end": "2000-01-25"},
                "strategies": [{"name": "cross", "type": "sma_crossover"}],
                "optimization": {"parameters": {"cross.fast": [2, 3, 4], "cross.slow": [5]}},
            },
            {
                "name": "confirm",
                "type": "validation",
                "inherit_best_from": "search",
                "data": {"start": start},
            },
        ],
    }


def run_from_the_start(runner: Sequencer, name: str, start: str) -> None:
    runner.run(load_workflow(workflow(start)), name, data_files())


def rows_of(recorded: Recorded) -> list[Row]:
    event = recorded.event
    containers = event.container.tolist() if hasattr(event, "container") else [None] * recorded.rows
    if not isinstance(event, SignalsEmitted):
        return [Row(recorded.topic, container) for container in containers]
    said = zip(containers, event.bar.tolist(), event.target.tolist(), strict=True)
    return [Row(recorded.topic, signal[0], signal) for signal in said]


@cache
def whole_run(start: str) -> tuple[Append, ...]:
    """What a run called "whole" appends if nothing stops it."""
    found: list[Append] = []
    with open_store("memory://") as store:
        append = store.append

        def noted(head: Head, events: list[Event], **ids: str) -> Head:
            end = append(head, events, **ids)
            recorded = list(store.read(head.stream, after=head.version))
            contents = [each.content_hash for each in recorded] if "/" in head.stream else []
            found.append(Append(head.stream, [rows_of(each) for each in recorded], contents))
            return end

        store.append = noted  # type: ignore[method-assign]
        run_from_the_start(Sequencer(store, InProcess(), Silence()), "whole", start)
    return tuple(found)


def appends_of(run: str, start: str) -> list[Append]:
    return [each._replace(stream=each.stream.replace("whole", run, 1)) for each in whole_run(start)]


class StoreAgainstDictionary(RuleBasedStateMachine):
    """The model: for each stream, its logical rows, batch by batch; for each run, what it has still to do."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="admf-machine-", dir=memory))
        self.life = self.reached = 0
        self.model: dict[str, list[list[Row]]] = {}
        self.contents: dict[str, list[bytes]] = {}
        self.ran: dict[str, Run] = {}
        self.stale: list[Head] = []
        self.in_file = True
        self._open()
        price = np.full(9, 100.0)
        bars = BarsLoaded(
            time=np.arange(9) * 86_400_000_000_000,
            open=price,
            high=price,
            low=price,
            close=price,
            volume=price,
        )
        self._append(BARS, [bars], [[Row("BarsLoaded")] * 9])

    def _open(self) -> None:
        self.store = open_store(self.folder / f"{self.life}.sqlite")
        self._open_models()

    def _open_models(self) -> None:
        """Make read models: in a file, where they stay, or in memory, where they are lost."""
        self.models = ReadModels(self.folder / "readmodels.duckdb" if self.in_file else None, self.store)
        self.reached *= self.in_file

    def _close(self) -> None:
        self.models.close()
        self.store.close()

    def _append(self, stream: str, events: list[Event], rows: list[list[Row]]) -> None:
        before = self.store.head(stream)
        head = self.store.append(before, events, correlation_id=stream.partition("/")[0], causation_id="")
        self.model.setdefault(stream, []).extend(rows)
        self.stale.append(before)
        assert head == self.store.head(stream)
        assert (head.version, head.rows) == (len(self.model[stream]), len(self._rows(stream)))

    def _rows(self, stream: str) -> list[Row]:
        return [row for batch in self.model.get(stream, []) for row in batch]

    @rule(stream=streams, batches=batches)
    def append(self, stream: str, batches: list[list[Signal]]) -> None:
        first = beginning(stream)
        events, rows = ([], []) if stream in self.model else ([first], [[Row(type(first).__name__)]])
        if "/" in stream:
            events += [emitted(batch) for batch in batches]
            rows += [[Row("SignalsEmitted", signal[0], signal) for signal in batch] for batch in batches]
        elif stream in self.model:
            events.append(WorkflowResumed(package_version="0", host="x", process=1, accepted_code=False))
            rows.append([Row("WorkflowResumed")])
        self._append(stream, events, rows)

    @rule(data=st.data(), stream=any_stream, batch=st.lists(signals, min_size=1, max_size=2))
    def append_after_a_place_that_is_not_the_end(
        self, data: st.DataObject, stream: str, batch: list[Signal]
    ) -> None:
        other = msgspec.structs.replace(self.store.head(stream), record_hash=b"other")
        earlier = data.draw(st.sampled_from(self.stale))
        for head in (earlier, other):
            with pytest.raises(ConflictError):
                self.store.append(head, [emitted(batch)], correlation_id="", causation_id="")

    @rule(stream=any_stream, version=st.integers(0, 99))
    def insert_a_version_that_is_not_the_next(self, stream: str, version: int) -> None:
        """The recorder refuses by itself what a writer with a wrong idea of the end would insert."""
        if version not in (0, len(self.model.get(stream, [])) + 1):
            with pytest.raises(IntegrityError):
                self.store._recorder.insert_events([StoredEvent(stream, version, "PhaseSkipped", b"")])

    @rule(stream=any_stream, data=st.data())
    def read(self, stream: str, data: st.DataObject) -> None:
        batches = self.model.get(stream, [])
        after = data.draw(st.integers(0, len(batches)))
        recorded = list(self.store.read(stream, after=after))
        assert [each.version for each in recorded] == list(range(after + 1, len(batches) + 1))
        assert [rows_of(each) for each in recorded] == batches[after:]

    @rule(stream=any_stream)
    def find(self, stream: str) -> None:
        rows = self._rows(stream)
        for number, row in enumerate(rows, start=1):
            found = self.store.event_at(stream, number)
            assert found.first <= number < found.first + found.rows
            assert found.topic == row.type
        for number in (0, len(rows) + 1):
            with pytest.raises(NotFoundError):
                self.store.event_at(stream, number)

    @rule(stream=any_stream, container=st.none() | st.integers(0, 4), limit=st.integers(1, 9))
    def expand(self, stream: str, container: int | None, limit: int) -> None:
        rows = self._rows(stream)
        if not rows:
            return
        events = list(logical_events(self.store, stream))
        assert [event.address for event in events] == [f"{stream}#{n}" for n in range(1, len(rows) + 1)]
        assert [event.type for event in events] == [row.type for row in rows]
        meant = [event for event, row in zip(events, rows, strict=True) if container in (None, row.container)]
        found = select_events(self.store, stream, EventFilter(container=container), limit=limit)
        assert (list(found.events), found.more) == (meant[:limit], max(0, len(meant) - limit))

    @initialize(target=runs, start=st.sampled_from(STARTS), fatal=appends, in_file=st.booleans())
    def run(self, start: str, fatal: int, in_file: bool) -> str:
        self.in_file = in_file
        self._open_models()
        name = "workflow_20261121_101501_00000000"
        self.ran[name] = Run(start, {}, appends_of(name, start))
        self._carry_on(name, fatal, lambda runner: run_from_the_start(runner, name, start))
        return name

    @rule(run=runs)
    def resume(self, run: str) -> None:
        self._resume(run, None)

    @rule(run=runs, fatal=appends)
    def resume_and_be_killed(self, run: str, fatal: int) -> None:
        self._resume(run, fatal)

    def _resume(self, run: str, fatal: int | None) -> None:
        if run not in self.model:
            with pytest.raises(NotFoundError):
                self._carry_on(run, None, lambda runner: runner.resume(run))
            return
        if self.ran[run].ahead:
            self.ran[run].ahead.insert(0, Append(run, [[Row("WorkflowResumed")]], []))
        self._carry_on(run, fatal, lambda runner: runner.resume(run))

    @rule(
        target=runs,
        source=runs,
        phase=st.sampled_from(PHASES),
        change=st.sampled_from(("", *STARTS)),
        fatal=st.none() | st.integers(1, 3) | appends,
    )
    def fork(self, source: str, phase: str, change: str, fatal: int | None) -> str:
        changes = [f"confirm.data.start={change}"] * bool(change)
        known = self.ran[source]
        before = PHASES[: PHASES.index(phase)]
        if source not in self.model or not set(before) <= self._done(source).keys():
            with pytest.raises(NotFoundError):
                plan_fork(self.store, source, phase, changes)
            return multiple()
        name = f"workflow_20261121_101501_{len(self.ran):08x}"
        start = change or known.start
        reused = {done: known.reused.get(done, f"{source}/{done}") for done in before}
        first = [[Row("WorkflowStarted")], *([Row("PhaseReused")] for _ in reused)]
        ahead = [Append(name, first, []), Append(source, [[Row("WorkflowForked")]], [])]
        _, _, *rest = appends_of(name, start)
        if reused:
            # All up to the first phase's completion is left out.
            completed = next(i for i, each in enumerate(rest) if each.stream == name)
            rest = rest[completed + 1 :]
        self.ran[name] = Run(start, reused, ahead + rest)
        plan = plan_fork(self.store, source, phase, changes)
        self._carry_on(name, fatal, lambda runner: runner.fork(plan, name))
        return name

    def _done(self, run: str) -> dict[str, tuple[str, str]]:
        """Status and stream of each phase that a run has completed or reuses."""
        reused = self.ran[run].reused
        completed = self._rows(run).count(Row("PhaseCompleted"))
        own = PHASES[len(reused) :][:completed]
        return {phase: ("reused", stream) for phase, stream in reused.items()} | {
            phase: ("completed", f"{run}/{phase}") for phase in own
        }

    def _carry_on(self, run: str, fatal: int | None, carry_on: Callable[[Sequencer], None]) -> None:
        """Let a sequencer append what is ahead of a run, and kill it after a number of appends."""
        executor, count, append = CountingExecutor(), 0, self.store.append

        def counted(head: Head, events: list[Event], **ids: str) -> Head:
            nonlocal count
            end = append(head, events, **ids)
            count += 1
            if count == fatal:
                raise KilledError
            return end

        self.store.append = counted  # type: ignore[method-assign]
        try:
            carry_on(Sequencer(self.store, executor, Silence()))
        except KilledError:
            self.crash_and_reopen()
        else:
            del self.store.append
        ahead = self.ran[run].ahead
        for each in ahead[:fatal]:
            self.model.setdefault(each.stream, []).extend(each.rows)
            self.contents.setdefault(each.stream, []).extend(each.contents)
        assert count == len(ahead[:fatal])
        kinds = [batch[0].type for each in ahead[:fatal] for batch in each.rows]
        assert executor.simulated == kinds.count("TrialsCompleted")
        del ahead[:fatal]

    @rule()
    def crash_and_reopen(self) -> None:
        """Go on with what is on the disk, write-ahead log included: nothing is brought to a clean end."""
        name = f"{self.life}.sqlite"
        self.life += 1
        for file in self.folder.glob(f"{name}*"):
            shutil.copyfile(file, self.folder / file.name.replace(name, f"{self.life}.sqlite"))
        self._close()
        self._open()

    @rule()
    def catch_up(self) -> None:
        assert self.models.catch_up() == self.store.last_position() - self.reached
        self.reached = self.store.last_position()

    @rule()
    def rebuild(self) -> None:
        assert self.models.rebuild() == self.store.last_position()
        self.reached = self.store.last_position()

    @rule()
    def lose_the_read_models(self) -> None:
        (self.folder / "readmodels.duckdb").unlink(missing_ok=True)
        self.reached = 0
        self.models.close()
        self._open_models()

    @rule()
    def ask(self) -> None:
        rows = self.models.query(
            "SELECT run || '/' || phase, n, container, bar, target FROM signals "
            "UNION ALL SELECT run, (status = 'completed')::INTEGER, NULL, NULL, NULL FROM runs"
        ).rows
        signals = [
            (stream, n, *row.signal)
            for stream in self.model
            for n, row in enumerate(self._rows(stream), start=1)
            if row.signal
        ]
        runs = [
            (run, int(Row("WorkflowCompleted") in self._rows(run)), None, None, None)
            for run in self.model
            if run.startswith("workflow_") and "/" not in run
        ]
        assert sorted(rows, key=repr) == sorted(signals + runs, key=repr)
        self.reached = self.store.last_position()

    @rule(run=st.sampled_from(RUNS))
    def carry_to_another_store(self, run: str) -> None:
        if run not in self.model:
            with pytest.raises(NotFoundError):
                write_archive(self.store, run, BytesIO())
            return
        archive = self.folder / "run.admf"
        with archive.open("wb") as file:
            manifest = write_archive(self.store, run, file)
        own = {BARS, run, *(f"{run}/{phase}" for phase in PHASES)} & self.model.keys()
        assert {head.stream for head in manifest.streams} == own
        with open_store("memory://") as other:
            import_archive(other, archive)
            for stream in own:
                assert list(other.read(stream)) == list(self.store.read(stream))

    @invariant()
    def the_log_is_whole(self) -> None:
        total = 0
        for stream, batches in self.model.items():
            head = self._verified(self.store, stream, self.contents.get(stream, []))
            assert (head.version, head.rows) == (len(batches), len(self._rows(stream)))
            total += len(batches)
        positions = [recorded.position for recorded in self.store.read_all()]
        assert positions == list(range(1, total + 1))

    def _verified(self, store: EventStore, stream: str, contents: list[bytes]) -> Head:
        head = Head(stream)
        found = []
        for recorded in store.read(stream):
            head = verify(head, recorded)
            found.append(recorded.content_hash)
        assert found[: len(contents)] == contents
        return head

    def teardown(self) -> None:
        """Carry on what was killed: in the end, all runs are as if they had not been."""
        try:
            if sys.exc_info()[0] is None:
                for run in self.ran:
                    self._resume(run, None)
                self.the_log_is_whole()
        finally:
            self._close()
            shutil.rmtree(self.folder)


settings.register_profile("machine", max_examples=25)
# Shrinking takes minutes, and an example that fails has eight steps; it is shrunk where it is run next.
settings.register_profile("machine in CI", max_examples=200, phases=[Phase.reuse, Phase.generate])

StoreAgainstDictionary.TestCase.settings = settings(
    settings.get_profile("machine in CI" if os.environ.get("CI") else "machine"),
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
test_a_store_says_what_a_dictionary_says = StoreAgainstDictionary.TestCase
