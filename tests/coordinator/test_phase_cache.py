"""A phase that some run has completed with the same configuration, data and code is not simulated again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.audit.run_comparison import compare_runs
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.cli import app
from admf.coordinator.monitoring.graph_diagram import mermaid, run_picture
from admf.coordinator.monitoring.status import run_status
from admf.coordinator.result import WorkflowResult
from admf.coordinator.running import phase_cache
from admf.coordinator.streams.archive import import_archive
from admf.coordinator.streams.export import export_run
from admf.domain.errors import AdmfError
from admf.domain.events import PhaseCompleted, PhaseReused
from admf.eventstore.record import Head
from admf.eventstore.store import EventStore
from typer.testing import CliRunner

HELPER = "LEVEL = 90.0\n"
STRATEGY = """
import numpy as np
import helper

def mine(close):
    return np.where(close > helper.LEVEL, 1.0, 0.0)
"""
FAILING = """
from pathlib import Path

import numpy as np

def mine(close):
    if Path("failing").exists():
        raise ValueError("out of ideas")
    return np.where(close > 90, 1.0, 0.0)
"""
LOOP = {
    "name": "refine",
    "type": "optimization",
    "repeat": {"max": 3, "tolerance": 1e-9},
    "optimization": {
        "parameters": {
            "cross.fast": [
                "${previous.best.parameters.cross.fast - 1:-5}",
                "${previous.best.parameters.cross.fast + 1:-6}",
            ],
            "cross.slow": [20],
        }
    },
}
Heads = Callable[[WorkflowResult], dict[str, str]]


@pytest.fixture
def store(coordinator: Coordinator) -> EventStore:
    return coordinator.workspace.store


def outcomes(result: WorkflowResult) -> dict[str, str]:
    return {name: phase.status for name, phase in result.phases.items()}


def changed(workflow: dict[str, object], phase: int, **stated: object) -> dict[str, object]:
    phases = [dict(each) for each in workflow["workflow"]]  # type: ignore[attr-defined]
    phases[phase] |= stated
    return {**workflow, "workflow": phases}


def test_what_a_run_has_completed_is_taken_over_by_reference(
    coordinator: Coordinator, store: EventStore, train_and_test: dict[str, object], heads: Heads
) -> None:
    first = coordinator.execute_workflow(train_and_test)
    again = coordinator.execute_workflow(train_and_test)
    assert again.status == "completed"
    assert outcomes(first) == dict.fromkeys(("training", "out_of_sample"), "completed")
    assert outcomes(again) == dict.fromkeys(("training", "out_of_sample"), "cached")
    assert (heads(again), again.metrics) == (heads(first), first.metrics)
    assert again.phase("training").trials().equals(first.phase("training").trials())
    own = {each.stream for each in store.read_all() if each.stream.startswith(again.run)}
    assert own == {again.run}
    noted = [event for each in store.read(again.run) if isinstance(event := each.event, PhaseReused)]
    assert [(each.stream, each.cached) for each in noted] == [
        (f"{first.run}/training", True),
        (f"{first.run}/out_of_sample", True),
    ]


def test_only_what_differs_is_simulated(
    coordinator: Coordinator, train_and_test: dict[str, object], heads: Heads
) -> None:
    first = coordinator.execute_workflow(train_and_test)
    other = coordinator.execute_workflow(changed(train_and_test, 1, capital=5000))
    assert outcomes(other) == {"training": "cached", "out_of_sample": "completed"}
    assert heads(other)["out_of_sample"] != heads(first)["out_of_sample"]
    # Neither does what only decides whether and when a phase is carried out.
    timed = changed(changed(train_and_test, 0, timeout_seconds=600), 1, when="training.trials > 1")
    assert set(outcomes(coordinator.execute_workflow(timed)).values()) == {"cached"}


@pytest.mark.parametrize("room", ["domain", "eventstore", "coordinator"])
def test_by_other_code_of_the_package_it_is_simulated_again(
    coordinator: Coordinator, folder: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    (folder / room).mkdir()
    monkeypatch.setattr(phase_cache, "PACKAGE", folder)
    monkeypatch.setattr(phase_cache, "_package_digest", phase_cache._package_digest.__wrapped__)
    workflow = {"workflow": "backtest", "strategy": "momentum", "data_file": "walk.csv"}
    found = []
    for code in ("", "", "# changed"):
        (folder / room / "module.py").write_text(code)
        found.append(outcomes(coordinator.execute_workflow(workflow))["backtest"])
    assert found == ["completed", "cached", "completed"]


@pytest.mark.parametrize("where", ["source", "keyword"])
def test_it_can_be_left_out(
    coordinator: Coordinator, train_and_test: dict[str, object], heads: Heads, where: str
) -> None:
    first = coordinator.execute_workflow(train_and_test)
    again = (
        coordinator.execute_workflow({**train_and_test, "cache": False})
        if where == "source"
        else coordinator.execute_workflow(train_and_test, cache=False)
    )
    assert set(outcomes(again).values()) == {"completed"}
    assert heads(again) == heads(first)


def test_other_bars_are_simulated(
    coordinator: Coordinator, train_and_test: dict[str, object], folder: Path
) -> None:
    coordinator.execute_workflow(train_and_test)
    bars = (folder / "walk.csv").read_text().splitlines()
    (folder / "walk.csv").write_text("\n".join(bars[:-1]))
    assert set(outcomes(coordinator.execute_workflow(train_and_test)).values()) == {"completed"}


@pytest.mark.parametrize("file", ["mine.py", "helper.py"])
def test_other_code_is_simulated_also_of_a_module_that_the_strategy_imports(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    (folder / "helper.py").write_text(HELPER)
    (folder / "mine.py").write_text(STRATEGY)
    (folder / "study.yaml").write_text("{workflow: backtest, strategy: 'mine.py:mine', data_file: walk.csv}")

    def status() -> str:
        command = [sys.executable, "-m", "admf", "run", "study.yaml", "--json"]
        found: str = json.loads(subprocess.check_output(command))["phases"]["backtest"]["status"]
        return found

    assert [status(), status()] == ["completed", "cached"]
    (folder / file).write_text((folder / file).read_text() + "\nOTHER = 1\n")
    assert status() == "completed"


def test_a_phase_that_reads_a_stream_is_simulated_where_that_stream_is_another(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    replay = {"name": "risk", "type": "signal_replay", "signals_from": "training", "trials": {"top": 2}}
    training, _ = train_and_test["workflow"]  # type: ignore[misc]
    workflow = {**train_and_test, "workflow": [training, replay]}
    first = coordinator.execute_workflow(workflow)
    assert set(outcomes(coordinator.execute_workflow(workflow)).values()) == {"cached"}
    best = first.phase("training").output.best
    assert best is not None
    # The best trial stays the best, and the configuration of the second phase the same.
    fast = [value for value in (3, 5, 8) if value != best.parameters["cross.fast"]][:1]
    fewer = {"parameters": {"cross.fast": [*fast, best.parameters["cross.fast"]], "cross.slow": [13, 21, 5]}}
    other = coordinator.execute_workflow(changed(workflow, 0, optimization=fewer))
    assert outcomes(other) == {"training": "completed", "risk": "completed"}
    assert other.phase("training").output.best.parameters == best.parameters


def test_a_loop_is_taken_over_whole_or_not_at_all(
    coordinator: Coordinator, train_and_test: dict[str, object], heads: Heads
) -> None:
    strategies = [{"name": "cross", "type": "sma_crossover"}]
    workflow = {**train_and_test, "strategies": strategies, "workflow": [LOOP]}
    first = coordinator.execute_workflow(workflow)
    assert first.phase("refine").turn == "refine#3"
    again = coordinator.execute_workflow(workflow)
    assert outcomes(again) == {"refine": "cached"}
    assert (again.phase("refine").turn, heads(again)) == ("refine#3", heads(first))
    shorter = coordinator.execute_workflow(changed(workflow, 0, repeat={"max": 2}))
    assert outcomes(shorter) == {"refine": "completed"}
    assert shorter.phase("refine").turn == "refine#2"


def test_what_was_not_completed_is_simulated(
    coordinator: Coordinator, train_and_test: dict[str, object], heads: Heads
) -> None:
    timed_out = changed(train_and_test, 0, timeout_seconds=1e-9)
    with pytest.raises(AdmfError, match="timeout_seconds"):
        coordinator.execute_workflow(timed_out)
    assert set(outcomes(coordinator.execute_workflow(train_and_test)).values()) == {"completed"}


def test_a_stream_that_is_not_whole_is_simulated_again_and_noted(
    coordinator: Coordinator, store: EventStore, train_and_test: dict[str, object]
) -> None:
    coordinator.execute_workflow(train_and_test)
    (stream, _) = {each.stream for each in store.read_all() if each.stream.startswith("phase-")}
    (noted,) = store.read(stream)
    assert isinstance(noted.event, PhaseCompleted)
    with Coordinator("memory://") as other:
        lost = PhaseCompleted(phase="x", stream="lost/x", events=3, rows=3, head_hash="00" * 32)
        other.workspace.store.append(Head(stream), [lost], correlation_id=stream, causation_id="")
        for expected in ("completed", "cached"):
            result = other.execute_workflow(train_and_test)
            assert outcomes(result)[noted.event.phase] == expected
        assert len(list(other.workspace.store.read(stream))) == 2


def test_branches_find_what_was_taken_over_before_the_branch_above_has_ended(
    coordinator: Coordinator, train_and_test: dict[str, object], heads: Heads
) -> None:
    training, test = train_and_test["workflow"]  # type: ignore[misc]
    branch = {**training, "name": "branch", "shard_size": 1}
    workflow = {**train_and_test, "workflow": [training, test]}
    first = coordinator.execute_workflow(workflow)
    wider = coordinator.execute_workflow({**workflow, "parallel": 2, "workflow": [branch, training, test]})
    assert outcomes(wider) == {"branch": "completed", "training": "cached", "out_of_sample": "cached"}
    assert heads(wider).items() >= heads(first).items()


def test_killed_after_each_append_a_run_that_takes_phases_over_is_resumed(
    tmp_path: Path,
    train_and_test: dict[str, object],
    killed: Callable[..., int | None],
    heads: Heads,
) -> None:
    store, workflow = tmp_path / "store", {**train_and_test, "cache": True}
    with Coordinator(store) as coordinator:
        coordinator.execute_workflow(train_and_test)
    other = changed(workflow, 1, capital=5000)
    run = "workflow_20261121_101500_00000000"
    appends = killed(tmp_path / "whole", "execute_workflow", other, at=0, run=run)
    assert appends is not None
    with Coordinator(tmp_path / "whole") as whole:
        expected = heads(whole.execute_workflow(other))
    ends = []
    for fatal in range(1, appends):
        run = f"workflow_20261121_101500_{fatal:08x}"
        if killed(store, "execute_workflow", other, at=fatal, run=run) is not None:
            break
        with Coordinator(store) as coordinator:
            result = coordinator.resume_workflow(run)
            ends.append((result.status, outcomes(result)["training"], heads(result) == expected))
    assert len(ends) > 3
    assert set(ends) == {("completed", "cached", True)}


def test_it_is_shown_audited_repeated_and_compared(
    coordinator: Coordinator, store: EventStore, train_and_test: dict[str, object]
) -> None:
    first = coordinator.execute_workflow(train_and_test)
    again = coordinator.execute_workflow(train_and_test)
    picture = run_picture(store, again.run)
    assert {phase.status for phase in picture.phases} == {"cached"}
    assert picture.phases[0].reason == f"taken from {first.run}/training"
    assert "class training,out_of_sample cached" in mermaid(picture)
    assert run_status(store, again.run).completed == 2
    assert "training (optimization, cached" in again.summary()
    assert verify_workspace(coordinator.workspace).violations == ()
    assert verify_workspace(coordinator.workspace, again.run).violations == ()
    assert {each.outcome for each in coordinator.replay_workflow(again.run)} == {"identical"}
    assert all(phase.identical for phase in compare_runs(store, first.run, again.run).phases)
    sql = "SELECT phase, status, stream FROM phases WHERE run = ? ORDER BY phase DESC"
    assert coordinator.workspace.read_models.query(sql, (again.run,)).rows == (
        ("training", "cached", f"{first.run}/training"),
        ("out_of_sample", "cached", f"{first.run}/out_of_sample"),
    )


def test_replay_finds_that_a_cached_phase_would_come_out_otherwise(
    coordinator: Coordinator, folder: Path
) -> None:
    (folder / "mine.py").write_text(STRATEGY.replace("import helper\n", "").replace("helper.LEVEL", "90"))
    workflow = {"workflow": "backtest", "strategy": "mine.py:mine", "data_file": "walk.csv"}
    coordinator.execute_workflow(workflow)
    again = coordinator.execute_workflow(workflow)
    (folder / "mine.py").write_text((folder / "mine.py").read_text().replace("90", "95"))
    (replayed,) = coordinator.replay_workflow(again.run, accept_code=True)
    assert replayed.outcome == "different"


def test_a_fork_executes_what_it_is_told_to(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    coordinator.execute_workflow(train_and_test)
    again = coordinator.execute_workflow(train_and_test)
    fork = coordinator.fork_workflow(again.run, "out_of_sample")
    assert outcomes(fork) == {"training": "reused", "out_of_sample": "completed"}


def test_runs_that_took_phases_from_each_other_can_be_carried_to_another_store(
    coordinator: Coordinator, store: EventStore, folder: Path
) -> None:
    (folder / "mine.py").write_text(FAILING)
    (folder / "failing").touch()
    momentum = [{"name": "momentum", "type": "momentum"}]
    phases = [
        {"name": "first", "type": "backtest", "strategies": momentum},
        {"name": "failing", "type": "backtest"},
        {"name": "last", "type": "backtest", "strategies": momentum},
    ]
    workflow = {"data_file": "walk.csv", "strategy": "mine.py:mine", "workflow": phases}
    with pytest.raises(AdmfError, match="out of ideas"):
        coordinator.execute_workflow(workflow)
    (failed,) = {each.stream for each in store.read_all(topics=("WorkflowStarted",))}
    (folder / "failing").unlink()
    other = coordinator.execute_workflow(workflow)
    assert outcomes(other) == {"first": "cached", "failing": "completed", "last": "completed"}
    one = coordinator.resume_workflow(failed)
    assert outcomes(one) == {"first": "completed", "failing": "completed", "last": "cached"}
    (file,) = export_run(store, failed, target=folder / "run.admf")
    with Coordinator(folder / "elsewhere") as elsewhere:
        import_archive(elsewhere.workspace.store, file)
        assert verify_workspace(elsewhere.workspace).violations == ()
        for run in (failed, other.run):
            assert elsewhere.result(run).metrics == coordinator.result(run).metrics


def test_the_command_line_simulates_anew_when_asked(folder: Path) -> None:
    cli = CliRunner()
    (folder / "study.yaml").write_text("{workflow: backtest, strategy: momentum, data_file: walk.csv}")

    def status(*options: str) -> str:
        answer = cli.invoke(app, ["run", "study.yaml", "--json", *options])
        assert answer.exit_code == 0, answer.output
        found: str = json.loads(answer.stdout)["phases"]["backtest"]["status"]
        return found

    assert [status(), status("--no-cache"), status()] == ["completed", "completed", "cached"]
    assert "cached" in cli.invoke(app, ["show", "last"]).output
