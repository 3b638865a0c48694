"""In what two runs differ: settings, metrics, and the first event."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from admf import Coordinator
from admf.coordinator.audit.run_comparison import PhaseComparison, Setting, compare_runs
from admf.coordinator.cli import app
from admf.coordinator.result import WorkflowResult
from admf.domain.errors import NotFoundError
from admf.domain.events import SignalsEmitted
from admf.eventstore.record import Head
from typer.testing import CliRunner


@pytest.fixture
def run(coordinator: Coordinator, train_and_test: dict[str, object]) -> Callable[..., WorkflowResult]:
    return lambda *changes: coordinator.execute_workflow(train_and_test, changes, cache=False)


def phases(coordinator: Coordinator, first: str, second: str) -> tuple[PhaseComparison, ...]:
    return compare_runs(coordinator.workspace.store, first, second).phases


def test_runs_of_the_same_workflow_are_identical(
    coordinator: Coordinator, run: Callable[..., WorkflowResult]
) -> None:
    first, second = run(), run()
    found = compare_runs(coordinator.workspace.store, first.run, second.run)
    assert found.settings == ()
    assert [(phase.phase, phase.identical, phase.divergence) for phase in found.phases] == [
        ("training", True, None),
        ("out_of_sample", True, None),
    ]
    for phase in found.phases:
        assert phase.first is not None
        assert phase.second is not None
        assert phase.first.head_hash == phase.second.head_hash == second.phase(phase.phase).head_hash
        assert phase.metrics
        assert all(metric.change == 0 for metric in phase.metrics if metric.change == metric.change)


def test_settings_that_differ_are_named_as_they_are_changed(
    coordinator: Coordinator, run: Callable[..., WorkflowResult]
) -> None:
    first = run()
    second = run("name=other", "training.strategies.cross.direction=long", "training.data.end=2000-06-30")
    assert compare_runs(coordinator.workspace.store, first.run, second.run).settings == (
        Setting("name", "small", "other"),
        Setting("training.data.end", "2000-07-31", "2000-06-30"),
        Setting("training.strategies.cross.direction", "both", "long"),
        Setting("out_of_sample.strategies.cross.direction", "both", "long"),
    )


def test_other_bars_and_other_code_are_settings_too(
    coordinator: Coordinator, folder: Path, write_walk: Callable[..., Path]
) -> None:
    workflow = {"workflow": "backtest", "strategy": "mine.py:mine", "data_file": "walk.csv"}
    (folder / "mine.py").write_text("def mine(close):\n    return close * 0\n")
    first = coordinator.execute_workflow(workflow)
    (folder / "mine.py").write_text("def mine(close):\n    return close * 0 \n")
    write_walk(folder / "walk.csv", seed=2)
    second = coordinator.execute_workflow(workflow)
    keys = [
        setting.key for setting in compare_runs(coordinator.workspace.store, first.run, second.run).settings
    ]
    assert keys == ["backtest.bars", "backtest.code.strategy mine"]


def test_the_first_event_that_differs_is_named_with_both_values(
    coordinator: Coordinator, run: Callable[..., WorkflowResult]
) -> None:
    first, second = run(), run("execution.slippage.bps=5")
    training, _ = phases(coordinator, first.run, second.run)
    fills = next(coordinator.workspace.store.read(f"{first.run}/training", topics=("OrdersFilled",)))
    assert training.divergence is not None
    assert (training.divergence.event, training.divergence.address) == (fills.version, fills.address)
    assert (training.divergence.type, training.divergence.field) == ("OrdersFilled", "price")
    assert float(training.divergence.first) != float(training.divergence.second)
    returns = {metric.name: metric for metric in training.metrics}["total_return"]
    assert returns.first == first.phase("training").output.metrics["total_return"]
    assert returns.second == second.phase("training").output.metrics["total_return"]
    assert returns.change == returns.second - returns.first < 0


def test_a_setting_without_effect_changes_no_event_after_the_start(
    coordinator: Coordinator, run: Callable[..., WorkflowResult]
) -> None:
    training, _ = phases(coordinator, run().run, run("training.shard_size=2", "training.data.symbol=X").run)
    assert not training.identical
    assert training.divergence is None


def test_a_stream_that_goes_on_where_the_other_ends_differs_there(
    coordinator: Coordinator, run: Callable[..., WorkflowResult]
) -> None:
    whole = run().run
    store = coordinator.workspace.store
    store.append(Head("part"), [next(store.read(whole)).event], correlation_id="", causation_id="")
    events = [recorded.event for recorded in store.read(f"{whole}/training")]
    store.append(Head("part/training"), events[:5], correlation_id="", causation_id="")
    assert isinstance(events[4], SignalsEmitted)
    *_, last = list(store.read(f"{whole}/training"))[:6]
    training, out_of_sample = phases(coordinator, whole, "part")
    found = training.divergence
    assert found is not None
    assert (found.event, found.address, found.field) == (6, last.address, "type")
    assert (found.first, found.second) == (last.topic, "nothing")
    assert training.metrics == ()
    assert out_of_sample.first is not None
    assert (out_of_sample.second, out_of_sample.identical) == (None, False)
    training, _ = phases(coordinator, "part", whole)
    assert training.divergence is not None
    assert (training.divergence.first, training.divergence.second) == ("nothing", last.topic)


def test_a_fork_is_compared_with_the_streams_that_it_refers_to(
    coordinator: Coordinator, run: Callable[..., WorkflowResult]
) -> None:
    source = run()
    fork = coordinator.fork_workflow(source.run, "out_of_sample", ["out_of_sample.capital=5000"])
    training, out_of_sample = phases(coordinator, source.run, fork.run)
    assert training.identical
    assert training.first == training.second
    assert not out_of_sample.identical


def test_an_unknown_run_is_not_found(coordinator: Coordinator, run: Callable[..., WorkflowResult]) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        compare_runs(coordinator.workspace.store, run().run, "x")


def test_the_command_shows_settings_metrics_and_where_the_events_part(
    folder: Path, train_and_test: dict[str, object]
) -> None:
    with Coordinator() as coordinator:
        first = coordinator.execute_workflow(train_and_test).run
        second = coordinator.execute_workflow(train_and_test, ["out_of_sample.capital=5000"]).run
    shown = CliRunner().invoke(app, ["compare", first, second], prog_name="admf")
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[:2] == [["first", first], ["second", second]]
    assert ["out_of_sample.capital", "100000.0", "5000.0"] in lines
    assert ["training", "identical"] in lines
    assert ["out_of_sample", "different"] in lines
    assert "OrdersFilled.fee: " in shown.stdout
    same = CliRunner().invoke(app, ["compare", first, first], prog_name="admf")
    assert "all settings are the same." in same.stdout
    scripted = CliRunner().invoke(app, ["compare", first, second, "--json"], prog_name="admf")
    found = json.loads(scripted.stdout)
    assert list(found) == ["first", "second", "settings", "phases"]
    assert found["settings"] == [{"key": "out_of_sample.capital", "first": "100000.0", "second": "5000.0"}]
    assert [phase["identical"] for phase in found["phases"]] == [True, False]
