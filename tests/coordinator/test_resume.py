"""A run that is stopped at any moment, and resumed, ends as if it had never been stopped."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import LogAudit, verify_workspace
from admf.coordinator.result import WorkflowResult
from admf.coordinator.streams.run_history import run_history
from admf.coordinator.streams.trace_query import TraceQuery
from admf.coordinator.streams.workspace import Workspace
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
        {
            "name": "groups",
            "type": "validation",
            "cross_validation": {"folds": 3, "test_folds": 2, "purge_size": 5},
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30]}},
        },
        {"name": "confirm", "type": "backtest", "inherit_best_from": "search"},
    ],
}
GRAPH: dict[str, object] = {
    "data": {"file": "sp500.csv", "end": "2001-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "shard_size": 2,
    "workflow": [
        {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [30, 50]}},
        },
        {"name": "branch", "type": "backtest", "inherit_best_from": "search"},
        {
            "name": "sampled",
            "type": "optimization",
            "depends_on": ["search"],
            "optimization": {
                "algorithm": "tpe",
                "trials": 8,
                "batch": 4,
                "parameters": {"cross.fast": {"low": 3, "high": 12}, "cross.slow": {"low": 20, "high": 60}},
            },
        },
        {
            "name": "refine",
            "type": "optimization",
            "repeat": {"max": 3, "tolerance": 1e-9},
            "optimization": {
                "parameters": {
                    "cross.fast": [
                        "${previous.best.parameters.cross.fast - 2:-18}",
                        "${previous.best.parameters.cross.fast + 1:-20}",
                    ],
                    "cross.slow": ["${search.best.parameters.cross.slow}"],
                }
            },
        },
        {"name": "never", "type": "backtest", "when": "search.trials > 4 or branch.trials > 4"},
        {
            "name": "broken",
            "type": "backtest",
            "capital": "${search.best.parameters}",
            "continue_on_failure": True,
        },
        {"name": "after", "type": "backtest", "depends_on": ["broken"]},
        {"name": "last", "type": "backtest", "depends_on": ["after", "refine", "never"], "requires": "ended"},
    ],
}
ENDS = {
    "search": "completed",
    "branch": "completed",
    "sampled": "completed",
    "refine": "completed",
    "never": "skipped",
    "broken": "failed",
    "after": "skipped",
    "last": "completed",
}
LEVELS = {"mine.level": [1100, 1200, 1300, 1400]}
PHASES = ("search", "folds", "groups", "confirm")
Killed = Callable[..., int | None]
RowsByRun = Callable[[Workspace], dict[str, dict[str, list[tuple[object, ...]]]]]


def run_number(number: int) -> str:
    return f"workflow_20261121_101500_{number:08x}"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read models of a store in PostgreSQL are kept in the current folder: an empty one."""
    monkeypatch.chdir(tmp_path)


def heads(result: WorkflowResult) -> dict[str, str]:
    return {name: phase.head_hash for name, phase in result.phases.items()}


def shards(store: EventStore, run: str) -> int:
    topic = TrialsCompleted.__name__
    return sum(1 for phase in PHASES for _ in store.read(f"{run}/{phase}", topics=(topic,)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> WorkflowResult:
    coordinator = Coordinator(tmp_path_factory.mktemp("whole"))
    return coordinator.execute_workflow(WORKFLOW)


def test_killed_after_each_append_in_turn_and_within_the_next_one_it_is_resumed_to_the_whole_run(
    shared_url: str, whole: WorkflowResult, killed: Killed, rows_by_run: RowsByRun, elsewhere: None
) -> None:
    expected, resumed = heads(whole), {run_number(0)}
    total = shards(whole._workspace.store, whole.run)
    # This leaves the bars, so that the first append of each other run is that of its start.
    killed(shared_url, "execute_workflow", WORKFLOW, at=1)
    appends = killed(shared_url, "execute_workflow", WORKFLOW, at=0, run=run_number(0))
    assert appends is not None
    assert appends > 20
    for fatal in range(1, appends + 1):
        run = run_number(fatal)
        assert killed(shared_url, "execute_workflow", WORKFLOW, at=fatal, run=run) is None
        again = killed(shared_url, "resume_workflow", run, at=2, moment="within")
        assert again == (0 if fatal == appends else None)
        with Coordinator(shared_url) as coordinator:
            store = coordinator.workspace.store
            simulated = count_simulated(coordinator)
            before = shards(store, run)
            result = coordinator.resume_workflow(run)
            assert result.status == "completed"
            assert heads(result) == expected, f"killed at append {fatal}"
            assert before + len(simulated) == total == shards(store, run)
            resumed.add(run)
    with Coordinator(shared_url) as coordinator:
        found, (rows,) = rows_by_run(coordinator.workspace), rows_by_run(whole._workspace).values()
        assert found.keys() == resumed
        assert [run for run in found if found[run] != rows] == []


def journal(store: EventStore, run: str) -> list[tuple[str, str]]:
    """What the stream of a run says about its phases, without which processes carried it on."""
    events = [recorded for recorded in store.read(run) if recorded.topic.startswith("Phase")]
    return [(each.topic, str(each.event).replace(run, "RUN")) for each in events]


@pytest.mark.parametrize(("kind", "parallel"), [("sqlite", 1), ("sqlite", 3), ("postgres", 3)])
def test_a_graph_that_is_killed_after_each_append_in_turn_is_resumed_to_the_whole_graph(
    tmp_path: Path,
    killed: Killed,
    rows_by_run: RowsByRun,
    elsewhere: None,
    request: pytest.FixtureRequest,
    kind: str,
    parallel: int,
) -> None:
    """With several phases at once the appends come in any order, and so the kills are at any places."""
    url = str(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgres_url")
    workflow = {**GRAPH, "parallel": parallel}
    with Coordinator(url) as coordinator:
        whole = coordinator.execute_workflow(workflow)
        expected, told = heads(whole), journal(coordinator.workspace.store, whole.run)
        assert {name: phase.status for name, phase in whole.phases.items()} == ENDS
        turns = TraceQuery(coordinator.workspace.store).turns(whole.run, "refine")
        assert len(turns) > 1
        total = simulated_in(coordinator.workspace.store, whole.run)
    appends = killed(url, "execute_workflow", workflow, at=0, run=run_number(0))
    assert appends is not None
    assert appends > 25
    # After the last append the run is at its end, and resuming it would try the failed phase again.
    for fatal in range(1, appends, parallel):
        run = run_number(fatal)
        assert killed(url, "execute_workflow", workflow, at=fatal, run=run) is None
        with Coordinator(url) as coordinator:
            store = coordinator.workspace.store
            simulated, before = count_simulated(coordinator), simulated_in(store, run)
            result = coordinator.resume_workflow(run)
            assert heads(result) == expected, f"killed at append {fatal}"
            assert journal(store, run) == told, f"killed at append {fatal}"
            assert before + len(simulated) == total == simulated_in(store, run)
    with Coordinator(url) as coordinator:
        first, *others = rows_by_run(coordinator.workspace).values()
        assert len(others) == len(range(1, appends, parallel)) + 1
        assert all(rows == first for rows in others)
        # Rows that are those of the first run follow from the log as its rows do.
        assert verify_workspace(coordinator.workspace, whole.run).violations == ()
        log = LogAudit(coordinator.workspace.store, lambda _done, _total: None)
        assert list(log.everything()) == []


def simulated_in(store: EventStore, run: str) -> int:
    """Number of shards in the streams of all turns."""
    topic, trace = TrialsCompleted.__name__, TraceQuery(store)
    turns = [turn for name in ENDS for turn in trace.turns(run, name)]
    return sum(1 for turn in turns for _ in store.read(turn, topics=(topic,)))


@pytest.mark.parametrize(("fatal", "moment"), [(1, "within"), (1, "after"), (2, "within")])
def test_killed_before_it_has_begun_a_run_leaves_nothing_that_is_in_the_way(
    shared_url: str, whole: WorkflowResult, killed: Killed, fatal: int, moment: str, elsewhere: None
) -> None:
    """The first append is that of the bars, the second that of the workflow's start."""
    assert killed(shared_url, "execute_workflow", WORKFLOW, at=fatal, moment=moment, run=RUN) is None
    with Coordinator(shared_url) as coordinator:
        bars = (fatal, moment) != (1, "within")
        assert [event.topic for event in coordinator.workspace.store.read_all()] == ["BarsLoaded"] * bars
        with pytest.raises(NotFoundError, match="there is no run"):
            coordinator.resume_workflow(RUN)
        assert heads(coordinator.execute_workflow(WORKFLOW)) == heads(whole)


def test_killed_again_and_again_it_equals_the_whole_run(
    shared_url: str, whole: WorkflowResult, killed: Killed, rows_by_run: RowsByRun, elsewhere: None
) -> None:
    """Each process appends that it carries the run on, and one thing more."""
    killed(shared_url, "execute_workflow", WORKFLOW, at=2, run=RUN)
    places = zip(range(60), cycle([(2, "after"), (3, "within")]), strict=False)
    kills = next(
        kills
        for kills, (at, moment) in places
        if killed(shared_url, "resume_workflow", RUN, at=at, moment=moment) is not None
    )
    assert kills > 20
    with Coordinator(shared_url) as coordinator:
        result = coordinator.result(RUN)
        assert result.status == "completed"
        assert heads(result) == heads(whole)
        assert list(rows_by_run(coordinator.workspace).values()) == list(
            rows_by_run(whole._workspace).values()
        )


def count_simulated(coordinator: Coordinator) -> list[int]:
    """Return a list that grows with each shard that is simulated."""
    simulated: list[int] = []
    executor = coordinator._executor
    in_order = executor.map

    def counted(simulation, shards):  # type: ignore[no-untyped-def]
        for number, events in enumerate(in_order(simulation, shards)):
            simulated.append(number)
            yield events

    executor.map = counted  # type: ignore[method-assign]
    return simulated


def test_a_run_resumes_without_its_data_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: Killed
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"2020-01-{day:02},{day},{day + 1},{day - 0.5},{day + 0.5},100" for day in range(1, 32)]
    (tmp_path / "mine.csv").write_text("Date,Open,High,Low,Close,Volume\n" + "\n".join(rows))
    workflow: dict[str, object] = {"workflow": "backtest", "strategy": "breakout", "data_file": "mine.csv"}
    with Coordinator(tmp_path / "store") as coordinator:
        expected = heads(coordinator.execute_workflow(workflow))
        killed(tmp_path / "store", "execute_workflow", workflow, at=2, run=RUN)
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
    tmp_path: Path, whole: WorkflowResult, killed: Killed
) -> None:
    killed(tmp_path, "execute_workflow", WORKFLOW, at=6, run=RUN)
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
    tmp_path: Path, whole: WorkflowResult, killed: Killed
) -> None:
    killed(tmp_path, "execute_workflow", WORKFLOW, at=6, run=RUN)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: Killed
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
    killed(tmp_path / "store", "execute_workflow", workflow, at=4, run=RUN)
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
