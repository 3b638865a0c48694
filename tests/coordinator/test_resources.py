"""What a run may take: refused before it starts, or stopped with all completed work kept, and carried on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.cli import app
from admf.coordinator.result import WorkflowResult
from admf.domain.errors import ConfigurationError, LimitError
from admf.domain.events import PhaseFailed, WorkflowFailed, WorkflowStarted
from admf.eventstore.store import EventStore
from typer.testing import CliRunner

Heads = Callable[[WorkflowResult], dict[str, str]]
SLOW = """
import time
import numpy as np

def slow(close, level=90):
    time.sleep(0.3)
    return np.where(close > level, 1.0, 0.0)
"""


@pytest.fixture
def store(coordinator: Coordinator) -> EventStore:
    return coordinator.workspace.store


def limited(workflow: dict[str, object], **resources: float) -> dict[str, object]:
    return {**workflow, "cache": False, "resources": resources}


def only_run(store: EventStore) -> str:
    (run,) = {each.stream for each in store.read_all() if isinstance(each.event, WorkflowStarted)}
    return run


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"max_events": 7}, r"resources\.max_events: the run may log 7, .* simulate 8 containers"),
        (
            {"memory_per_shard": 0.05},
            r"memory_per_shard: a shard may take 0\.05 MiB, and one of 'training', of 2 containers "
            r"over 211 bars, takes up to 0\.2; raise the limit",
        ),
        (
            {"memory_per_shard": 0.15},
            r"one of 'training', of 2 containers over 211 bars, .*give the phase `shard_size: 1`",
        ),
        ({"max_seconds": 0}, r"resources\.max_seconds: input should be greater than 0, was 0"),
        ({"max_second": 1}, "unknown key 'max_second'. Did you mean max_seconds"),
    ],
)
def test_what_is_known_to_be_too_much_is_refused_before_the_run(
    coordinator: Coordinator,
    store: EventStore,
    train_and_test: dict[str, object],
    resources: dict[str, float],
    message: str,
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        coordinator.execute_workflow(limited(train_and_test, **resources))
    assert list(store.read_all()) == []


def test_more_workers_than_it_may_have_are_refused_also_when_it_is_resumed(
    train_and_test: dict[str, object], folder: Path
) -> None:
    workflow = limited(train_and_test, workers=1)
    with Coordinator(folder / "store", workers=2) as two:
        with pytest.raises(ConfigurationError, match=r"resources\.workers: the run may have 1, .* given 2"):
            two.execute_workflow(workflow)
        with Coordinator(folder / "store") as one:
            run = one.execute_workflow({**workflow, "resources": {"workers": 1, "max_seconds": 600}}).run
            fork = one.fork_workflow(run, "out_of_sample")
            assert fork.status == "completed"
        with pytest.raises(ConfigurationError, match=r"resources\.workers"):
            two.fork_workflow(run, "out_of_sample")


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_run_that_logs_too_much_stops_before_it_and_goes_on_with_another_limit(
    coordinator: Coordinator,
    store: EventStore,
    train_and_test: dict[str, object],
    heads: Heads,
    parallel: int,
) -> None:
    workflow = {**train_and_test, "parallel": parallel}
    whole = coordinator.execute_workflow(workflow)
    rows = {name: phase.rows for name, phase in whole.phases.items()}
    with Coordinator("memory://") as other:
        store = other.workspace.store
        most = rows["training"] - 3
        with pytest.raises(LimitError, match=rf"may log {most:,} events, and would have") as stopped:
            other.execute_workflow(limited(workflow, max_events=most))
        assert stopped.value.key == "max_events"
        run = only_run(store)
        logged = store.head(f"{run}/training").rows
        assert 0 < logged <= most
        events = [each.event for each in store.read(run)]
        assert [(each.phase, each.error) for each in events if isinstance(each, PhaseFailed)] == [
            ("training", "LimitError")
        ]
        assert any(isinstance(each, WorkflowFailed) for each in events)
        with pytest.raises(LimitError, match="max_events"):
            other.resume_workflow(run)
        assert store.head(f"{run}/training").rows == logged
        total = sum(rows.values())
        with pytest.raises(LimitError, match="max_events"):
            other.resume_workflow(run, changes=[f"resources.max_events={total - 1}"])
        result = other.resume_workflow(run, changes=[f"resources.max_events={total}"])
        assert result.status == "completed"
        assert heads(result) == heads(whole)


def test_a_limit_ends_the_run_also_in_a_phase_that_may_fail(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    training, test = train_and_test["workflow"]  # type: ignore[misc]
    workflow = {**train_and_test, "workflow": [{**training, "continue_on_failure": True}, test]}
    with pytest.raises(LimitError):
        coordinator.execute_workflow(limited(workflow, max_events=30))


def test_a_run_that_takes_too_long_stops_after_a_shard_and_goes_on_from_the_command_line(
    folder: Path,
) -> None:
    (folder / "mine.py").write_text(SLOW)
    search = {
        "name": "search",
        "type": "optimization",
        "optimization": {"parameters": {"mine.level": [80, 90]}},
    }
    described = {
        "data": {"file": "walk.csv"},
        "strategies": [{"name": "mine", "type": "mine.py:slow"}],
        "shard_size": 1,
        "resources": {"max_seconds": 0.1},
        "workflow": [search, {"name": "again", "type": "backtest"}],
    }
    (folder / "study.yaml").write_text(json.dumps(described))
    cli = CliRunner()
    answer = cli.invoke(app, ["run", "study.yaml"])
    assert answer.exit_code == 1
    assert "resources.max_seconds: 0.1 s have passed" in answer.output
    assert "--set resources.max_seconds=..." in answer.output.replace("\n", " ")
    with Coordinator(folder / ".admf") as coordinator:
        store = coordinator.workspace.store
        run = only_run(store)
        assert len(list(store.read(f"{run}/search", topics=("TrialsCompleted",)))) == 1
    refused = cli.invoke(app, ["resume", "last", "--set", "capital=5"])
    assert refused.exit_code == 2
    assert "nothing but `resources`" in refused.output
    resumed = cli.invoke(app, ["resume", "last", "--set", "resources.max_seconds=600"])
    assert resumed.exit_code == 0, resumed.output
