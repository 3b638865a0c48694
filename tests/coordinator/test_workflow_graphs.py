"""Runs of graphs: conditions, failures, retries, loops, branches, and workflows in workflows."""

import signal
import threading
import time
from itertools import count

import msgspec
import pytest
import yaml
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.monitoring.graph_diagram import run_picture
from admf.coordinator.monitoring.status import run_status
from admf.coordinator.running.progress import Silence
from admf.coordinator.streams.run_history import run_history
from admf.coordinator.streams.trace_query import TraceQuery
from admf.domain.errors import (
    CanceledError,
    ConfigurationError,
    StoreError,
    StrategyError,
    TimedOutError,
    UnknownNameError,
)
from admf.domain.events import PhaseFailed, PhaseRepeated, PhaseRetried, PhaseSkipped, PhaseStarted

SPACE = {"cross.fast": [3, 5, 8], "cross.slow": [13, 21]}
UNTIL = "turn >= 2 and best.sharpe_ratio >= previous.best.sharpe_ratio"
FLAKY = """
import numpy as np

def flaky(close, size=1.0):
    if size > 0.7:
        raise ValueError(f"size {size} is too much")
    return np.full(close.size, size)
"""


DYING = """
import os
import signal
from pathlib import Path

import numpy as np

def dying(close):
    if not Path("{folder}/died").exists():
        Path("{folder}/died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.ones(close.size)
"""


@pytest.fixture
def graph(folder):
    """A search, two branches after it, a phase after one of them, a loop, and what needs no one's success."""
    (folder / "flaky.py").write_text(FLAKY)
    return {
        "name": "graph",
        "cache": False,
        "data": {"file": str(folder / "walk.csv")},
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "shard_size": 2,
        "workflow": [
            {"name": "search", "type": "optimization", "optimization": {"parameters": SPACE}},
            {"name": "high", "type": "backtest", "when": "search.best.sharpe_ratio > 99"},
            {"name": "above", "type": "backtest", "depends_on": ["high"]},
            {
                "name": "low",
                "type": "backtest",
                "when": "search.trials == 6 and search.best.sharpe_ratio < 99",
            },
            {
                "name": "refine",
                "type": "optimization",
                "repeat": {
                    "max": 3,
                    "until": UNTIL,
                },
                "strategies": [
                    {
                        "name": "cross",
                        "type": "sma_crossover",
                        "parameters": {"slow": "${search.best.parameters.cross.slow}"},
                    }
                ],
                "optimization": {
                    "parameters": {
                        "cross.fast": [
                            "${previous.best.parameters.cross.fast:-5}",
                            "${previous.best.parameters.cross.fast + 1:-6}",
                        ]
                    }
                },
            },
            {"name": "last", "type": "backtest", "depends_on": ["above", "refine"], "requires": "ended"},
        ],
    }


def events(coordinator, run, kind):
    store = coordinator.workspace.store
    return [event for recorded in store.read(run) if isinstance(event := recorded.event, kind)]


def told(coordinator, run):
    """Type, phase and reason of what the journal says about phases."""
    return [
        (recorded.topic, recorded.event.phase, getattr(recorded.event, "reason", ""))
        for recorded in coordinator.workspace.store.read(run)
        if recorded.topic.startswith("Phase")
    ]


def phase(graph, name):
    return next(each for each in graph["workflow"] if each["name"] == name)


def test_conditions_loops_and_skips_are_told_by_the_journal(coordinator, graph):
    result = coordinator.execute_workflow(graph)
    best = result.phase("search").output.best.metrics["sharpe_ratio"]
    why = f"when search.best.sharpe_ratio > 99 does not hold: search.best.sharpe_ratio was {best:.6g}"
    assert told(coordinator, result.run) == [
        ("PhaseCompleted", "search", ""),
        ("PhaseSkipped", "high", why),
        ("PhaseSkipped", "above", "high was skipped"),
        ("PhaseCompleted", "low", ""),
        ("PhaseRepeated", "refine", ""),
        ("PhaseCompleted", "refine", f"until {UNTIL}"),
        ("PhaseCompleted", "last", ""),
    ]
    assert result.status == "completed"
    assert {name: phase.status for name, phase in result.phases.items()} == {
        **dict.fromkeys(result.phases, "completed"),
        "high": "skipped",
        "above": "skipped",
    }
    rows = coordinator.workspace.read_models.query("SELECT phase, status FROM phases ORDER BY phase").rows
    assert dict(rows) == {
        **dict.fromkeys(("search", "low", "refine", "refine#2", "last"), "completed"),
        "high": "skipped",
        "above": "skipped",
    }
    status = run_status(coordinator.workspace.store, result.run)
    assert (status.completed, status.phases, status.skipped) == (6, 6, ("high", "above"))
    assert "high was skipped" in result.summary()


def test_what_a_phase_reads_is_its_cause(coordinator, graph):
    run = coordinator.execute_workflow(graph).run
    store = coordinator.workspace.store
    trace = TraceQuery(store)
    (started,) = store.read(f"{run}/refine#2", topics=[PhaseStarted.__name__])
    search, first = trace.output_in(f"{run}/search")[1], trace.output_in(f"{run}/refine")[1]
    assert started.causation_id == first
    assert started.event.reads == ("search", "refine")
    best = trace.get_phase_output(run, "search").best.parameters
    section = msgspec.json.decode(started.event.configuration)
    assert section["strategies"][0]["parameters"] == {"slow": best["cross.slow"]}
    fast = trace.output_in(f"{run}/refine")[0].best.parameters["cross.fast"]
    assert section["optimization"]["parameters"] == {"cross.fast": [fast, fast + 1]}
    (skipped,) = [event for event in store.read(run) if getattr(event.event, "phase", "") == "high"]
    assert skipped.causation_id == search


def test_the_output_of_a_loop_is_that_of_its_last_turn(coordinator, graph):
    phase(graph, "refine")["capital"] = "${previous.metrics.final_equity:-1000}"
    phase(graph, "last")["capital"] = "${refine.metrics.final_equity}"
    result = coordinator.execute_workflow(graph)
    trace, run = TraceQuery(coordinator.workspace.store), result.run
    assert trace.turns(run, "refine") == [f"{run}/refine", f"{run}/refine#2"]
    assert result.phase("refine").output == trace.output_in(f"{run}/refine#2")[0]
    first, second = (trace.output_in(turn)[0] for turn in trace.turns(run, "refine"))
    assert first.metrics["final_equity"] != second.metrics["final_equity"]
    configuration = msgspec.json.decode(trace.get_phase_configuration(run, "last"))
    assert configuration["capital"] == second.metrics["final_equity"]
    assert len(result.phase("refine").trials()) == 2
    (repeated,) = events(coordinator, run, PhaseRepeated)
    assert (repeated.turn, repeated.stream) == (1, f"{run}/refine")


@pytest.mark.parametrize("workers", [1, 2])
def test_branches_that_run_at_once_leave_the_same_log(coordinator, pooled, graph, heads, workers):
    expected = coordinator.execute_workflow(graph)
    running = pooled if workers == 2 else coordinator
    again = running.execute_workflow(graph, ["parallel=4"])
    assert heads(again) == heads(expected)
    assert told(running, again.run) == told(coordinator, expected.run)


def test_branches_that_run_at_once_leave_the_same_log_in_every_store(coordinator, shared_url, graph, heads):
    expected = coordinator.execute_workflow(graph)
    for number in range(4):
        graph["workflow"].append({**phase(graph, "search"), "name": f"search-{number}"})
    with Coordinator(shared_url, parallel=6) as opened:
        result = opened.execute_workflow(graph)
        assert {name: heads(result)[name] for name in expected.phases} == heads(expected)
        assert told(opened, result.run)[:7] == told(coordinator, expected.run)
        assert verify_workspace(opened.workspace).violations == ()


class Meeting(Silence):
    """Lets two phases go on only when both are under way."""

    def __init__(self):
        self.both = threading.Barrier(2)

    def phase_started(self, name, _number, _phases):
        if name in ("one", "two"):
            self.both.wait(30)


def pair(folder, **one):
    plain = {"type": "backtest", "strategies": [{"type": "rsi"}]}
    return {
        "data": {"file": str(folder / "walk.csv")},
        "parallel": 2,
        "cache": False,
        "workflow": [{"name": "one", **plain, **one}, {"name": "two", **plain}],
    }


def test_branches_really_run_at_once(folder):
    with Coordinator("memory://", progress=Meeting()) as coordinator:
        assert coordinator.execute_workflow(pair(folder)).status == "completed"


class Slow(Silence):
    """Lets the first phase fail in its second shard when the other has completed one."""

    def __init__(self):
        self._began = threading.Event()
        self._name = threading.local()

    def phase_started(self, name, _number, _phases):
        self._name.value = name

    def trials_completed(self, _count):
        if self._name.value == "one":
            assert self._began.wait(30)
        else:
            self._began.set()
            time.sleep(0.3)


def test_the_status_of_a_run_names_all_branches_that_are_under_way(folder):
    seen, drawn = [], []

    class Looking(Meeting):
        def trials_completed(self, _count):
            (run,) = [row for (row,) in coordinator.workspace.read_models.query("SELECT run FROM runs").rows]
            status = run_status(coordinator.workspace.store, run)
            seen.append((status.status, *(each.phase for each in status.under_way)))
            drawn.append([phase.reason for phase in run_picture(coordinator.workspace.store, run).phases])
            self.both.wait(30)

    with Coordinator(folder / "store", progress=Looking()) as coordinator:
        coordinator.execute_workflow(pair(folder))
    assert ("running", "one", "two") in seen
    assert any(one.startswith("1 of 1 trials, ") for one, _ in drawn)
    assert any(two.startswith("1 of 1 trials, ") for _, two in drawn)


def test_a_failure_in_one_branch_stops_the_other_before_its_next_append(folder):
    (folder / "flaky.py").write_text(FLAKY)
    workflow = pair(folder, strategies=[{"name": "flaky", "type": "flaky.py:flaky"}])
    one, two = workflow["workflow"]
    one |= {"optimization": {"parameters": {"flaky.size": [0.1, 0.9]}, "objective": "exposure"}}
    two |= {"strategies": [{"name": "cross", "type": "sma_crossover"}], "optimization": {"parameters": SPACE}}
    for each in (one, two):
        each |= {"type": "optimization", "shard_size": 1}
    with Coordinator("memory://", progress=Slow()) as coordinator:
        with pytest.raises(StrategyError, match=r"size 0\.9 is too much"):
            coordinator.execute_workflow(workflow)
        ((run,),) = coordinator.workspace.read_models.query("SELECT run FROM runs").rows
        store = coordinator.workspace.store
        history = run_history(store, run)
        assert (history.status, list(history.failed), history.completed) == ("failed", ["one"], {})
        assert 0 < len(list(store.read(f"{run}/two", topics=["TrialsCompleted"]))) < 6
        assert verify_workspace(coordinator.workspace).violations == ()


def test_ctrl_c_stops_all_branches_and_the_run_can_be_resumed(folder, heads):
    class Pressed(Silence):
        def trials_completed(self, _count):
            signal.raise_signal(signal.SIGINT)

    workflow = pair(folder)
    with Coordinator(folder / "store") as coordinator:
        expected = heads(coordinator.execute_workflow(workflow))
    with (
        Coordinator(folder / "store", progress=Pressed()) as coordinator,
        pytest.raises(KeyboardInterrupt),
    ):
        coordinator.execute_workflow(workflow)
    with Coordinator(folder / "store") as coordinator:
        sql = "SELECT run FROM runs WHERE status = 'canceled'"
        ((run,),) = coordinator.workspace.read_models.query(sql).rows
        assert heads(coordinator.resume_workflow(run)) == expected


def test_a_run_that_is_canceled_elsewhere_stops_all_branches(folder, heads):
    workflow = pair(folder)
    with Coordinator(folder / "store") as coordinator:
        expected = heads(coordinator.execute_workflow(workflow))

    class Canceled(Silence):
        def trials_completed(self, _count):
            with Coordinator(folder / "store") as elsewhere:
                sql = "SELECT run FROM runs WHERE status = 'running'"
                for (run,) in elsewhere.workspace.read_models.query(sql).rows:
                    elsewhere.cancel_workflow(run)

    with (
        Coordinator(folder / "store", progress=Canceled()) as coordinator,
        pytest.raises(CanceledError, match="was canceled: asked for by process"),
    ):
        coordinator.execute_workflow(workflow)
    with Coordinator(folder / "store") as coordinator:
        sql = "SELECT run FROM runs WHERE status = 'canceled'"
        ((run,),) = coordinator.workspace.read_models.query(sql).rows
        assert run_history(coordinator.workspace.store, run).completed == {}
        assert heads(coordinator.resume_workflow(run)) == expected


@pytest.fixture
def failing(graph):
    phase(graph, "low").update(strategies=[{"type": "flaky.py:flaky"}], continue_on_failure=True)
    graph["workflow"].insert(4, {"name": "lower", "type": "backtest", "depends_on": ["low"]})
    return graph


def test_a_workflow_goes_on_without_a_phase_that_may_fail(coordinator, failing):
    result = coordinator.execute_workflow(failing)
    assert (result.status, result.failed) == ("completed", ["low"])
    (failed,) = events(coordinator, result.run, PhaseFailed)
    assert failed.error == "StrategyError"
    assert "size 1.0 is too much" in failed.message
    assert ("PhaseSkipped", "lower", "low failed") in told(coordinator, result.run)
    assert result.phase("last").status == "completed"
    assert verify_workspace(coordinator.workspace).violations == ()
    again = coordinator.replay_workflow(result.run)
    assert {replay.outcome for replay in again} == {"identical"}


def test_resuming_a_run_that_went_on_tries_what_failed_again(coordinator, failing, folder, heads):
    result = coordinator.execute_workflow(failing)
    (folder / "flaky.py").write_text(FLAKY.replace("0.7", "1.7"))
    again = coordinator.resume_workflow(result.run, accept_code=True)
    assert {name: phase.status for name, phase in again.phases.items()} == {
        **dict.fromkeys(again.phases, "completed"),
        "high": "skipped",
        "above": "skipped",
    }
    assert heads(again)["search"] == heads(result)["search"]
    assert verify_workspace(coordinator.workspace).violations == ()
    before = coordinator.workspace.store.last_position()
    coordinator.resume_workflow(result.run)
    assert coordinator.workspace.store.last_position() == before


def test_a_wrong_reference_fails_the_phase_with_the_nearest_match(coordinator, graph):
    phase(graph, "low")["capital"] = "${search.best.metrics.final_equty}"
    with pytest.raises(UnknownNameError, match=r"capital: unknown value 'search.*final_equty'. Did you mean"):
        coordinator.execute_workflow(graph)
    phase(graph, "low")["capital"] = "${search.best.parameters}"
    with pytest.raises(ConfigurationError, match=r"capital: input should be a valid number"):
        coordinator.execute_workflow(graph)


def test_a_phase_that_takes_too_long_ends_after_a_shard_and_can_be_resumed(coordinator, graph, heads):
    expected = heads(coordinator.execute_workflow(graph))
    with pytest.raises(TimedOutError, match="timeout_seconds: more than 1e-09 s passed"):
        coordinator.execute_workflow(graph, ["search.timeout_seconds=1e-9"])
    sql = "SELECT run FROM runs WHERE status = 'failed'"
    ((run,),) = coordinator.workspace.read_models.query(sql).rows
    store = coordinator.workspace.store
    shards = []
    for _ in range(2):
        shards.append(len(list(store.read(f"{run}/search", topics=["TrialsCompleted"]))))
        with pytest.raises(TimedOutError):
            coordinator.resume_workflow(run)
    assert shards == [1, 2]
    assert heads(coordinator.resume_workflow(run)) == expected


@pytest.mark.parametrize(("retries", "times"), [(2, 2), (1, 2)])
def test_an_error_of_the_store_that_passes_is_retried(coordinator, graph, heads, retries, times):
    expected = heads(coordinator.execute_workflow(graph))
    store, calls = coordinator.workspace.store, count()
    append = store.append

    def flaky(head, batch, **ids):
        if head.stream.endswith("/low") and head.version > 1 and next(calls) < times:
            raise StoreError("the disk is full.")
        return append(head, batch, **ids)

    store.append = flaky
    changes = [f"low.retries={retries}", "low.retry_delay_seconds=0.01"]
    if retries < times:
        with pytest.raises(StoreError, match="the disk is full"):
            coordinator.execute_workflow(graph, changes)
        return
    result = coordinator.execute_workflow(graph, changes)
    assert heads(result) == expected
    retried = events(coordinator, result.run, PhaseRetried)
    assert [(event.phase, event.attempt, event.delay) for event in retried] == [
        ("low", 1, 0.01),
        ("low", 2, 0.02),
    ]
    assert run_history(store, result.run).retries == {"low": 2}


def test_a_worker_that_dies_once_costs_a_retry(pooled, graph, folder):
    (folder / "dying.py").write_text(DYING.format(folder=folder))
    low = phase(graph, "low")
    low.update(strategies=[{"type": f"{folder / 'dying.py'}:dying"}], retries=1, retry_delay_seconds=0)
    result = pooled.execute_workflow(graph)
    assert result.status == "completed"
    (retried,) = events(pooled, result.run, PhaseRetried)
    assert (retried.phase, retried.error) == ("low", "ExecutorError")


def test_an_error_that_lasts_is_not_retried(coordinator, failing):
    phase(failing, "low")["retries"] = 3
    result = coordinator.execute_workflow(failing)
    assert events(coordinator, result.run, PhaseRetried) == []


def test_a_fork_takes_over_a_loop_and_thinks_conditions_over(coordinator, graph, heads):
    source = coordinator.execute_workflow(graph)
    fork = coordinator.fork_workflow(source.run, "last", ["last.capital=5000"])
    assert {name: phase.status for name, phase in fork.phases.items()} == {
        "search": "reused",
        "high": "skipped",
        "above": "skipped",
        "low": "reused",
        "refine": "reused",
        "last": "completed",
    }
    assert fork.phase("refine").stream == f"{source.run}/refine#2"
    assert len(events(coordinator, fork.run, PhaseSkipped)) == 2
    assert {replay.outcome for replay in coordinator.replay_workflow(fork.run)} == {"reused", "identical"}
    assert verify_workspace(coordinator.workspace, fork.run).violations == ()
    change = ["refine.strategies.cross.parameters.slow=${search.best.parameters.cross.slow + 1}"]
    with pytest.raises(ConfigurationError, match="a fork can't change what the phases that it reuses"):
        coordinator.fork_workflow(source.run, "last", change)
    other = coordinator.fork_workflow(source.run, "refine", change)
    assert heads(other)["refine"] != heads(source)["refine"]


def test_a_replay_executes_every_turn(coordinator, graph):
    run = coordinator.execute_workflow(graph).run
    replays = coordinator.replay_workflow(run, phase="refine")
    assert [(replay.phase, replay.outcome) for replay in replays] == [
        ("refine", "identical"),
        ("refine#2", "identical"),
    ]
    assert verify_workspace(coordinator.workspace, run).violations == ()


def test_whether_and_when_a_phase_runs_leaves_its_stream_as_it_is(coordinator, graph, heads):
    expected = heads(coordinator.execute_workflow(graph))
    changes = [
        "low.when=search.trials > 1",
        "low.retries=2",
        "low.timeout_seconds=1000",
        "search.requires=ended",
    ]
    assert heads(coordinator.execute_workflow(graph, changes)) == expected


def test_a_workflow_in_a_workflow_runs_as_it_does_alone(coordinator, folder, train_and_test):
    alone = coordinator.execute_workflow(train_and_test)
    (folder / "inner.yaml").write_text(yaml.safe_dump(train_and_test))
    outer = {"workflow": [{"name": "all", "type": "workflow", "workflow": "inner.yaml"}]}
    result = coordinator.execute_workflow(outer)
    assert list(result.phases) == [f"all.{name}" for name in alone.phases]
    for name, phase in alone.phases.items():
        assert result.phase(f"all.{name}").output == phase.output
        assert result.phase(f"all.{name}").trials().equals(phase.trials())
