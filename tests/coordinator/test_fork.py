"""A fork reuses the first phases of a run by reference, and executes the rest."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.result import WorkflowResult
from admf.coordinator.running.fork import record_fork
from admf.coordinator.streams.run_history import run_history
from admf.coordinator.streams.stream_writer import Journal, StreamWriter
from admf.coordinator.streams.trace_query import TraceQuery
from admf.coordinator.streams.workspace import Workspace
from admf.domain.errors import ConfigurationError, NotFoundError
from admf.domain.events import PhaseReused, PhaseStarted, WorkflowForked, WorkflowStarted
from admf.eventstore.record import Head
from admf.eventstore.store import EventStore, open_store

LATER = "out_of_sample.data.start=2000-09-01"
Heads = Callable[[WorkflowResult], dict[str, str]]
RowsByRun = Callable[[Workspace], dict[str, dict[str, list[tuple[object, ...]]]]]


@pytest.fixture
def source(coordinator: Coordinator, train_and_test: dict[str, object]) -> WorkflowResult:
    return coordinator.execute_workflow(train_and_test)


@pytest.fixture
def store(coordinator: Coordinator) -> EventStore:
    return coordinator.workspace.store


def forks(store: EventStore, run: str) -> list[WorkflowForked]:
    events = (recorded.event for recorded in store.read(run))
    return [event for event in events if isinstance(event, WorkflowForked)]


def streams(store: EventStore, run: str) -> set[str]:
    """Names of a run's streams."""
    names = {recorded.stream for recorded in store.read_all()}
    return {name for name in names if name.partition("/")[0] == run}


def test_a_fork_without_changes_ends_as_the_run_did(
    coordinator: Coordinator, source: WorkflowResult, heads: Heads
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample")
    assert fork.status == "completed"
    assert heads(fork) == heads(source)
    assert fork.metrics == source.metrics


def test_reused_phases_are_references_and_are_not_executed(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    assert streams(store, fork.run) == {fork.run, f"{fork.run}/out_of_sample"}
    recorded = source.phase("training")
    (reused,) = [event for r in store.read(fork.run) if isinstance(event := r.event, PhaseReused)]
    assert reused == PhaseReused(
        phase="training",
        stream=f"{source.run}/training",
        events=recorded.events,
        rows=recorded.rows,
        head_hash=recorded.head_hash,
    )


def test_the_lineage_is_recorded_in_both_runs(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample")
    started = next(store.read(fork.run)).event
    assert isinstance(started, WorkflowStarted)
    assert started.forked_from == f"{source.run}/out_of_sample#1"
    *_, last = store.read(source.run)
    assert last.event == WorkflowForked(run=fork.run, phase="out_of_sample")
    assert last.causation_id == f"{fork.run}#1"
    assert run_history(store, source.run).status == "completed"
    assert coordinator.result(source.run).status == "completed"


def test_changes_reach_the_phases_that_are_executed(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult, heads: Heads
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample", [LATER, "out_of_sample.capital=5000"])
    configuration = TraceQuery(store).get_phase_configuration(fork.run, "out_of_sample")
    assert '"start":"2000-09-01"' in configuration
    assert '"capital":5000.0' in configuration
    assert heads(fork)["training"] == heads(source)["training"]
    assert heads(fork)["out_of_sample"] != heads(source)["out_of_sample"]


def test_inherited_parameters_come_from_the_stream_of_the_reused_phase(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    best = source.phase("training").output.best
    assert best is not None
    (recorded,) = store.read(f"{fork.run}/out_of_sample", topics=(PhaseStarted.__name__,))
    started = recorded.event
    assert isinstance(started, PhaseStarted)
    assert set(started.features) == {f"sma(period={period})" for period in best.parameters.values()}
    assert recorded.causation_id == TraceQuery(store).output_address(source.run, "training")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("training.data.end=2000-06-30", "training.data.end was 2000-07-31 .*, and would be 2000-06-30"),
        ("execution.slippage.bps=5", r"training.execution.slippage.bps was 2.0 .* would be 5.0"),
        ("training.shard_size=3", "training.shard_size was 2 .* would be 3"),
        (
            "training.optimization.parameters.cross.fast=[3]",
            r"training.optimization.parameters.cross.fast was \[3, 5, 8\] .* would be \[3\]",
        ),
    ],
)
def test_a_change_that_a_reused_phase_had_read_is_refused_by_name(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult, change: str, named: str
) -> None:
    before = store.last_position()
    with pytest.raises(ConfigurationError, match=named + r".*, or fork from 'training'\.$"):
        coordinator.fork_workflow(source.run, "out_of_sample", [change])
    assert store.last_position() == before


def test_a_change_that_fits_no_phase_is_refused_before_anything_is_written(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    before = store.last_position()
    with pytest.raises(ConfigurationError, match="captial"):
        coordinator.fork_workflow(source.run, "out_of_sample", ["out_of_sample.captial=1"])
    assert store.last_position() == before


def test_a_fork_from_the_first_phase_reuses_nothing_and_may_change_everything(
    coordinator: Coordinator, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "training", ["execution.slippage.bps=5"])
    assert [phase.status for phase in fork.phases.values()] == ["completed", "completed"]


def test_a_fork_of_a_fork_refers_to_the_run_that_executed_the_phase(
    coordinator: Coordinator, source: WorkflowResult, heads: Heads
) -> None:
    first = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    second = coordinator.fork_workflow(first.run, "out_of_sample", ["out_of_sample.data.start=2000-08-01"])
    assert second.phase("training").stream == f"{source.run}/training"
    assert heads(second) == heads(source)
    third = coordinator.fork_workflow(second.run, "out_of_sample", [LATER])
    assert heads(third) == heads(first)


def test_an_unknown_phase_and_one_that_comes_after_an_unfinished_one_are_not_found(
    coordinator: Coordinator, source: WorkflowResult, train_and_test: dict[str, object], folder: Path
) -> None:
    with pytest.raises(NotFoundError, match="no phase 'testing'; its phases are training, out_of_sample"):
        coordinator.fork_workflow(source.run, "testing")
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        coordinator.fork_workflow("x", "training")
    coordinator.workspace.store.append(
        Head("begun"),
        [next(coordinator.workspace.store.read(source.run)).event],
        correlation_id="begun",
        causation_id="",
    )
    with pytest.raises(NotFoundError, match="the run begun has not completed 'training'"):
        coordinator.fork_workflow("begun", "out_of_sample")


def test_a_fork_needs_no_data_file_unless_it_names_another_one(
    coordinator: Coordinator,
    source: WorkflowResult,
    folder: Path,
    heads: Heads,
    write_walk: Callable[..., Path],
) -> None:
    (folder / "walk.csv").unlink()
    assert heads(coordinator.fork_workflow(source.run, "out_of_sample")) == heads(source)
    write_walk(folder / "other.csv", seed=2)
    fork = coordinator.fork_workflow(source.run, "out_of_sample", ["out_of_sample.data.file=other.csv"])
    assert heads(fork)["out_of_sample"] != heads(source)["out_of_sample"]


def test_results_of_a_reused_phase_are_those_of_the_run_that_executed_it(
    coordinator: Coordinator, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    mine, original = fork.phase("training"), source.phase("training")
    assert (mine.status, mine.stream, mine.executed_by) == ("reused", original.stream, source.run)
    assert mine.output == original.output
    for table in ("trials", "signals", "orders", "fills", "trades", "equity"):
        assert getattr(mine, table)().equals(getattr(original, table)())
        assert len(getattr(mine, table)())
    assert mine.extracted_results == original.extracted_results
    assert "training (optimization, reused" in fork.summary()


def test_rows_of_reused_phases_are_not_repeated_in_the_read_models(
    coordinator: Coordinator, source: WorkflowResult
) -> None:
    ask = coordinator.workspace.read_models.query
    before = ask("SELECT count(*) FROM fills WHERE phase = 'training'").rows
    fork = coordinator.fork_workflow(source.run, "out_of_sample")
    assert ask("SELECT count(*) FROM fills WHERE phase = 'training'").rows == before
    phases = ask("SELECT phase, status, stream FROM phases WHERE run = ? ORDER BY stream", (fork.run,)).rows
    assert set(phases) == {
        ("training", "reused", f"{source.run}/training"),
        ("out_of_sample", "completed", f"{fork.run}/out_of_sample"),
    }
    documented = (
        "SELECT count(*) FROM fills t JOIN phases p ON p.stream = t.run || '/' || t.phase WHERE p.run = ?"
    )
    assert ask(documented, (fork.run,)).rows == ask(documented, (source.run,)).rows


def test_a_fork_that_is_killed_at_any_append_resumes_and_ends_as_one_that_was_not(
    shared_url: str,
    folder: Path,
    train_and_test: dict[str, object],
    killed: Callable[..., int | None],
    heads: Heads,
    rows_by_run: RowsByRun,
) -> None:
    """Killed after each append in turn and once more within the next one; forking again does as well."""
    fork = ("fork_workflow", "source", "out_of_sample", [LATER])
    killed(shared_url, "execute_workflow", train_and_test, at=0, run="source")
    appends = killed(shared_url, *fork, at=0, run="expected")
    assert appends is not None
    assert appends > 5
    assert killed(shared_url, *fork, at=1, moment="within", run="never begun") is None
    resumed = [f"resumed {fatal}" for fatal in range(1, appends + 1)]
    repeated = [f"repeated {fatal}" for fatal in range(1, appends + 1)]
    for fatal, (run, other) in enumerate(zip(resumed, repeated, strict=True), start=1):
        assert killed(shared_url, *fork, at=fatal, run=run) is None
        again = killed(shared_url, "resume_workflow", run, at=2, moment="within")
        assert again == (0 if fatal == appends else None)
        assert killed(shared_url, *fork, at=0, run=other) == appends
        with Coordinator(shared_url) as coordinator:
            result = coordinator.resume_workflow(run)
            assert result.status == "completed"
            assert heads(result) == heads(coordinator.result("expected")), f"killed at append {fatal}"
            assert streams(coordinator.workspace.store, run) == {run, f"{run}/out_of_sample"}
    with Coordinator(shared_url) as coordinator:
        known = [event.run for event in forks(coordinator.workspace.store, "source")]
        assert sorted(known) == sorted(["expected", *resumed, *repeated])
        rows = rows_by_run(coordinator.workspace)
        assert rows.keys() == {"source", *known}
        assert [run for run in known if rows[run] != rows["expected"]] == []
        assert verify_workspace(coordinator.workspace).violations == ()


def test_a_run_that_is_under_way_can_be_forked_and_goes_on(
    coordinator: Coordinator, train_and_test: dict[str, object], heads: Heads, source: WorkflowResult
) -> None:
    forked: list[WorkflowResult] = []
    executor = coordinator._executor
    in_order = executor.map

    def interrupted(simulation, shards):  # type: ignore[no-untyped-def]
        for events in in_order(simulation, shards):
            if simulation.section.name == "out_of_sample" and not forked:
                forked.append(source)
                run = coordinator.workspace.read_models.query(
                    "SELECT run FROM runs WHERE status = 'running'"
                ).rows[0][0]
                forked[0] = coordinator.fork_workflow(str(run), "out_of_sample")
            yield events

    executor.map = interrupted  # type: ignore[method-assign]
    result = coordinator.execute_workflow(train_and_test, cache=False)
    assert result.status == "completed"
    assert heads(result) == heads(forked[0]) == heads(source)
    assert forks(coordinator.workspace.store, result.run) == [
        WorkflowForked(run=forked[0].run, phase="out_of_sample")
    ]


def test_whoever_writes_to_a_run_at_the_same_moment_tries_again(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    journal = Journal(store, store.head(source.run))
    forked = WorkflowForked(run="a", phase="training")
    StreamWriter(store, store.head(source.run)).append([forked])
    end = journal.append([WorkflowForked(run="b", phase="training")])
    assert [event.run for event in forks(store, source.run)] == ["a", "b"]
    assert end == store.head(source.run)


class LaggingStore:
    """A store in which another run forks the same one whenever its head is asked for, twice."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.read = store.read
        self.append = store.append
        self.rivals = ["x", "y"]

    def head(self, stream: str) -> Head:
        found = self._store.head(stream)
        if self.rivals:
            event = WorkflowForked(run=self.rivals.pop(), phase="training")
            self._store.append(found, [event], correlation_id="", causation_id="")
        return found


def test_recording_a_fork_tries_again_when_the_run_goes_on_meanwhile() -> None:
    with open_store("memory://") as store:
        record_fork(LaggingStore(store), "run/training#1", "fork")  # type: ignore[arg-type]
        assert [event.run for event in forks(store, "run")] == ["y", "x", "fork"]
        record_fork(store, "run/training#1", "fork")
        assert len(forks(store, "run")) == 3


def test_a_replay_of_a_fork_executes_its_own_phases_and_names_the_reused_ones(
    coordinator: Coordinator, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    reused, own = coordinator.replay_workflow(fork.run)
    assert (reused.phase, reused.outcome, reused.stream) == ("training", "reused", f"{source.run}/training")
    assert (own.phase, own.outcome, own.head_hash) == (
        "out_of_sample",
        "identical",
        fork.phase("out_of_sample").head_hash,
    )


def test_a_fork_verifies_and_what_it_refers_to_is_checked(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    first = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    second = coordinator.fork_workflow(first.run, "out_of_sample")
    for run in ("", source.run, first.run, second.run):
        assert verify_workspace(coordinator.workspace, run).violations == ()
    started, reused, *_ = (recorded.event for recorded in store.read(first.run))
    assert isinstance(reused, PhaseReused)
    forged = msgspec.structs.replace(reused, head_hash="00" * 32)
    store.append(Head("forged"), [started, forged], correlation_id="forged", causation_id="")
    (found,) = verify_workspace(coordinator.workspace, "forged").violations
    assert found.address == "forged#2"
    assert "training" in found.message


def test_a_fork_may_live_in_another_store_but_not_lose_the_event_that_it_is_named_by(
    coordinator: Coordinator, store: EventStore, source: WorkflowResult
) -> None:
    fork = coordinator.fork_workflow(source.run, "out_of_sample", [LATER])
    noted = WorkflowForked(run=fork.run, phase="out_of_sample")
    store.append(
        store.head(source.run), [noted], correlation_id=source.run, causation_id="workflow_elsewhere#1"
    )
    assert verify_workspace(coordinator.workspace).violations == ()
    beyond = f"{fork.run}#999"
    head = store.append(store.head(source.run), [noted], correlation_id=source.run, causation_id=beyond)
    (found,) = verify_workspace(coordinator.workspace).violations
    assert (found.address, found.rule) == (f"{source.run}#{head.rows}", "cause")
    assert beyond in found.message
