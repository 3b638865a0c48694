"""Whatever is done to a store, in any order, it says what a dictionary of lists says."""

import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from admf.coordinator.archive import import_archive, write_archive
from admf.coordinator.event_filter import EventFilter
from admf.coordinator.logical_events import logical_events, select_events
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
from admf.eventstore.record import Head, verify
from admf.eventstore.store import EventStore, open_store
from admf.projections.read_models import ReadModels
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

BARS = "bars-0"
RUNS = ("workflow_20261121_101500_00000001", "workflow_20261121_101500_00000002")
PHASES = ("search", "confirm")
STREAMS = [RUNS[0], *(f"{run}/{phase}" for run in RUNS for phase in PHASES)]
FEED = Feed(symbol="SPY", timeframe="1d", stream=BARS, rows=9)
Signal = tuple[int, int, float]
Row = tuple[str, Signal | None]
"""Type of a logical event, and what it says if it is a signal: container, bar and target."""

streams = st.sampled_from(STREAMS)
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
            feeds=dict.fromkeys(PHASES, FEED),
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


class StoreAgainstDictionary(RuleBasedStateMachine):
    """The model: for each stream, its logical rows, batch by batch."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="admf-machine-"))
        self.life = self.reached = 0
        self.model: dict[str, list[list[Row]]] = {}
        self.stale: list[Head] = []
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
        self._append(BARS, [bars], [[("BarsLoaded", None)] * 9])

    def _open(self) -> None:
        self.store = open_store(self.folder / f"{self.life}.sqlite")
        self.models = ReadModels(self.folder / "readmodels.duckdb", self.store)

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
        events, rows = ([], []) if stream in self.model else ([first], [[(type(first).__name__, None)]])
        if "/" in stream:
            events += [emitted(batch) for batch in batches]
            rows += [[("SignalsEmitted", signal) for signal in batch] for batch in batches]
        elif stream in self.model:
            events.append(WorkflowResumed(package_version="0", host="x", process=1, accepted_code=False))
            rows.append([("WorkflowResumed", None)])
        self._append(stream, events, rows)

    @rule(data=st.data(), batch=st.lists(signals, min_size=1, max_size=2))
    def append_after_a_place_that_is_not_the_end(self, data: st.DataObject, batch: list[Signal]) -> None:
        head = data.draw(st.sampled_from(self.stale))
        with pytest.raises(ConflictError):
            self.store.append(head, [emitted(batch)], correlation_id="", causation_id="")

    @rule(stream=streams, data=st.data())
    def read(self, stream: str, data: st.DataObject) -> None:
        batches = self.model.get(stream, [])
        after = data.draw(st.integers(0, len(batches)))
        recorded = list(self.store.read(stream, after=after))
        assert [(each.version, each.topic, each.rows) for each in recorded] == [
            (version, batch[0][0], len(batch)) for version, batch in enumerate(batches, start=1)
        ][after:]
        for each in recorded:
            if isinstance(event := each.event, SignalsEmitted):
                said = zip(event.container.tolist(), event.bar.tolist(), event.target.tolist(), strict=True)
                assert list(said) == [signal for _, signal in batches[each.version - 1]]

    @rule(stream=streams)
    def find(self, stream: str) -> None:
        rows = self._rows(stream)
        for number, (kind, _) in enumerate(rows, start=1):
            found = self.store.event_at(stream, number)
            assert found.first <= number < found.first + found.rows
            assert found.topic == kind
        for number in (0, len(rows) + 1):
            with pytest.raises(NotFoundError):
                self.store.event_at(stream, number)

    @rule(stream=streams, container=st.none() | st.integers(0, 4), limit=st.integers(1, 9))
    def expand(self, stream: str, container: int | None, limit: int) -> None:
        rows = self._rows(stream)
        if not rows:
            return
        events = list(logical_events(self.store, stream))
        assert [event.address for event in events] == [f"{stream}#{n}" for n in range(1, len(rows) + 1)]
        assert [event.type for event in events] == [kind for kind, _ in rows]
        meant = [
            event
            for event, (_, signal) in zip(events, rows, strict=True)
            if container is None or (signal is not None and signal[0] == container)
        ]
        found = select_events(self.store, stream, EventFilter(container=container), limit=limit)
        assert (list(found.events), found.more) == (meant[:limit], max(0, len(meant) - limit))

    @rule()
    def crash_and_reopen(self) -> None:
        """Go on with what is on the disk, write-ahead log included: nothing is brought to a clean end."""
        name = f"{self.life}.sqlite"
        self.life += 1
        for file in self.folder.glob(f"{name}*"):
            shutil.copyfile(file, self.folder / file.name.replace(name, f"{self.life}.sqlite"))
        self.store.close()
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

    @rule()
    def ask(self) -> None:
        rows = self.models.query(
            "SELECT run || '/' || phase, n, container, bar, target FROM signals ORDER BY ALL"
        ).rows
        expected = sorted(
            (stream, n, *signal)
            for stream in self.model
            for n, (_, signal) in enumerate(self._rows(stream), start=1)
            if signal is not None
        )
        assert list(rows) == expected
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
            head = self._verified(self.store, stream)
            assert (head.version, head.rows) == (len(batches), len(self._rows(stream)))
            total += len(batches)
        positions = [recorded.position for recorded in self.store.read_all()]
        assert positions == list(range(1, total + 1))

    def _verified(self, store: EventStore, stream: str) -> Head:
        head = Head(stream)
        for recorded in store.read(stream):
            head = verify(head, recorded)
        return head

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.ask()
            for stream in self.model:
                self.find(stream)
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


settings.register_profile("machine", max_examples=25)
settings.register_profile("machine in CI", max_examples=200)

StoreAgainstDictionary.TestCase.settings = settings(
    settings.get_profile("machine in CI" if os.environ.get("CI") else "machine"),
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
test_a_store_says_what_a_dictionary_says = StoreAgainstDictionary.TestCase
