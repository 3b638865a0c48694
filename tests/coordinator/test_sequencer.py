import re

import msgspec
import pytest
from admf import Coordinator
from admf.coordinator.coordinator import new_run_id
from admf.coordinator.market.data_files import DataFiles
from admf.coordinator.running.bus import PhaseBus
from admf.coordinator.running.progress import Silence
from admf.coordinator.running.sequencer import Sequencer
from admf.coordinator.simulation.executors import InProcess
from admf.coordinator.streams.trace_query import TraceQuery
from admf.coordinator.workflows.loading import load_workflow
from admf.domain.codes import Stage
from admf.domain.errors import AdmfError, StrategyError
from admf.domain.events import PhaseOutputEvent, PhaseStarted
from admf.eventstore.codec import encode
from admf.eventstore.store import open_store

RUN_ID = re.compile(r"workflow_\d{8}_\d{6}_[0-9a-f]{8}")
FLAKY = """
import numpy as np

def flaky(close, size=1.0, limit=0.7):
    if size > limit:
        raise ValueError(f"size {size} is too much")
    return np.full(close.size, size)
"""


@pytest.fixture
def failing(folder, train_and_test):
    """A search whose third shard fails, after a phase that ends well."""
    (folder / "flaky.py").write_text(FLAKY)
    sizes = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    train_and_test["workflow"] = [
        {"name": "first", "type": "backtest", "strategies": [{"type": "rsi"}]},
        {
            "name": "second",
            "type": "optimization",
            "depends_on": ["first"],
            "shard_size": 2,
            "strategies": [{"type": "flaky.py:flaky"}],
            "optimization": {"parameters": {"flaky.size": sizes}, "objective": "exposure"},
        },
        {"name": "third", "type": "backtest", "inherit_best_from": "second"},
    ]
    return train_and_test


def topics(store, stream):
    return [recorded.topic for recorded in store.read(stream)]


class RewrittenStore:
    """A store in which one phase says that another trial was best."""

    def __init__(self, store, parameters):
        self._store = store
        self._parameters = parameters
        self.head = store.head
        self.length = store.length
        self.append = store.append

    def read(self, stream, after=0, topics=()):
        for recorded in self._store.read(stream, after, topics):
            event = recorded.event
            if isinstance(event, PhaseOutputEvent) and event.phase == "training":
                best = msgspec.structs.replace(event.output.best, parameters=self._parameters)
                output = msgspec.structs.replace(event.output, best=best)
                payload = encode(PhaseOutputEvent(phase="training", output=output)).payload
                recorded = msgspec.structs.replace(recorded, payload=payload)
            yield recorded


def test_a_phase_takes_over_what_the_stream_of_its_source_says(train_and_test, folder):
    workflow, run = load_workflow(train_and_test), new_run_id()
    with open_store("memory://") as store:
        rewritten = RewrittenStore(store, {"cross.fast": 4, "cross.slow": 99})
        Sequencer(rewritten, InProcess(), Silence()).run(workflow, run, DataFiles(workflow.folder))
        (started,) = store.read(f"{run}/out_of_sample", topics=[PhaseStarted.__name__])
        assert started.event.features == ("sma(period=4)", "sma(period=99)")
        honest = TraceQuery(store).get_phase_output(run, "training").best
        assert honest.parameters["cross.slow"] != 99


def test_every_phase_has_a_stream_and_a_correlation_id_of_its_own(coordinator, train_and_test):
    run = coordinator.execute_workflow(train_and_test).run
    assert RUN_ID.fullmatch(run)
    correlations = {}
    for recorded in coordinator.workspace.store.read_all():
        correlations.setdefault(recorded.stream, set()).add(recorded.correlation_id)
    (bars,) = [stream for stream in correlations if stream.startswith("bars-")]
    notes = [stream for stream in correlations if stream.startswith("phase-")]
    assert len(notes) == 2
    assert correlations == {
        stream: {stream} for stream in (run, f"{run}/training", f"{run}/out_of_sample", bars, *notes)
    }


def test_causes_lead_from_the_end_of_a_phase_to_the_start_of_the_workflow(coordinator, train_and_test):
    run = coordinator.execute_workflow(train_and_test).run
    store = coordinator.workspace.store
    events = [recorded for recorded in store.read_all() if recorded.stream.startswith(run)]

    def at(address):
        stream, _, row = address.rpartition("#")
        (found,) = [
            recorded
            for recorded in events
            if recorded.stream == stream and recorded.first <= int(row) < recorded.first + recorded.rows
        ]
        return found

    step = [recorded for recorded in events if recorded.topic == "PhaseCompleted"][-1]
    chain = []
    while step.causation_id:
        step = at(step.causation_id)
        chain.append(f"{step.stream.removeprefix(run)} {step.topic}")
    assert chain == [
        "/out_of_sample PhaseOutputEvent",
        "/out_of_sample PhaseStarted",
        "/training PhaseOutputEvent",
        "/training PhaseStarted",
        " WorkflowStarted",
    ]
    assert all(recorded.causation_id for recorded in events if recorded.topic != "WorkflowStarted")


def test_the_workflow_stream_tells_the_course_of_a_run(coordinator, train_and_test, verified):
    result = coordinator.execute_workflow(train_and_test)
    store = coordinator.workspace.store
    expected = ["WorkflowStarted", "PhaseCompleted", "PhaseCompleted", "WorkflowCompleted"]
    assert topics(store, result.run) == expected
    for name, phase in result.phases.items():
        head = verified(store, f"{result.run}/{name}")
        assert (phase.head_hash, phase.rows, phase.events) == (
            head.content_hash.hex(),
            head.rows,
            head.version,
        )


def test_a_run_waits_for_the_disk_once_for_its_start_that_of_a_phase_each_shard_each_output_and_its_end(
    coordinator, train_and_test
):
    store, groups = coordinator.workspace.store, []
    insert = store._recorder.insert_events

    def noted(events):
        groups.append([event.topic for event in events])
        return insert(events)

    store._recorder.insert_events = noted
    coordinator.execute_workflow({**train_and_test, "cache": False})
    ends = [(group[0], group[-1]) for group in groups]
    start, shard = ("PhaseStarted", "PhaseStageEntered"), ("SignalsEmitted", "TrialsCompleted")
    first, output = ("PhaseStageEntered", "TrialsCompleted"), ("PhaseStageEntered", "PhaseOutputEvent")
    assert [each for each in ends if each != shard] == [
        ("BarsLoaded", "BarsLoaded"),
        ("WorkflowStarted", "WorkflowStarted"),
        *(start, first, output, ("PhaseCompleted", "PhaseCompleted")),
        *(start, first, output, ("PhaseCompleted", "WorkflowCompleted")),
    ]


def test_a_stage_is_recorded_when_it_is_entered_and_stored_also_where_nothing_follows(coordinator, failing):
    first = failing["workflow"][1]
    first["optimization"] = {"parameters": {"flaky.size": [0.9]}}
    row = failed_run(coordinator, failing, StrategyError)
    *_, prepared, computing = coordinator.workspace.store.read(f"{row['run']}/second")
    assert (prepared.event.stage, computing.event.stage) == (Stage.DATA_PREPARATION, Stage.COMPUTATION)
    assert computing.recorded_at > prepared.recorded_at


def failed_run(coordinator, workflow, error):
    with pytest.raises(error) as caught:
        coordinator.execute_workflow(workflow)
    (row,) = coordinator.workspace.read_models.query("SELECT run, status, error FROM runs").records()
    assert row["run"] in caught.value.__notes__[0]
    return row


def test_a_phase_that_fails_ends_the_run_and_keeps_what_was_logged(coordinator, failing, verified):
    row = failed_run(coordinator, failing, StrategyError)
    store, run = coordinator.workspace.store, row["run"]
    assert row["status"] == "failed"
    assert "size 0.9 is too much" in row["error"]
    assert topics(store, run) == ["WorkflowStarted", "PhaseCompleted", "PhaseFailed", "WorkflowFailed"]
    assert topics(store, f"{run}/second").count("TrialsCompleted") == 2
    assert "PhaseOutputEvent" not in topics(store, f"{run}/second")
    assert store.head(f"{run}/third").version == 0
    for stream in (run, f"{run}/first", f"{run}/second"):
        assert verified(store, stream) == store.head(stream)
    result = coordinator.result(run)
    assert {name: phase.status for name, phase in result.phases.items()} == {
        "first": "completed",
        "second": "failed",
    }
    assert len(result.phase("second").trials()) == 4
    assert result.metrics == result.phase("first").output.metrics
    assert "second (optimization, failed" in result.summary()


class Interrupted(Silence):
    """Presses Ctrl-C when the second shard of a phase is durable."""

    def __init__(self, phase):
        self._phase = phase
        self._current = ""
        self._shards = 0

    def phase_started(self, phase, _number, _phases):
        self._current = phase

    def trials_completed(self, _count):
        self._shards += self._current == self._phase
        if self._shards == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_is_canceled_and_keeps_what_was_logged(train_and_test, workers, verified):
    with Coordinator("memory://", workers=workers, progress=Interrupted("training")) as coordinator:
        row = failed_run(coordinator, train_and_test, KeyboardInterrupt)
        store, run = coordinator.workspace.store, row["run"]
        assert row["status"] == "canceled"
        assert topics(store, run) == ["WorkflowStarted", "WorkflowCanceled"]
        assert topics(store, f"{run}/training").count("TrialsCompleted") == 2
        assert verified(store, f"{run}/training") == store.head(f"{run}/training")


class Broken(Silence):
    """A defect of whoever follows the run."""

    def trials_completed(self, _count):
        raise RuntimeError("a defect")


def test_a_defect_fails_the_run_in_the_log_too(train_and_test):
    with Coordinator("memory://", progress=Broken()) as coordinator:
        row = failed_run(coordinator, train_and_test, RuntimeError)
        assert (row["status"], row["error"]) == ("failed", "phase training: a defect")


def test_phases_run_after_those_that_they_depend_on(coordinator, train_and_test):
    training, testing = train_and_test["workflow"]
    last = {"name": "last", "type": "backtest", "depends_on": ["free"], "strategies": [{"type": "rsi"}]}
    free = {"name": "free", "type": "backtest", "strategies": [{"type": "rsi"}]}
    train_and_test["workflow"] = [last, testing, free, training]
    result = coordinator.execute_workflow(train_and_test)
    assert list(result.phases) == ["free", "last", "training", "out_of_sample"]


def test_a_later_phase_states_only_what_differs(coordinator, train_and_test):
    train_and_test["workflow"][0] |= {
        "capital": 5_000,
        "log": "fills",
        "metrics": {"bars_per_year": 365},
        "risk": {"position_sizers": [{"type": "percentage", "percentage": 40}]},
    }
    train_and_test["workflow"][1]["execution"] = {"commission": {"fixed": 2}}
    run = coordinator.execute_workflow(train_and_test).run
    trace = TraceQuery(coordinator.workspace.store)
    first, second = (
        msgspec.json.decode(trace.get_phase_configuration(run, name))
        for name in ("training", "out_of_sample")
    )
    same = ("capital", "log", "metrics", "risk", "shard_size")
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert second["execution"] == {
        **first["execution"],
        "commission": first["execution"]["commission"] | {"fixed": 2.0},
    }
    assert (first["data"].get("start"), first["data"]["end"]) == (None, "2000-07-31")
    assert (second["data"]["start"], second["data"].get("end")) == ("2000-08-01", None)
    best = trace.get_phase_output(run, "training").best.parameters
    (strategy,) = second["strategies"]
    assert {f"cross.{name}": value for name, value in strategy["parameters"].items()} == best
    assert "optimization" not in second


def test_a_size_that_was_searched_is_inherited(coordinator, train_and_test):
    train_and_test["workflow"][0] |= {
        "risk": {"position_sizers": [{"name": "part", "type": "percentage", "percentage": 40}]},
        "optimization": {"parameters": {"part.percentage": [20, 70]}, "objective": "exposure"},
    }
    run = coordinator.execute_workflow(train_and_test).run
    trace = TraceQuery(coordinator.workspace.store)
    (sizer,) = msgspec.json.decode(trace.get_phase_configuration(run, "out_of_sample"))["risk"][
        "position_sizers"
    ]
    assert sizer["percentage"] == trace.get_phase_output(run, "training").best.parameters["part.percentage"]


def test_the_bus_of_a_phase_is_closed_also_when_the_phase_fails():
    received = []

    class Subscriber:
        def receive(self, events):
            received.append(events)

    def failing_phase(bus):
        with bus:
            bus.publish([])
            raise ZeroDivisionError

    bus = PhaseBus(Subscriber())
    with pytest.raises(ZeroDivisionError):
        failing_phase(bus)
    with pytest.raises(AdmfError, match="its bus is closed"):
        bus.publish([])
    assert received == [[]]
