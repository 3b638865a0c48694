import msgspec
import numpy as np
import pandas as pd
import pytest
from admf.coordinator.audit.explanation import explain
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.market.market_data import load_bars
from admf.coordinator.market.market_log import stored_bars
from admf.coordinator.phases import PHASES, PhaseType
from admf.coordinator.phases.backtest import backtest, plan_backtest
from admf.coordinator.streams.trace_query import TraceQuery
from admf.domain.codes import Stage
from admf.domain.errors import AdmfError
from admf.domain.events import (
    PhaseStageEntered,
    PhaseStarted,
    TrialsCompleted,
)

IDENTITY = ["n", "container", "fold", "segment", "outcome_n", "entry_n", "exit_n"]


def alone(frame, container):
    """The rows of one container, without what tells where they lie."""
    rows = frame[frame["container"] == container]
    rows = rows.drop(columns=[name for name in IDENTITY if name in rows]).reset_index(drop=True)
    return rows.astype(object).where(rows.notna(), None)


def as_backtests(shared, containers):
    """A workflow of one backtest for each container: its dates and its parameters."""
    return shared | {
        "workflow": [
            {
                "name": f"alone_{container}",
                "type": "backtest",
                "data": {"start": str(start.date()), "end": str(end.date())},
                "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": parameters}],
            }
            for container, start, end, parameters in containers
        ]
    }


def assert_same_as_backtests(coordinator, phase, shared):
    trials = phase.trials()
    chosen = [
        (row["container"], row["start_time"], row["end_time"], {"fast": row["cross.fast"], "slow": 21})
        for row in trials.to_dict("records")
    ]
    result = coordinator.execute_workflow(as_backtests(shared, chosen))
    together = {kind: getattr(phase, kind)() for kind in ("signals", "orders", "fills", "trades")}
    for container in trials["container"][trials["segment"] != "stitched"]:
        single = result.phase(f"alone_{container}")
        expected = alone(single.trials(), 0)
        found = alone(trials, container).drop(columns="cross.fast")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
        for kind, frame in together.items():
            expected = alone(getattr(single, kind)(), 0)
            found = alone(frame, container)
            pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
    assert len(together["fills"]) > 5 * len(trials)


@pytest.fixture
def shared(folder):
    return {
        "data": {"file": "walk.csv"},
        "execution": {"commission": {"percent": 0.1}, "slippage": {"bps": 3}},
    }


@pytest.fixture
def search():
    return {
        "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": {"slow": 21}}],
        "optimization": {"parameters": {"cross.fast": [2, 3, 5]}},
    }


def test_every_trial_of_a_grid_is_the_backtest_of_its_parameters(coordinator, shared, search):
    workflow = shared | search | {"workflow": "optimization"}
    phase = coordinator.execute_workflow(workflow).phase("optimization")
    assert_same_as_backtests(coordinator, phase, shared)
    best = phase.output.best
    trials = phase.trials()
    assert best.container == trials["sharpe_ratio"].idxmax()
    assert best.metrics == {name: trials[name][best.container] for name in best.metrics}
    assert phase.output.trials == len(trials) == 3


@pytest.mark.parametrize("mode", ["rolling", "anchored"])
def test_every_fold_is_the_backtest_of_its_dates_and_parameters(coordinator, shared, search, mode):
    folds = {"train_size": 100, "test_size": 45, "purge_size": 2, "mode": mode}
    workflow = shared | search | {"workflow": "validation", "walk_forward": folds}
    phase = coordinator.execute_workflow(workflow).phase("validation")
    assert_same_as_backtests(coordinator, phase, shared)
    trials = phase.trials().set_index("container")
    assert len(phase.output.folds) == 4
    for fold in phase.output.folds:
        trained = trials[(trials["segment"] == "train") & (trials["fold"] == fold.number)]
        assert fold.best.container == trained["sharpe_ratio"].idxmax()
        test = trials.loc[fold.test.container]
        assert (test["segment"], test["fold"]) == ("test", fold.number)
        assert fold.test.parameters == fold.best.parameters
        assert fold.test.metrics["final_equity"] == test["final_equity"]
        assert pd.Timestamp(fold.test_start) - pd.Timestamp(fold.train_end) == pd.Timedelta(days=3)
    (stitched,) = trials.index[trials["segment"] == "stitched"]
    assert phase.output.best.container == stitched
    assert phase.output.metrics["sharpe_ratio"] == trials["sharpe_ratio"][stitched]


def test_folds_without_a_search_test_the_configured_parameters(coordinator, shared, search):
    folds = {"train_size": 100, "test_size": 50}
    strategies = {"strategies": search["strategies"]}
    workflow = shared | strategies | {"workflow": "validation", "walk_forward": folds}
    phase = coordinator.execute_workflow(workflow).phase("validation")
    assert [fold.best for fold in phase.output.folds] == [None] * 4
    assert phase.trials()["segment"].tolist() == ["test"] * 4 + ["stitched"]


def test_the_objective_is_minimized_where_less_is_better_or_it_is_said(coordinator, shared, search):
    for objective, direction, choose in (
        ("max_drawdown", None, "min"),
        ("sharpe_ratio", "minimize", "min"),
        ("max_drawdown", "maximize", "max"),
    ):
        wanted = search["optimization"] | {"objective": objective}
        wanted |= {"direction": direction} if direction else {}
        workflow = shared | search | {"workflow": "optimization", "optimization": wanted}
        phase = coordinator.execute_workflow(workflow).phase("optimization")
        assert phase.output.best.metrics[objective] == getattr(phase.trials()[objective], choose)()


def test_a_search_may_vary_the_size_of_positions(coordinator, shared, search):
    sizes = {"position_sizers": [{"name": "part", "type": "percentage", "percentage": 50}]}
    wanted = {"parameters": {"part.percentage": [10, 80]}, "objective": "exposure"}
    workflow = shared | search | {"workflow": "optimization", "risk": sizes, "optimization": wanted}
    phase = coordinator.execute_workflow(workflow).phase("optimization")
    fills = phase.fills().groupby("container").first()
    assert fills["quantity"][1] == pytest.approx(8 * fills["quantity"][0])


def stages(coordinator, run, phase):
    events = coordinator.workspace.store.read(f"{run}/{phase}", topics=[PhaseStageEntered.__name__])
    return [recorded.event.stage for recorded in events]


def test_the_stages_of_a_phase_are_entered_in_order(coordinator, train_and_test):
    run = coordinator.execute_workflow(train_and_test).run
    for phase in ("training", "out_of_sample"):
        assert stages(coordinator, run, phase) == list(Stage)


def test_a_walk_forward_computes_and_validates_trials_tests_and_the_account_of_all_tests(
    coordinator, shared, search
):
    folds = {"train_size": 100, "test_size": 50}
    run = coordinator.execute_workflow(
        shared | search | {"workflow": "validation", "walk_forward": folds}
    ).run
    start, end = list(Stage)[:2], list(Stage)[4:]
    thrice = [Stage.COMPUTATION, Stage.VALIDATION] * 3
    assert stages(coordinator, run, "validation") == start + thrice + end


def started(coordinator, run, phase):
    (recorded,) = coordinator.workspace.store.read(f"{run}/{phase}", topics=[PhaseStarted.__name__])
    assert (recorded.version, recorded.first) == (1, 1)
    return recorded.event


def test_a_phase_says_what_it_reads_computes_and_runs(coordinator, folder, train_and_test):
    (folder / "mine.py").write_text("def up(close, size=0.5):\n    return close * 0 + size\n")
    second = train_and_test["workflow"][1]
    second["strategies"] = [{"type": "mine.py:up"}, {"type": "rsi"}]
    run = coordinator.execute_workflow(train_and_test).run
    training, testing = (started(coordinator, run, phase) for phase in ("training", "out_of_sample"))
    assert training.features == tuple(f"sma(period={period})" for period in (13, 21, 3, 5, 8))
    assert training.strategies == ("cross",)
    assert testing.features == ("rsi(period=14)",)
    assert testing.strategies == ("up", "rsi")
    assert testing.depends_on == ("training",)
    assert set(training.code) == {"admf"}
    assert set(testing.code) == {"admf", "strategy up"}
    assert len(testing.code["strategy up"]) == 64
    (feed,) = training.feeds
    assert (feed.symbol, feed.timeframe, feed.rows) == ("WALK", "1d", 300)
    assert training.feeds == testing.feeds
    assert msgspec.json.decode(training.configuration)["optimization"]["objective"] == "sharpe_ratio"


def test_bars_are_stored_once_and_can_be_read_back(coordinator, folder, train_and_test):
    store = coordinator.workspace.store
    runs = [coordinator.execute_workflow(train_and_test).run for _ in range(3)]
    bars_streams = {recorded.stream for recorded in store.read_all() if recorded.topic == "BarsLoaded"}
    assert len(bars_streams) == 1
    (feed,) = started(coordinator, runs[0], "training").feeds
    assert {feed.stream} == bars_streams
    assert len(list(store.read(feed.stream))) == 1
    stored, read = stored_bars(store, feed), load_bars(folder / "walk.csv", "WALK", "1d")
    for name in ("time", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(read, name))


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("full", {"SignalsEmitted", "OrdersPlaced", "OrdersFilled", "TrialsCompleted"}),
        ("fills", {"OrdersFilled", "TrialsCompleted"}),
        ("metrics", {"TrialsCompleted"}),
    ],
)
def test_the_log_level_decides_what_is_recorded_and_nothing_else(coordinator, shared, search, level, kept):
    workflow = shared | search | {"workflow": "optimization", "log": level}
    result = coordinator.execute_workflow(workflow)
    phase = result.phase("optimization")
    topics = {recorded.topic for recorded in coordinator.workspace.store.read(phase.stream)}
    control = {"PhaseStarted", "PhaseStageEntered", "PhaseOutputEvent"}
    assert topics == control | kept
    full = coordinator.execute_workflow(workflow | {"log": "full"}).phase("optimization")
    assert phase.output == full.output
    metrics = list(phase.output.metrics)
    pd.testing.assert_frame_equal(phase.trials()[metrics], full.trials()[metrics], check_exact=True)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_can_be_published_after_a_phase(coordinator, shared, search, monkeypatch, fails):
    kept = []

    def leaky(context):
        kept.append(context)
        output = backtest(context)
        if fails:
            raise AdmfError("on purpose")
        return output

    monkeypatch.setitem(PHASES._components, "leaky", PhaseType(plan_backtest, leaky))
    workflow = shared | {"strategies": search["strategies"], "workflow": "leaky"}
    if fails:
        with pytest.raises(AdmfError, match="on purpose"):
            coordinator.execute_workflow(workflow)
    else:
        coordinator.execute_workflow(workflow)
    before = coordinator.workspace.store.last_position()
    with pytest.raises(AdmfError, match="its bus is closed"):
        kept[0].simulate(kept[0].planned)
    assert coordinator.workspace.store.last_position() == before


def test_a_phase_that_simulates_more_than_it_planned_stays_in_order(coordinator, shared, search):
    folds = {"train_size": 100, "test_size": 50}
    workflow = shared | search | {"workflow": "validation", "walk_forward": folds}
    phase = coordinator.execute_workflow(workflow).phase("validation")
    events = coordinator.workspace.store.read(phase.stream, topics=[TrialsCompleted.__name__])
    ids = np.concatenate([recorded.event.container for recorded in events])
    assert ids.tolist() == list(range(3 * 4 + 4 + 1))


def test_stops_partial_fills_and_limits_are_searched_inherited_verified_and_explained(coordinator, folder):
    """A run that uses what orders can do: from the search to the audit of its log."""
    (folder / "stops.yaml").write_text(
        """
data: {file: sp500.csv, start: 2000-01-01, end: 2010-12-31}
capital: 1000000
execution:
  rounding: floor
  end: close
  slippage: {bps: 1, volume_limit: 0.00001, price_impact: 0.1}
  margin: {leverage: 1.5, maintenance: 25}
risk:
  position_sizers: [{name: part, type: volatility, percentage: 20}]
  take_profit: 12
  trailing_stop: 8
  limits: {max_drawdown: 40}
workflow:
  phases:
    - name: search
      type: optimization
      strategies: [{name: cross, type: sma_crossover, parameters: {fast: 10}}]
      optimization: {parameters: {cross.slow: [20, 50], risk.stop_loss: [3, 5]}}
    - {name: out, type: validation, inherit_best_from: search, data: {start: 2011-01-01, end: 2018-12-31}}
"""
    )
    result = coordinator.execute_workflow("stops.yaml")
    store, read_models = coordinator.workspace.store, coordinator.workspace.read_models
    best = result.phase("search").output.best.parameters
    trace = TraceQuery(store)
    inherited = msgspec.json.decode(trace.get_phase_configuration(result.run, "out"))["risk"]
    assert inherited["stop_loss"] == best["risk.stop_loss"]
    types = {kind for (kind,) in read_models.query("SELECT DISTINCT type FROM orders").rows}
    assert {"market", "stop_loss", "take_profit", "trailing_stop", "risk_halt"} <= types
    (orders, placed), (parts, filled) = read_models.query(
        "SELECT count(*), (SELECT count(*) FROM data.orders) FROM orders "
        "UNION ALL SELECT count(*), count(DISTINCT (phase, container, order_number)) FROM fills"
    ).rows
    assert orders == placed
    assert parts > filled
    assert verify_workspace(coordinator.workspace).violations == ()
    (n,) = read_models.query(
        "SELECT min(outcome_n) FROM orders WHERE type = 'stop_loss' AND status = 'filled' AND phase = 'out'"
    ).rows[0]
    order = explain(store, f"{result.run}/out#{n}").causes[0]
    assert order.values["type"] == "stop_loss"
    assert order.causes[0].title == "stop loss at bar"
    (replay,) = coordinator.replay_workflow(result.run, phase="out")
    assert replay.outcome == "identical"
