"""What the product must do, row by row: docs/mission.md names these tests.

Each one goes through the public face, on real simulations over few bars, and fails if its capability is gone.
"""

import ast
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from admf import (
    CompositeWorkflowTemplate,
    Coordinator,
    WorkflowPhaseDefinition,
    WorkflowResult,
    WorkflowType,
)
from admf.coordinator import coordinator as entry
from admf.coordinator.configuration.sections import PhaseSection
from admf.coordinator.configuration.sources import templates
from admf.coordinator.monitoring.graph_diagram import mermaid, workflow_picture
from admf.coordinator.monitoring.run_list import list_runs
from admf.coordinator.monitoring.status import run_status
from admf.coordinator.running.progress import Silence
from admf.coordinator.simulation.topology_builder import build_topology
from admf.coordinator.streams.trace_query import TraceQuery
from admf.coordinator.workflows.check import check_workflow
from admf.coordinator.workflows.loading import load_workflow
from admf.domain.errors import CanceledError, StoreError, StrategyError, UnknownNameError
from admf.domain.events import PhaseStageEntered, PhaseStarted

ROOT = Path(__file__).parent.parent
ROWS = (
    [f"A{number}" for number in range(1, 13)]
    + [f"B{number}" for number in range(1, 6)]
    + [f"C{number}" for number in range(1, 13)]
    + [f"D{number}" for number in range(1, 10)]
    + [f"E{number}" for number in range(1, 5)]
)
TESTED_HERE = [*ROWS[:17], "C4", "C8", "C9", "C10", "C11", "D7"]
NOT_YET = "not yet"
CROSS = [{"name": "cross", "type": "sma_crossover"}]
SPACE = {"cross.fast": [3, 5, 8], "cross.slow": [13, 21]}
Phase = dict[str, object]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for walk.csv: 300 daily bars from 2000-01-03 on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADMF_STORE", raising=False)
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.015, 300)))
    opens = np.concatenate(([100.0], closes[:-1])) * 1.001
    days = np.datetime64("2000-01-03") + np.arange(300)
    rows = [
        f"{day},{first},{max(first, last) * 1.01},{min(first, last) * 0.99},{last},1000"
        for day, first, last in zip(days, opens, closes, strict=True)
    ]
    (tmp_path / "walk.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows, ""]))
    return tmp_path


@pytest.fixture
def coordinator(here: Path) -> Iterator[Coordinator]:
    with Coordinator("memory://") as opened:
        yield opened


def workflow(*phases: Phase, **settings: object) -> dict[str, object]:
    shared = {"data": {"file": "walk.csv"}, "strategies": CROSS, "cache": False, **settings}
    return {**shared, "workflow": [*phases]}


def search(name: str = "search", **more: object) -> Phase:
    return {"name": name, "type": "optimization", "optimization": {"parameters": SPACE}, **more}


def events(coordinator: Coordinator, result: WorkflowResult, phase: str, kind: str) -> list[object]:
    stream = result.phase(phase).stream
    return [recorded.event for recorded in TraceQuery(coordinator.workspace.store).events(stream, kind)]


def heads(result: WorkflowResult) -> dict[str, str]:
    return {name: phase.head_hash for name, phase in result.phases.items()}


def test_a1_the_coordinator_is_the_only_entry_and_touches_no_event(coordinator, here):
    (here / "small.yaml").write_text(msgspec.json.encode(workflow(search())).decode())
    from_file = coordinator.execute_workflow("small.yaml")
    from_mapping = coordinator.execute_workflow(workflow(search()))
    assert from_file.status == "completed"
    assert heads(from_file) == heads(from_mapping)
    tree = ast.parse(Path(entry.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.endswith(("events", "bus", "phase_execution", "phases"))]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


def test_a2_the_sequencer_runs_phases_in_the_order_of_their_dependencies(coordinator):
    last = {"name": "last", "type": "validation", "inherit_best_from": "search"}
    middle = {"name": "middle", "type": "backtest", "depends_on": ["search"]}
    result = coordinator.execute_workflow(workflow(last, middle, search()))
    assert list(result.phases) == ["search", "last", "middle"]
    best = result.phase("search").output.best
    assert result.phase("last").output.best.metrics["total_return"] == best.metrics["total_return"]
    assert result.phase("search").trials()["container"].tolist() == list(range(6))


def test_a3_no_state_passes_between_phases_but_through_streams(coordinator, here):
    (here / "broken.py").write_text("def broken(close):\n    raise RuntimeError('no')\n")
    broken = {"name": "broken", "type": "backtest", "strategies": [{"type": "broken.py:broken"}]}
    alone = coordinator.execute_workflow(workflow(search("second")))
    after = coordinator.execute_workflow(
        workflow(search("first"), {**broken, "continue_on_failure": True}, search("second"))
    )
    assert after.phase("broken").status == "failed"
    assert heads(after)["second"] == heads(alone)["second"]
    assert after.phase("second").stream == f"{after.run}/second"
    store = coordinator.workspace.store
    for phase in ("first", "broken", "second"):
        ids = {recorded.correlation_id for recorded in store.read(f"{after.run}/{phase}")}
        assert ids == {f"{after.run}/{phase}"}


def test_a4_a_topology_is_built_and_nothing_is_executed(coordinator, here):
    (here / "loud.py").write_text("def loud(close, days=3):\n    raise RuntimeError('executed')\n")
    strategies = [{"type": "loud.py:loud", "parameters": {"days": 5}}]
    section = PhaseSection(name="p", type="backtest", data={"file": "walk.csv"}, strategies=strategies)
    topology = build_topology(section, (here,))
    assert dict(topology.slots[0].parameters) == {"days": 5}
    with pytest.raises(StrategyError, match="executed"):
        coordinator.execute_workflow({"workflow": [section.model_dump(mode="json", exclude_none=True)]})


def test_a5_components_are_found_by_type_and_typos_are_met_with_the_nearest_name(coordinator, here):
    (here / "own.py").write_text("def always(close, part=0.5):\n    return close * 0 + part\n")
    own = coordinator.execute_workflow(
        workflow({"name": "own", "type": "backtest"}, strategies=[{"type": "own.py:always"}])
    )
    assert own.phase("own").signals()["target"].tolist() == [0.5]
    for written, nearest in (
        ({"strategies": [{"type": "momentun"}]}, "Did you mean momentum?"),
        ({"strategies": [{"type": "momentum", "parameters": {"lookbak": 3}}]}, "Did you mean lookback?"),
    ):
        with pytest.raises(UnknownNameError) as caught:
            coordinator.execute_workflow(workflow({"name": "typo", "type": "backtest"}, **written))
        assert nearest in str(caught.value)
    with pytest.raises(UnknownNameError, match="Did you mean backtest"):
        coordinator.execute_workflow({**workflow(), "workflow": "backtst"})


def test_a6_features_follow_from_strategies_and_each_is_computed_once(coordinator):
    result = coordinator.execute_workflow(workflow(search()))
    (started,) = events(coordinator, result, "search", "PhaseStarted")
    assert isinstance(started, PhaseStarted)
    assert started.features == tuple(f"sma(period={days})" for days in (13, 21, 3, 5, 8))
    assert started.planned == 6


def test_a7_stages_of_a_phase_are_events(coordinator):
    result = coordinator.execute_workflow(workflow(search()))
    entered = events(coordinator, result, "search", "PhaseStageEntered")
    assert [each.stage.name.lower() for each in entered if isinstance(each, PhaseStageEntered)] == [
        "initialization",
        "data_preparation",
        "computation",
        "validation",
        "aggregation",
        "finalization",
    ]


def test_a8_a_workflow_may_be_a_type_a_template_or_a_list(coordinator):
    settings = {"data_file": "walk.csv", "strategy": "momentum"}
    by_type = coordinator.execute_workflow({**settings, "workflow": "backtest"})
    phases = [{"name": "backtest", "type": "backtest"}]
    by_list = coordinator.execute_workflow({**settings, "workflow": phases})
    nested = coordinator.execute_workflow({**settings, "workflow": {"type": "multi_phase", "phases": phases}})
    assert heads(by_type) == heads(by_list) == heads(nested)
    sizes = [f"walk_forward.walk_forward.{name}=100" for name in ("train_size", "test_size")]
    by_template = coordinator.execute_workflow({**settings, "workflow": "walk_forward"}, sizes)
    assert len(by_template.phase("walk_forward").output.folds) == 1


def test_a9_a_phase_states_only_what_differs_from_the_one_it_inherits_from(coordinator):
    later = {"name": "later", "type": "validation", "inherit_best_from": "search"}
    later |= {"data": {"start": "2000-07-01"}}
    result = coordinator.execute_workflow(workflow(search(capital=5000), later))
    trace = TraceQuery(coordinator.workspace.store)
    stated = msgspec.json.decode(trace.get_phase_configuration(result.run, "later"))
    best = result.phase("search").best_params
    assert stated["strategies"][0]["parameters"] == {
        name.removeprefix("cross."): value for name, value in best.items()
    }
    assert stated["capital"] == 5000
    assert stated["data"] == {
        "file": "walk.csv",
        "files": {},
        "start": "2000-07-01",
        "symbol": "",
        "calendar": "",
        "resample": "",
        "timeframe": "1d",
    }


def test_a10_strategies_share_one_portfolio_by_their_weights(coordinator, here):
    (here / "own.py").write_text("def flat(close, at=1.0):\n    return close * 0 + at\n")
    own = {"type": "own.py:flat"}
    strategies = [{**own, "name": "long", "weight": 0.7}]
    strategies += [{**own, "name": "short", "weight": 0.2, "parameters": {"at": -1.0}}]
    result = coordinator.execute_workflow(
        workflow({"name": "both", "type": "backtest"}, strategies=strategies)
    )
    fills = result.phase("both").fills()
    assert set(result.phase("both").signals()["strategy"]) == {"long", "short"}
    (value,) = (fills["quantity"] * fills["price"]).tolist()
    assert value == pytest.approx((0.7 - 0.2) * 100_000, rel=0.01)


def test_a11_containers_and_concurrent_workflows_do_not_affect_one_another(coordinator, here):
    whole = coordinator.execute_workflow(workflow(search())).phase("search").trials()
    for _, row in whole.iterrows():
        values = {name: [int(row[name])] for name in SPACE}
        alone = search(optimization={"parameters": values})
        found = coordinator.execute_workflow(workflow(alone)).phase("search").trials()
        assert found["final_equity"].tolist() == [row["final_equity"]]
    with Coordinator("shared") as first, Coordinator("shared") as second, ThreadPoolExecutor() as pool:
        written = [workflow(search(), seed=seed) for seed in (0, 1)]
        runs = [
            pool.submit(each.execute_workflow, w) for each, w in zip((first, second), written, strict=True)
        ]
        apart = [coordinator.execute_workflow(each) for each in written]
        assert [heads(run.result()) for run in runs] == [heads(each) for each in apart]


def test_a12_runs_are_listed_and_canceled_and_keep_what_they_completed(here):
    seen = []

    class Canceling(Silence):
        def trials_completed(self, count: int) -> None:
            ((run,),) = coordinator.workspace.read_models.query("SELECT run FROM runs").rows
            seen.append((run_status(coordinator.workspace.store, str(run)).phase, count))
            with Coordinator("log") as elsewhere:
                seen.extend(each.status for each in list_runs(elsewhere.workspace))
                assert elsewhere.cancel_workflow(str(run))

    with Coordinator("log", progress=Canceling()) as coordinator:
        with pytest.raises(CanceledError):
            coordinator.execute_workflow(workflow(search(shard_size=2)))
        (listed,) = list_runs(coordinator.workspace)
        assert listed.status == "canceled"
        kept = coordinator.workspace.read_models.query("SELECT count(*) FROM trials").rows
    assert seen[:2] == [("search", 2), "running"]
    assert kept == ((2,),)
    with Coordinator("log") as coordinator:
        assert coordinator.resume_workflow(listed.run).phase("search").output.trials == 6


def test_b1_templates_from_python_and_from_yaml_are_used_by_name(coordinator):
    phases = [
        WorkflowPhaseDefinition(
            "search", WorkflowType.OPTIMIZATION, lambda base: {"optimization": base.parameters["study"]}
        ),
        WorkflowPhaseDefinition(
            "later",
            WorkflowType.VALIDATION,
            lambda _, search: {"inherit_best_from": search, "capital": 5000},
            depends_on=["search"],
        ),
    ]
    template = CompositeWorkflowTemplate(
        "of_mission_b1", "", phases, lambda results: results["search"].best_params
    )
    coordinator.workflow_registry.register(template, replace=True)
    settings = {**workflow(), "workflow": "of_mission_b1", "parameters": {"study": {"parameters": SPACE}}}
    result = coordinator.execute_workflow(settings)
    written = workflow(
        search(), {"name": "later", "type": "validation", "inherit_best_from": "search", "capital": 5000}
    )
    assert heads(result) == heads(coordinator.execute_workflow(written))
    assert result.aggregated == result.phase("search").output.best.parameters
    shipped = load_workflow("train_test")
    assert [phase["name"] for phase in shipped.phases] == ["training", "out_of_sample"]


def test_b2_a_phase_has_dependencies_a_condition_retries_and_may_fail_or_time_out(coordinator):
    slow = search("slow", timeout_seconds=1e-9, continue_on_failure=True, shard_size=1)
    never = {"name": "never", "type": "backtest", "when": "search.trials > 6"}
    orphan = {"name": "orphan", "type": "backtest", "depends_on": ["slow"]}
    always = {"name": "always", "type": "backtest", "depends_on": ["slow"], "requires": "ended"}
    always |= {"retries": 1, "retry_delay_seconds": 0.0}
    takes = {"name": "takes", "type": "backtest", "capital": "${search.trials * 1000}"}
    store, failures = coordinator.workspace.store, iter([StoreError("the disk is full.")])
    append = store.append

    def flaky(head, batch, **ids):
        if head.stream.endswith("/always") and (error := next(failures, None)):
            raise error
        return append(head, batch, **ids)

    store.append = flaky
    result = coordinator.execute_workflow(workflow(search(), slow, never, orphan, always, takes))
    assert {name: phase.status for name, phase in result.phases.items()} == {
        "search": "completed",
        "slow": "failed",
        "never": "skipped",
        "orphan": "skipped",
        "always": "completed",
        "takes": "completed",
    }
    assert result.phase("takes").equity()["cash"].tolist()[0] == pytest.approx(6000)


def test_b3_workflows_branch_decide_repeat_and_nest(coordinator, here):
    (here / "inner.yaml").write_text(msgspec.json.encode(workflow(search("deep"))).decode())
    left, right = search("left"), search("right", capital=5000)
    loop = search("loop", repeat={"max": 4, "tolerance": 1e-9})
    best = {"name": "best", "type": "validation", "inherit_best_from": "left", "when": "left.trials == 6"}
    inner = {"name": "inner", "type": "workflow", "workflow": "inner.yaml", "depends_on": ["left", "right"]}
    written = workflow(left, right, best, loop, inner)
    result = coordinator.execute_workflow(written)
    assert result.phase("loop").turn == "loop#2"
    assert "converged" in result.phase("loop").reason
    assert result.phase("inner.deep").status == result.phase("best").status == "completed"
    with Coordinator("memory://", parallel=2) as branching:
        assert heads(branching.execute_workflow(written)) == heads(result)


def test_b5_a_run_tells_how_far_it_is_and_any_workflow_has_a_diagram(here):
    found = []

    class Watching(Silence):
        def trials_completed(self, count: int) -> None:  # noqa: ARG002
            ((run,),) = coordinator.workspace.read_models.query("SELECT run FROM runs").rows
            found.append(run_status(coordinator.workspace.store, str(run)))

    later = {"name": "later", "type": "validation", "inherit_best_from": "search"}
    written = workflow(search(shard_size=3), later)
    with Coordinator("memory://", progress=Watching()) as coordinator:
        coordinator.execute_workflow(written)
    first = found[0]
    assert (first.phase, first.completed, first.phases, first.trials, first.planned) == ("search", 0, 2, 3, 6)
    assert first.phase_ends_at is not None
    assert [(each.phase, each.completed) for each in found[1:]] == [("search", 0), ("later", 1)]
    diagram = mermaid(workflow_picture(load_workflow(written)))
    assert diagram.startswith(("graph", "flowchart"))
    assert re.search(r"search\s*-->.*later", diagram)


@pytest.mark.parametrize("kind", ["volatility", "trend", "pattern", "hmm"])
def test_c4_regimes_are_told_without_the_future_and_parameters_by_regime(coordinator, here, kind):
    classifier = {"type": kind, "fit": {"end": "2000-07-31"}}
    regimes = {"name": "regimes", "type": "regime_analysis", "of": "search", "classifier": classifier}
    regimes |= {"minimum_bars": 2, "minimum_trades": 1}
    labels = {}
    for end in ("2000-08-31", "2000-09-30"):
        result = coordinator.execute_workflow(
            workflow(search(), regimes, data={"file": "walk.csv", "end": end})
        )
        sql = f"SELECT bar, name FROM regimes WHERE run = '{result.run}' ORDER BY bar"
        labels[end] = coordinator.workspace.read_models.query(sql).rows
        output = result.phase("regimes").output
        assert any(regime.best for regime in output.regimes)
        # What came of a regime is what came of the bars before which it was known.
        curve, known = result.phase("search").equity(), dict(labels[end])
        worth = np.concatenate(([100_000.0], curve["equity"]))
        for regime in output.regimes:
            inside = [known.get(bar - 1) == regime.name for bar in curve["bar"].tolist()]
            grown = (worth[1:] / worth[:-1])[inside].prod() - 1.0
            assert regime.metrics["total_return"] == pytest.approx(grown)
    shorter, longer = labels.values()
    assert longer[: len(shorter)] == shorter
    assert len(longer) > len(shorter) > 100


@pytest.mark.parametrize("algorithm", ["random", "tpe", "genetic", "cma_es", "gradient"])
def test_c8_searches_follow_objectives_and_constraints(coordinator, algorithm):
    parameters = {"cross.fast": {"low": 2, "high": 10}, "cross.slow": {"low": 11, "high": 40}}
    study = {"algorithm": algorithm, "trials": 12, "batch": 4, "parameters": parameters}
    study |= {"objective": "total_return", "constraints": ["cross.fast * 3 < cross.slow", "trades <= 40"]}
    result = coordinator.execute_workflow(workflow(search(optimization=study)))
    trials = result.phase("search").trials()
    assert (trials["cross.fast"] * 3 < trials["cross.slow"]).all()
    allowed = trials[trials["trades"] <= 40]
    best = result.phase("search").output.best
    assert best.metrics["total_return"] == allowed["total_return"].max()


def test_c9_stored_signals_are_followed_and_no_strategy_is_called(coordinator, here):
    (here / "own.py").write_text(
        "from pathlib import Path\n\n"
        "def counted(close, days=3):\n"
        "    with open('calls', 'a') as calls:\n"
        "        calls.write('.')\n"
        "    import numpy as np\n"
        "    return np.where(np.arange(close.size) // days % 2 == 0, 1.0, -1.0)\n"
    )
    signals = {"name": "signals", "type": "backtest", "strategies": [{"type": "own.py:counted"}]}
    same = {"name": "same", "type": "signal_replay", "signals_from": "signals"}
    stops = {**same, "name": "stops", "optimization": {"parameters": {"risk.stop_loss": [0, 1]}}}
    written = {"data": {"file": "walk.csv"}, "workflow": [signals, same, stops]}
    result = coordinator.execute_workflow(written)
    before = (here / "calls").read_text()
    assert (
        result.phase("same")
        .fills()
        .drop(columns="n")
        .equals(result.phase("signals").fills().drop(columns="n"))
    )
    trials = result.phase("stops").trials()
    assert trials["trades"].nunique() == trials["total_return"].nunique() == 2
    coordinator.fork_workflow(result.run, "same", ["same.capital=5000"])
    assert (here / "calls").read_text() == before


def test_c10_weights_under_bounds_are_fitted_in_sample_and_traded_on_later_bars(coordinator):
    regimes = {"name": "regimes", "type": "regime_analysis", "of": "search", "classifier": "volatility"}
    regimes |= {"minimum_bars": 20, "minimum_trades": 1}
    asked = {"method": "min_drawdown", "min_weight": 0.1, "max_weight": 0.6, "per_regime": True}
    weigh = {"name": "weigh", "type": "ensemble", "signals_from": "search", "ensemble": asked}
    weigh |= {"trials": {"top": 4}, "regimes": "regimes", "minimum_bars": 20}
    later = {"name": "later", "type": "validation", "ensemble_from": "weigh"}
    later |= {"data": {"start": "2000-09-01"}}
    result = coordinator.execute_workflow(
        workflow(search(), regimes, weigh, later, data={"file": "walk.csv", "end": "2000-08-31"}),
        ["later.data.end=2000-10-20"],
    )
    members = result.phase("weigh").output.weights
    assert len(members) >= 4
    for regime in ("calm", "volatile"):
        weights = [member.regimes[regime] for member in members]
        assert sum(weights) == pytest.approx(1.0)
        assert 0.1 - 1e-9 <= min(weights) < max(weights) <= 0.6 + 1e-9
    trials = result.phase("weigh").trials()
    alone, together = trials.iloc[:-1], trials.iloc[-1]
    assert together["max_drawdown"] < alone["max_drawdown"].max()
    assert set(result.phase("later").signals()["strategy"]) == {member.name for member in members}
    assert result.phase("later").fills()["time"].min().isoformat() >= "2000-09-01"


def test_c11_parameters_are_tested_out_of_sample_and_against_luck(coordinator):
    folds = {"train_size": 120, "test_size": 60, "purge_size": 2}
    walk = {"name": "walk", "type": "validation", "walk_forward": folds}
    walk["optimization"] = {"parameters": SPACE}
    luck = {"name": "luck", "type": "analysis", "of": "search", "analysis": {"blocks": 4, "samples": 100}}
    crossed = {**walk, "name": "crossed", "cross_validation": {"folds": 3}}
    del crossed["walk_forward"]
    result = coordinator.execute_workflow(workflow(search(), luck, walk, crossed))
    folds = result.phase("walk").output.folds
    # One account trades all tests, one after the other.
    account = result.phase("walk").equity()
    assert len(account) == 60 * len(folds) == 120
    assert account["time"].iloc[0].isoformat()[:10] == folds[0].test_start[:10]
    assert account["equity"].iloc[-1] == result.phase("walk").metrics["final_equity"]
    assert result.phase("crossed").output.figures["splits"] == 3
    for fold in folds:
        assert fold.train_end < fold.test_start
        dates = {"file": "walk.csv", "start": fold.train_start[:10], "end": fold.train_end[:10]}
        by_hand = coordinator.execute_workflow(workflow(search(), data=dates)).phase("search")
        assert by_hand.best_params == fold.best.parameters
    figures = result.phase("luck").output.figures
    assert figures["trials"] == 6
    assert 0.0 <= figures["deflated_sharpe"] < 0.95
    assert 0.0 <= figures["overfitting_probability"] <= 1.0


def test_d7_what_winners_share_is_mined_stored_and_where_a_later_search_begins(coordinator):
    wide = {"cross.fast": list(range(2, 12)), "cross.slow": list(range(13, 43, 3))}
    first = workflow(search(optimization={"parameters": wide}), name="earlier")
    coordinator.execute_workflow(first)
    patterns = {"name": "patterns", "type": "pattern_discovery"}
    patterns["patterns"] = {"best": 0.25, "runs": "all", "workflow": "earlier"}
    again = search("again", optimization={"parameters": "${patterns.space}"})
    result = coordinator.execute_workflow(workflow(patterns, again))
    output = result.phase("patterns").output
    assert (output.figures["trials"], output.figures["winners"]) == (100, 25)
    rows = coordinator.workspace.read_models.frame("SELECT * FROM patterns")
    assert len(set(rows["pattern"])) == output.figures["patterns"] > 0
    assert (rows["p_value"] <= 0.05).all()
    trials = result.phase("again").trials()
    assert 0 < len(trials) < 100
    for name, values in wide.items():
        assert set(trials[name]) <= set(values)


def test_b4_research_workflows_are_ready_to_run(coordinator):
    ready = "train_test walk_forward cross_validation parameter_sweep risk_sweep monte_carlo regime_analysis "
    ready += "regime_adaptive_ensemble ensemble_optimization signal_quality_research continuous_improvement "
    for name in (ready + "production_deployment").split():
        assert name in templates()
        assert check_workflow(load_workflow(name)).phases
    fewer = ["signals.optimization.parameters={cross.fast: [10], cross.slow: [50]}"]
    research = coordinator.execute_workflow("signal_quality_research", fewer)
    assert "ahead of the drift" in research.phase("quality").output.verdict
    deployment = coordinator.execute_workflow("production_deployment", ["risk.monte_carlo={samples: 100}"])
    assert deployment.phase("deploy").output.best.parameters == {"cross.fast": 50, "cross.slow": 200}


def documented() -> dict[str, str]:
    """The test that docs/mission.md names for each id."""
    text = (ROOT / "docs" / "mission.md").read_text()
    return dict(re.findall(r"^\| ([A-E]\d+) \|.*\| ([^|]+) \|$", text, re.M))


def test_the_document_and_the_tests_name_the_same_rows():
    found = documented()
    assert list(found) == ROWS
    here = {name.upper() for name in re.findall(r"^def test_([a-e]\d+)_", Path(__file__).read_text(), re.M)}
    for row, named in found.items():
        test = named.partition(";")[0]
        if row in TESTED_HERE:
            assert test in (f"test_{row.lower()}", NOT_YET)
            assert (row in here) is (test != NOT_YET), row
        elif test != NOT_YET:
            file, _, name = test.strip("`").partition("::")
            assert f"def {name or 'test_'}" in (ROOT / "tests" / file).read_text(), row
    assert here <= {*TESTED_HERE}
