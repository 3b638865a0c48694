"""How far a run has come, and whether anybody still carries it on."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from admf import Coordinator
from admf.coordinator.monitoring.process_state import shown_status
from admf.coordinator.monitoring.run_list import list_runs
from admf.coordinator.monitoring.status import RunStatus, passed_over, run_status
from admf.coordinator.streams.run_history import RunHistory, run_history
from admf.domain.codes import Stage
from admf.domain.errors import NotFoundError, StrategyError
from admf.domain.events import (
    PhaseStageEntered,
    TrialsCompleted,
    WorkflowCanceled,
    WorkflowResumed,
)
from admf.eventstore import store as event_store
from admf.eventstore.record import Head

SECOND = 1_000_000_000


@pytest.fixture
def observed(coordinator: Coordinator) -> list[RunStatus]:
    """What the status of a run was before each of its shards was appended."""
    found: list[RunStatus] = []
    executor = coordinator._executor
    in_order = executor.map

    def observing(simulation, shards):  # type: ignore[no-untyped-def]
        for events in in_order(simulation, shards):
            ((run,),) = coordinator.workspace.read_models.query("SELECT run FROM runs").rows
            found.append(run_status(coordinator.workspace.store, str(run)))
            yield events

    executor.map = observing  # type: ignore[method-assign]
    return found


def test_a_run_under_way_tells_phase_shards_trials_and_who_carries_it_on(
    coordinator: Coordinator, train_and_test: dict[str, object], observed: list[RunStatus]
) -> None:
    result = coordinator.execute_workflow(train_and_test)
    *training, testing = observed
    assert [(each.phase, each.completed, each.phases) for each in training] == [("training", 0, 2)] * 4
    assert [(each.shards, each.trials, each.planned) for each in training] == [
        (0, 0, 7),
        (1, 2, 7),
        (2, 4, 7),
        (3, 6, 7),
    ]
    assert (testing.phase, testing.completed, testing.shards, testing.planned) == ("out_of_sample", 1, 0, 1)
    assert {each.status for each in observed} == {"running"}
    assert {(each.run, each.name) for each in observed} == {(result.run, "small")}
    assert {(each.host, each.process) for each in observed} == {(platform.node(), os.getpid())}
    assert training[0].phase_ends_at is None
    assert all(each.phase_ends_at for each in training[1:])
    assert training[0].elapsed <= training[1].elapsed <= testing.elapsed


def test_a_run_that_has_ended_has_no_phase_left(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    result = coordinator.execute_workflow(train_and_test)
    status = run_status(coordinator.workspace.store, result.run)
    assert (status.status, status.phase, status.completed, status.phases) == ("completed", "", 2, 2)
    assert status.phase_ends_at is None
    time.sleep(0.01)
    assert run_status(coordinator.workspace.store, result.run).elapsed == status.elapsed


def test_a_failed_run_says_why_and_where(
    coordinator: Coordinator, train_and_test: dict[str, object], folder: Path
) -> None:
    (folder / "mine.py").write_text("def mine(close):\n    return close[:3]\n")
    with pytest.raises(StrategyError):
        coordinator.execute_workflow(train_and_test, ["out_of_sample.strategies=[{type: mine.py:mine}]"])
    (entry,) = list_runs(coordinator.workspace)
    status = run_status(coordinator.workspace.store, entry.run)
    assert (status.status, status.phase, status.completed) == ("failed", "out_of_sample", 1)
    assert "shape (3,)" in status.reason


def test_an_unknown_run_is_not_found(coordinator: Coordinator) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        run_status(coordinator.workspace.store, "x")


class Clock:
    """A clock that stands still unless it is moved; nanoseconds since 1970."""

    def __init__(self) -> None:
        self.now = time.time_ns()

    def time_ns(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(event_store, "time", made)
    return made


def copied(
    coordinator: Coordinator, run: str, clock: Clock, moments: Iterator[int]
) -> Callable[[], RunStatus]:
    """Copy a run that is under way; each shard takes the seconds that come next, other events none."""
    store = coordinator.workspace.store
    (started, *_) = store.read(run)
    store.append(Head("copy"), [started.event], correlation_id="copy", causation_id="")
    head = Head("copy/training")
    for recorded in store.read(f"{run}/training"):
        if recorded.topic == TrialsCompleted.__name__:
            seconds = next(moments, None)
            if seconds is None:
                break
            clock.now += seconds * SECOND
        head = store.append(head, [recorded.event], correlation_id="copy", causation_id="")
    return lambda: run_status(store, "copy")


@pytest.mark.parametrize(
    ("moments", "left"), [([], None), ([10], 25), ([10, 20], 22.5), ([3, 3, 3], 1.5), ([3, 3, 3, 3], None)]
)
def test_the_end_of_a_phase_is_estimated_from_the_time_that_its_shards_took(
    coordinator: Coordinator,
    train_and_test: dict[str, object],
    clock: Clock,
    moments: list[int],
    left: float | None,
) -> None:
    run = coordinator.execute_workflow(train_and_test).run
    status = copied(coordinator, run, clock, iter(moments))()
    assert status.shards == len(moments)
    expected = left and datetime.fromtimestamp(clock.now / SECOND, UTC) + timedelta(seconds=left)
    assert (status.phase_ends_at is None) == (expected is None)
    if expected and status.phase_ends_at:
        assert abs(status.phase_ends_at - expected) < timedelta(milliseconds=1)


def test_the_time_for_which_a_run_lay_still_is_not_measured(
    coordinator: Coordinator, train_and_test: dict[str, object], clock: Clock
) -> None:
    run = coordinator.execute_workflow(train_and_test).run
    store = coordinator.workspace.store
    status = copied(coordinator, run, clock, iter([10]))
    clock.now += 86_400 * SECOND
    resumed = WorkflowResumed(
        package_version="", host=platform.node(), process=os.getpid(), accepted_code=False
    )
    store.append(store.head("copy"), [resumed], correlation_id="copy", causation_id="")
    assert status().phase_ends_at is None
    clock.now += 4 * SECOND
    shard = [r.event for r in store.read(f"{run}/training", topics=(TrialsCompleted.__name__,))][1]
    store.append(store.head("copy/training"), [shard], correlation_id="copy", causation_id="")
    found = status()
    assert (found.shards, found.trials) == (2, 4)
    expected = datetime.fromtimestamp(clock.now / SECOND, UTC) + timedelta(seconds=6)
    assert found.phase_ends_at is not None
    assert abs(found.phase_ends_at - expected) < timedelta(milliseconds=1)


def test_more_trials_than_planned_raise_the_plan(coordinator: Coordinator, folder: Path) -> None:
    folds = {
        "data": {"file": "walk.csv"},
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "workflow": [
            {
                "name": "folds",
                "type": "validation",
                "walk_forward": {"train_size": 100, "test_size": 100},
                "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30]}},
            },
        ],
    }
    run = coordinator.execute_workflow(folds).run
    store = coordinator.workspace.store
    head = Head("copy")
    store.append(head, [next(store.read(run)).event], correlation_id="copy", causation_id="")
    events = [recorded.event for recorded in store.read(f"{run}/folds")]
    store.append(Head("copy/folds"), events, correlation_id="copy", causation_id="")
    status = run_status(store, "copy")
    assert (status.shards, status.trials, status.planned) == (3, 7, 7)


@pytest.fixture
def history(coordinator: Coordinator, train_and_test: dict[str, object]) -> RunHistory:
    """A run of this process that has not ended."""
    run = coordinator.execute_workflow(train_and_test).run
    found = run_history(coordinator.workspace.store, run)
    return msgspec.structs.replace(found, status="running")


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_run_is_running_as_long_as_its_process_is_there(history: RunHistory) -> None:
    assert shown_status(history) == "running"


def test_a_run_is_stale_when_its_process_is_gone(
    history: RunHistory, sleeping: subprocess.Popen[bytes]
) -> None:
    replaced = msgspec.structs.replace(history, process=sleeping.pid, taken_at=time.time_ns())
    assert shown_status(replaced) == "running"
    sleeping.kill()
    sleeping.wait()
    assert shown_status(replaced) == "stale"


def test_a_process_that_has_ended_but_was_not_waited_for_is_gone(
    history: RunHistory, sleeping: subprocess.Popen[bytes]
) -> None:
    replaced = msgspec.structs.replace(history, process=sleeping.pid, taken_at=time.time_ns())
    sleeping.kill()
    os.waitid(os.P_PID, sleeping.pid, os.WEXITED | os.WNOWAIT)
    assert shown_status(replaced) == "stale"


def test_a_process_that_started_after_the_run_was_taken_over_is_another_program(
    history: RunHistory, sleeping: subprocess.Popen[bytes]
) -> None:
    hour_ago = time.time_ns() - 3600 * SECOND
    replaced = msgspec.structs.replace(history, process=sleeping.pid, taken_at=hour_ago)
    assert shown_status(replaced) == "stale"


def test_of_processes_on_other_hosts_nothing_is_known(history: RunHistory) -> None:
    elsewhere = msgspec.structs.replace(history, host="elsewhere", process=2**22 + 1)
    assert shown_status(elsewhere) == "running"


@pytest.mark.parametrize("status", ["completed", "failed", "canceled"])
def test_a_run_that_has_ended_is_never_stale(history: RunHistory, status: str) -> None:
    ended = msgspec.structs.replace(history, status=status, process=2**22 + 1)
    assert shown_status(ended) == status


def test_what_a_resumed_run_passes_over_are_phases_and_shards(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    run = coordinator.execute_workflow(train_and_test).run
    store = coordinator.workspace.store
    for name, count in (("one", 1), ("two", 2)):
        events = [recorded.event for recorded in store.read(run)][:count]
        canceled = WorkflowCanceled(reason="for a test")
        store.append(Head(name), [*events, canceled], correlation_id=name, causation_id="")
    found = passed_over(store, "one")
    assert (found.phases, found.phase, found.shards, found.trials) == ((), "training", 0, 0)
    shard = next(store.read(f"{run}/training", topics=(TrialsCompleted.__name__,))).event
    entered = PhaseStageEntered(stage=Stage.COMPUTATION)
    store.append(Head("two/out_of_sample"), [entered, shard], correlation_id="", causation_id="")
    found = passed_over(store, "two")
    assert (found.phases, found.phase, found.shards, found.trials) == (("training",), "out_of_sample", 1, 2)
    found = passed_over(store, run)
    assert (found.phases, found.phase) == (("training", "out_of_sample"), "")
