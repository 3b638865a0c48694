"""A run that is stopped at any moment, and resumed, ends as if it had never been stopped."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from admf import Coordinator
from admf.coordinator.result import WorkflowResult
from admf.coordinator.run_history import run_history
from admf.domain.errors import CanceledError, ChangedError, ConflictError, NotFoundError
from admf.domain.events import TrialsCompleted, WorkflowCanceled, WorkflowResumed
from admf.eventstore.store import EventStore

RUN = "workflow_20261121_101500_00000000"
WORKFLOW: dict[str, object] = {
    "data": {"file": "sp500.csv", "end": "2002-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "shard_size": 3,
    "workflow": [
        {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30, 50]}},
        },
        {
            "name": "folds",
            "type": "validation",
            "walk_forward": {"train_size": 300, "test_size": 300},
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30, 50]}},
        },
        {"name": "confirm", "type": "backtest", "inherit_best_from": "search"},
    ],
}
LEVELS = {"mine.level": [1100, 1200, 1300, 1400]}
PHASES = ("search", "folds", "confirm")
KILLED_AT_AN_APPEND = """
import os, signal, sys
import msgspec
from admf.coordinator import coordinator
from admf.eventstore.store import EventStore

store, fatal, moment = sys.argv[1], int(sys.argv[2]), sys.argv[3]
append, count = EventStore.append, 0

def counted(self, head, events, **ids):
    global count
    count += 1
    if count == fatal and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    end = append(self, head, events, **ids)
    if count == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return end

EventStore.append = counted
coordinator.new_run_id = lambda: sys.argv[4]
with coordinator.Coordinator(store) as running:
    running.execute_workflow(msgspec.json.decode(sys.stdin.read()))
print(count)
"""


def run_killed_at(
    store: str | Path,
    fatal: int,
    moment: str = "after",
    run: str = RUN,
    workflow: dict[str, object] = WORKFLOW,
) -> int:
    """Run the workflow in a process that is killed at an append; return the appends of one that was not."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_AN_APPEND, str(store), str(fatal), moment, run],
        input=msgspec.json.encode(workflow).decode(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL)
    return int(done.stdout) if done.returncode == 0 else 0


def heads(result: WorkflowResult) -> dict[str, str]:
    return {name: phase.head_hash for name, phase in result.phases.items()}


def shards(store: EventStore, run: str) -> int:
    topic = TrialsCompleted.__name__
    return sum(1 for phase in PHASES for _ in store.read(f"{run}/{phase}", topics=(topic,)))


def tables(result: WorkflowResult) -> dict[str, list[tuple[object, ...]]]:
    names = ("trials", "portfolio_metrics", "signals", "orders", "fills", "trades")
    ask = result._workspace.read_models.query
    return {
        name: list(ask(f"SELECT * EXCLUDE run FROM {name} WHERE run = ? ORDER BY ALL", (result.run,)).rows)
        for name in names
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> WorkflowResult:
    coordinator = Coordinator(tmp_path_factory.mktemp("whole"))
    return coordinator.execute_workflow(WORKFLOW)


@pytest.fixture(scope="module")
def appends(tmp_path_factory: pytest.TempPathFactory) -> int:
    return run_killed_at(tmp_path_factory.mktemp("counted"), 0)


def test_killed_after_each_append_in_turn_and_resumed_it_equals_the_whole_run(
    tmp_path: Path, whole: WorkflowResult, appends: int
) -> None:
    assert appends > 20
    expected, rows = heads(whole), tables(whole)
    total = shards(whole._workspace.store, whole.run)
    for fatal in range(2, appends + 1):
        assert run_killed_at(tmp_path / str(fatal), fatal) == 0
        with Coordinator(tmp_path / str(fatal)) as coordinator:
            store = coordinator.workspace.store
            before = shards(store, RUN)
            simulated: list[int] = []
            _count_simulated(coordinator, simulated)
            result = coordinator.resume_workflow(RUN)
            assert result.status == "completed"
            assert heads(result) == expected, f"killed at append {fatal}"
            assert before + len(simulated) == total == shards(store, RUN)
            assert tables(result) == rows


@pytest.mark.parametrize("fatal", [3, 7, 12])
def test_a_shard_that_was_simulated_but_not_appended_is_simulated_again(
    tmp_path: Path, whole: WorkflowResult, fatal: int
) -> None:
    run_killed_at(tmp_path, fatal, "before")
    with Coordinator(tmp_path) as coordinator:
        assert heads(coordinator.resume_workflow(RUN)) == heads(whole)


@pytest.mark.parametrize("fatal", [2, 6, 11])
def test_a_run_in_postgresql_resumes_as_well(
    postgres_url: str, whole: WorkflowResult, fatal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = f"{RUN[:-1]}{fatal % 10}"
    run_killed_at(postgres_url, fatal, run=run)
    with Coordinator(postgres_url) as coordinator:
        assert heads(coordinator.resume_workflow(run)) == heads(whole)


def _count_simulated(coordinator: Coordinator, simulated: list[int]) -> None:
    executor = coordinator._executor
    in_order = executor.map

    def counted(simulation, shards):  # type: ignore[no-untyped-def]
        for number, events in enumerate(in_order(simulation, shards)):
            simulated.append(number)
            yield events

    executor.map = counted  # type: ignore[method-assign]


def test_a_run_resumes_without_its_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"2020-01-{day:02},{day},{day + 1},{day - 0.5},{day + 0.5},100" for day in range(1, 32)]
    (tmp_path / "mine.csv").write_text("Date,Open,High,Low,Close,Volume\n" + "\n".join(rows))
    workflow: dict[str, object] = {"workflow": "backtest", "strategy": "breakout", "data_file": "mine.csv"}
    with Coordinator(tmp_path / "store") as coordinator:
        expected = heads(coordinator.execute_workflow(workflow))
        run_killed_at(tmp_path / "store", 2, workflow=workflow)
        (tmp_path / "mine.csv").unlink()
        assert heads(coordinator.resume_workflow(RUN)) == expected


def test_resuming_a_completed_run_changes_nothing(whole: WorkflowResult) -> None:
    store = whole._workspace.store
    before = store.last_position()
    coordinator = Coordinator(Path(str(whole._workspace.name)))
    assert heads(coordinator.resume_workflow(whole.run)) == heads(whole)
    assert store.last_position() == before


def test_an_unknown_run_is_not_found() -> None:
    with Coordinator("memory://") as coordinator, pytest.raises(NotFoundError, match="there is no run 'x'"):
        coordinator.resume_workflow("x")


def test_of_two_that_resume_at_once_one_goes_on_and_the_other_stops(
    tmp_path: Path, whole: WorkflowResult
) -> None:
    run_killed_at(tmp_path, 6)
    with Coordinator(tmp_path) as first, Coordinator(tmp_path) as second:
        taken = False
        map_shards = first._executor.map

        def interrupted(simulation, shards):  # type: ignore[no-untyped-def]
            nonlocal taken
            for events in map_shards(simulation, shards):
                if not taken:
                    taken = True
                    assert heads(second.resume_workflow(RUN)) == heads(whole)
                yield events

        first._executor.map = interrupted  # type: ignore[method-assign]
        with pytest.raises(ConflictError, match="was resumed by process"):
            first.resume_workflow(RUN)
        history = run_history(first.workspace.store, RUN)
        assert history.status == "completed"
        resumed = first.workspace.store.read(RUN, topics=(WorkflowResumed.__name__,))
        assert len(list(resumed)) == 2


def test_a_run_that_is_canceled_elsewhere_stops_before_its_next_append_and_can_be_resumed(
    tmp_path: Path, whole: WorkflowResult
) -> None:
    run_killed_at(tmp_path, 6)
    with Coordinator(tmp_path) as running, Coordinator(tmp_path) as elsewhere:
        map_shards = running._executor.map

        def interrupted(simulation, shards):  # type: ignore[no-untyped-def]
            for events in map_shards(simulation, shards):
                elsewhere.cancel_workflow(RUN)
                yield events

        running._executor.map = interrupted  # type: ignore[method-assign]
        with pytest.raises(CanceledError, match="was canceled: asked for by process"):
            running.resume_workflow(RUN)
        store = elsewhere.workspace.store
        assert run_history(store, RUN).status == "canceled"
        assert len(list(store.read(RUN, topics=(WorkflowCanceled.__name__,)))) == 1
        assert not elsewhere.cancel_workflow(RUN)
        assert heads(elsewhere.resume_workflow(RUN)) == heads(whole)


def test_a_strategy_that_was_changed_by_one_character_is_refused_unless_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (
        "import numpy as np\n\n\ndef mine(close, level=1200):\n    return np.where(close > level, 1.0, 0.0)\n"
    )
    (tmp_path / "mine.py").write_text(source)
    search = {"name": "search", "type": "optimization", "optimization": {"parameters": LEVELS}}
    workflow = {
        **WORKFLOW,
        "strategies": [{"name": "mine", "type": "mine.py:mine"}],
        "workflow": [search],
    }
    run_killed_at(tmp_path / "store", 4, workflow=workflow)
    (tmp_path / "mine.py").write_text(source.replace("close > level", "close < level"))
    with Coordinator(tmp_path / "store") as coordinator:
        with pytest.raises(ChangedError, match=r"began with other code: strategy mine was \w+, is \w+"):
            coordinator.resume_workflow(RUN)
        assert coordinator.resume_workflow(RUN, accept_code=True).status == "completed"
        resumed = [
            event.accepted_code
            for recorded in coordinator.workspace.store.read(RUN)
            if isinstance(event := recorded.event, WorkflowResumed)
        ]
        assert resumed == [False, True]
