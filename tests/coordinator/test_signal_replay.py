"""Phases that follow the signals of an earlier phase, and run only portfolio, risk and execution."""

import pandas as pd
import pytest
from admf.coordinator.audit.account_explanation import explain_trade
from admf.coordinator.audit.explanation import explain
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.streams.trace_query import TraceQuery
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.events import PhaseStarted, SignalsEmitted

COUNTED = """
import numpy as np
from admf import strategy, feature

@strategy(features={"average": feature("sma", period="period")}, parameters={"period": 10})
def counted(close, average):
    with open("calls.txt", "a") as calls:
        calls.write(".")
    return np.where(close > average, 1.0, -0.5)
"""
PRICED = """
import numpy as np
from admf.domain.strategies import Signals

def priced(close, step=5):
    turn = np.arange(close.size) // step % 3
    target = np.where(turn == 0, 1.0, np.where(turn == 1, 0.0, -1.0))
    return Signals(target, limit=close * (1 - target * 0.005), stop_loss=close * (1 - target * 0.04))
"""
RISK = {"position_sizers": [{"name": "part", "type": "percentage", "percentage": 80}], "stop_loss": 4}
SETTINGS = {"risk.stop_loss": [0, 3, 8], "part.percentage": [30, 80]}
IDENTITY = ["n", "phase", "container", "run", "stream"]


@pytest.fixture
def training(folder):
    """A search with two strategies of unequal weight, in shards of two containers."""
    return {
        "data": {"file": str(folder / "walk.csv")},
        "execution": {"commission": {"percent": 0.1}, "slippage": {"bps": 2}},
        "risk": RISK,
        "workflow": [
            {
                "name": "training",
                "type": "optimization",
                "shard_size": 2,
                "strategies": [
                    {"name": "cross", "type": "sma_crossover", "weight": 0.7},
                    {"name": "momentum", "type": "momentum", "weight": 0.3, "direction": "long"},
                ],
                "optimization": {"parameters": {"cross.fast": [3, 5, 8], "cross.slow": [13, 21]}},
            }
        ],
    }


@pytest.fixture
def followed(training):
    """Add a phase that follows the signals of the search."""

    def added(**stated):
        phase = {"name": "risk", "type": "signal_replay", "signals_from": "training", **stated}
        return training | {"workflow": [*training["workflow"], phase]}

    return added


def of_container(frame, container):
    rows = frame[frame["container"] == container].reset_index(drop=True)
    return rows.drop(columns=[name for name in IDENTITY if name in rows])


def assert_same(first, second):
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_with_the_same_risk_every_order_and_fill_is_that_of_the_phase_it_follows(coordinator, followed):
    result = coordinator.execute_workflow(followed(trials="all"))
    training, risk = result.phase("training"), result.phase("risk")
    assert len(training.fills()) > 100
    for kind in ("orders", "fills", "trades"):
        first, second = getattr(training, kind)(), getattr(risk, kind)()
        different = [name for name in first if name in ("n", "phase") or name.endswith("_n")]
        assert_same(first.drop(columns=different), second.drop(columns=different))
    trials = risk.trials()
    assert trials["source_container"].tolist() == training.trials()["container"].tolist()
    assert_same(trials.drop(columns=["n", "source_container"]), training.trials().drop(columns="n"))


def test_no_strategy_is_called_and_no_feature_computed(coordinator, folder, training):
    (folder / "mine.py").write_text(COUNTED)
    search = training["workflow"][0] | {
        "strategies": [{"name": "mine", "type": str(folder / "mine.py:counted")}],
        "optimization": {"parameters": {"mine.period": [5, 10, 20]}},
    }
    sweep = {
        "name": "risk",
        "type": "signal_replay",
        "signals_from": "training",
        "trials": "all",
        "optimization": {"parameters": SETTINGS},
    }
    alone = coordinator.execute_workflow(training | {"workflow": [search]})
    calls = len((folder / "calls.txt").read_text())
    assert calls == 3
    result = coordinator.execute_workflow(training | {"workflow": [search, sweep]}, cache=False)
    assert len((folder / "calls.txt").read_text()) == 2 * calls
    assert result.phase("training").head_hash == alone.phase("training").head_hash
    assert len(result.phase("risk").trials()) == 18
    store = coordinator.workspace.store
    (started,) = (each.event for each in store.read(f"{result.run}/risk", topics=(PhaseStarted.__name__,)))
    assert started.features == ()
    assert not list(store.read(f"{result.run}/risk", topics=(SignalsEmitted.__name__,)))


def test_a_sweep_over_risk_is_the_search_that_computes_everything_anew(coordinator, followed, training):
    sweep = {"optimization": {"parameters": SETTINGS}}
    result = coordinator.execute_workflow(followed(**sweep))
    best = result.phase("training").output.best
    strategies = [
        each | {"parameters": {"fast": best.parameters["cross.fast"], "slow": best.parameters["cross.slow"]}}
        if each["name"] == "cross"
        else each
        for each in training["workflow"][0]["strategies"]
    ]
    anew = training | sweep | {"workflow": "optimization", "strategies": strategies}
    expected = coordinator.execute_workflow(anew).phase("optimization")
    found = result.phase("risk")
    names = ["n", "source_container", "cross.fast", "cross.slow"]
    assert set(found.trials()["source_container"]) == {best.container}
    assert_same(found.trials().drop(columns=names), expected.trials().drop(columns="n"))
    assert found.output.best.container == expected.output.best.container
    assert {name: found.output.best.parameters[name] for name in SETTINGS} == expected.output.best.parameters


def test_the_best_trials_are_those_of_the_objective_of_the_phase_they_come_from(coordinator, followed):
    result = coordinator.execute_workflow(followed(trials={"top": 2}))
    ranked = result.phase("training").trials().sort_values("sharpe_ratio", ascending=False)["container"]
    assert result.phase("risk").trials()["source_container"].tolist() == sorted(ranked[:2])
    chosen = coordinator.execute_workflow(followed()).phase("risk")
    assert chosen.trials()["source_container"].tolist() == [ranked.iloc[0]]
    assert chosen.output.best.parameters["source_container"] == ranked.iloc[0]


def test_risk_may_be_searched_by_a_sampler(coordinator, followed):
    space = {"risk.stop_loss": {"low": 1.0, "high": 9.0}, "part.percentage": {"low": 10, "high": 90}}
    search = {"algorithm": "random", "trials": 7, "batch": 3, "parameters": space}
    result = coordinator.execute_workflow(followed(optimization=search))
    trials = result.phase("risk").trials()
    assert len(trials) == trials["risk.stop_loss"].nunique() == 7
    assert result.phase("risk").output.best.container == trials["sharpe_ratio"].idxmax()
    assert [each.outcome for each in coordinator.replay_workflow(result.run)] == ["identical"] * 2
    assert verify_workspace(coordinator.workspace, result.run).violations == ()
    with pytest.raises(ConfigurationError, match=r"'random' follows the signals of one trial, .* names 6"):
        coordinator.execute_workflow(followed(optimization=search, trials="all"))


def test_later_phases_inherit_strategies_and_risk_from_it(coordinator, followed):
    workflow = followed(optimization={"parameters": SETTINGS, "objective": "max_drawdown"})
    workflow["workflow"].append({"name": "again", "type": "backtest", "inherit_best_from": "risk"})
    result = coordinator.execute_workflow(workflow)
    best = result.phase("risk").output.best
    assert best.metrics == result.phase("again").output.metrics
    assert_same(
        of_container(result.phase("risk").fills(), best.container),
        of_container(result.phase("again").fills(), 0),
    )


def test_order_prices_of_strategies_are_followed_too(coordinator, folder, training):
    (folder / "mine.py").write_text(PRICED)
    search = training["workflow"][0] | {
        "strategies": [{"name": "mine", "type": str(folder / "mine.py:priced")}],
        "optimization": {"parameters": {"mine.step": [4, 7]}},
    }
    phases = [search, {"name": "risk", "type": "signal_replay", "signals_from": "training", "trials": "all"}]
    result = coordinator.execute_workflow(training | {"workflow": phases})
    first, second = (result.phase(name).orders() for name in ("training", "risk"))
    assert {"limit", "take_profit", "stop_loss"} & set(first["type"]) >= {"limit", "stop_loss"}
    different = [name for name in first if name in ("n", "phase") or name.endswith("_n")]
    assert_same(first.drop(columns=different), second.drop(columns=different))


def test_signals_in_several_symbols_are_followed_each_in_its_own(coordinator, write_walk, folder, training):
    write_walk(folder / "other.csv", bars=250, seed=2)
    search = training["workflow"][0]
    strategies = [search["strategies"][0] | {"symbols": ["B"]}, search["strategies"][1]]
    risk = {"name": "risk", "type": "signal_replay", "signals_from": "training", "trials": "all"}
    workflow = training | {
        "data": {"files": {"A": str(folder / "walk.csv"), "B": str(folder / "other.csv")}},
        "workflow": [search | {"strategies": strategies}, risk],
    }
    result = coordinator.execute_workflow(workflow)
    first, second = (result.phase(name).fills() for name in ("training", "risk"))
    assert set(first["symbol"]) == {"A", "B"}
    assert_same(first.drop(columns="n"), second.drop(columns="n"))
    assert verify_workspace(coordinator.workspace, result.run).violations == ()


def test_other_execution_capital_and_weights_are_its_own(coordinator, followed, training):
    strategies = [each | {"weight": 0.5} for each in training["workflow"][0]["strategies"]]
    own = {"capital": 5_000, "execution": {"fill": "same_close"}, "strategies": strategies}
    result = coordinator.execute_workflow(followed(**own))
    best = result.phase("training").output.best.parameters
    cross = strategies[0] | {"parameters": {"fast": best["cross.fast"], "slow": best["cross.slow"]}}
    anew = training | own | {"workflow": "backtest", "strategies": [cross, strategies[1]]}
    anew["execution"] = training["execution"] | own["execution"]
    expected = coordinator.execute_workflow(anew).phase("backtest")
    assert_same(of_container(result.phase("risk").fills(), 0), of_container(expected.fills(), 0))


def test_a_fork_follows_the_signals_of_the_run_that_it_comes_from(coordinator, followed, heads):
    first = coordinator.execute_workflow(followed(optimization={"parameters": SETTINGS}))
    change = "risk.execution.commission.percent=0.5"
    second = coordinator.fork_workflow(first.run, "risk", [change])
    expected = coordinator.execute_workflow(followed(optimization={"parameters": SETTINGS}), [change])
    assert heads(second) == heads(expected)
    assert heads(second)["training"] == heads(first)["training"]
    assert heads(second)["risk"] != heads(first)["risk"]
    assert [each.outcome for each in coordinator.replay_workflow(second.run)] == ["reused", "identical"]
    assert verify_workspace(coordinator.workspace, second.run).violations == ()
    steps = walked(explain_trade(coordinator.workspace.store, f"{second.run}/risk", 2, 1))
    assert any(step.address.startswith(f"{first.run}/training#") for step in steps)


def walked(explanation):
    return [explanation, *(step for cause in explanation.causes for step in walked(cause))]


def test_a_fill_is_explained_by_the_signal_of_the_earlier_phase(coordinator, followed):
    result = coordinator.execute_workflow(followed(trials={"top": 2}, optimization={"parameters": SETTINGS}))
    store, fills = coordinator.workspace.store, result.phase("risk").fills()
    last = fills.iloc[-1]
    steps = walked(explain(store, f"{result.run}/risk#{last['n']}"))
    assert [step.title for step in steps[:2]] == ["fill", "order"]
    signals = [step for step in steps if step.title.startswith("signal of")]
    followed_one = (
        result.phase("risk").trials().set_index("container").loc[last["container"], "source_container"]
    )
    assert {step.values["container"] for step in signals} == {followed_one}
    for step in signals:
        stream, _, number = step.address.rpartition("#")
        assert stream == TraceQuery(store).stream(result.run, "training")
        assert store.event_at(stream, int(number)).topic == SignalsEmitted.__name__
    assert any(step.title.startswith("feature fast = sma") for step in steps)


@pytest.mark.parametrize(
    ("stated", "error", "message"),
    [
        ({"trials": "some"}, ConfigurationError, "trials"),
        ({"trials": {"top": 0}}, ConfigurationError, "trials"),
        ({"optimization": {"parameters": {"cross.fast": [3]}}}, UnknownNameError, "part.percentage"),
        ({"data": {"end": "2000-06-30"}}, ConfigurationError, "risk.data: must be that of 'training'"),
        (
            {"strategies": [{"name": "other", "type": "sma_crossover"}]},
            ConfigurationError,
            r"risk.strategies: must be those of 'training', .* \(cross, momentum\), were other",
        ),
        (
            {"walk_forward": {"train_size": 9, "test_size": 9}},
            ConfigurationError,
            "does not use walk_forward",
        ),
        ({"inherit_best_from": "training"}, ConfigurationError, "state one of the two"),
    ],
)
def test_what_does_not_fit_the_earlier_phase_is_refused(coordinator, followed, stated, error, message):
    with pytest.raises(error, match=message):
        coordinator.execute_workflow(followed(**stated))


def test_a_phase_without_signals_is_refused(coordinator, followed):
    workflow = followed(log="full")
    with pytest.raises(ConfigurationError, match="'training' must log its signals; give it `log: full`"):
        coordinator.execute_workflow(workflow, ["training.log=fills"])
    training, risk = workflow["workflow"]
    del risk["signals_from"]
    alone = risk | {"strategies": training["strategies"]}
    with pytest.raises(ConfigurationError, match="signals_from must name the phase whose signals it follows"):
        coordinator.execute_workflow(workflow | {"workflow": [alone]})


def test_a_phase_with_folds_or_without_signals_of_its_own_is_refused(coordinator, followed):
    workflow = followed()
    last = {"name": "again", "type": "signal_replay", "signals_from": "risk"}
    with pytest.raises(ConfigurationError, match="name the phase that emitted them, 'training'"):
        coordinator.execute_workflow(workflow | {"workflow": [*workflow["workflow"], last]})
    folds = workflow["workflow"][0] | {
        "type": "validation",
        "walk_forward": {"train_size": 100, "test_size": 50},
    }
    with pytest.raises(ConfigurationError, match="'training' has folds"):
        coordinator.execute_workflow(workflow | {"workflow": [folds, workflow["workflow"][1]]})
    plain = {"name": "risk", "type": "backtest", "signals_from": "training"}
    with pytest.raises(ConfigurationError, match="of type 'signal_replay'"):
        coordinator.execute_workflow(workflow | {"workflow": [workflow["workflow"][0], plain]})
