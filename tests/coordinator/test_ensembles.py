"""Ensembles weigh earlier trials by their own returns, and apply the weights on the way to the target."""

from io import StringIO

import msgspec
import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.explanation import explain
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.commands.run_report import detail_screen
from admf.coordinator.streams.stream_writer import StreamWriter
from admf.coordinator.streams.trace_query import TraceQuery
from admf.domain.ensembles.weights import WeightRule, ensemble_weights
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.events import PhaseCompleted, WeightsFitted
from admf.eventstore.record import Head
from rich.console import Console

CLASSIFIER = {"type": "volatility", "window": 10}


@pytest.fixture
def weighed(folder):
    """Make a workflow of a search, its analysis by regime, an ensemble, and that on later bars."""

    def workflow(asked=None, **phase):
        return {
            "name": "weighed",
            "data": {"file": str(folder / "walk.csv"), "start": "2000-02-01", "end": "2000-08-31"},
            "execution": {"commission": {"percent": 0.05}},
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "strategies": [{"name": "cross", "type": "sma_crossover"}],
                    "optimization": {"parameters": {"cross.fast": [2, 3, 5], "cross.slow": [8, 13, 21]}},
                    "shard_size": 4,
                },
                {
                    "name": "regimes",
                    "type": "regime_analysis",
                    "of": "search",
                    "classifier": CLASSIFIER,
                    "minimum_bars": 20,
                    "minimum_trades": 3,
                },
                {
                    "name": "ensemble",
                    "type": "ensemble",
                    "signals_from": "search",
                    "trials": {"top": 3},
                    "regimes": "regimes",
                    "minimum_bars": 20,
                    "ensemble": {"method": "min_drawdown", "max_weight": 0.7, "per_regime": True}
                    | (asked or {}),
                }
                | phase,
                {
                    "name": "later",
                    "type": "validation",
                    "ensemble_from": "ensemble",
                    "data": {"start": "2000-09-01"},
                },
            ],
        }

    return workflow


def returns_of(phase, container):
    worth = np.r_[100_000.0, phase.equity(container)["equity"].to_numpy()]
    return np.diff(worth) / worth[:-1]


def known_regimes(coordinator, phase, bars):
    sql = f"SELECT bar, name FROM regimes WHERE phase = '{phase}'"
    label = {int(bar): name for bar, name in coordinator.workspace.read_models.query(sql).rows}
    return np.array([label.get(bar - 1, "") for bar in bars.tolist()])


def test_weights_are_those_of_the_members_returns_in_each_regime(coordinator, weighed):
    phase = coordinator.execute_workflow(weighed()).phase("ensemble")
    members = phase.output.weights
    assert [member.container for member in members] == [*range(len(members))]
    returns = np.stack([returns_of(phase, member.container) for member in members], axis=1)
    rule = WeightRule("min_drawdown", 0.0, 0.7)
    assert [member.weight for member in members] == pytest.approx(ensemble_weights(returns, rule), abs=1e-6)
    known = known_regimes(coordinator, "ensemble", phase.equity(0)["bar"].to_numpy())
    for regime in ("calm", "volatile"):
        own = ensemble_weights(returns[known == regime], rule)
        assert [member.regimes[regime] for member in members] == pytest.approx(own, abs=1e-6)
    assert len({tuple(member.regimes.values()) for member in members}) > 1


def test_members_are_the_top_trials_and_the_best_of_each_regime(coordinator, weighed):
    result = coordinator.execute_workflow(weighed(trials={"top": 2}))
    search, analysis = result.phase("search"), result.phase("regimes").output
    trials = search.trials().sort_values(["sharpe_ratio", "container"], ascending=[False, True])
    expected = {*trials["container"][:2].tolist(), *(regime.best.container for regime in analysis.regimes)}
    members = result.phase("ensemble").output.weights
    assert [member.source for member in members] == sorted(expected)
    for member in members:
        assert member.name == f"cross_{member.source}"
        alone = returns_of(result.phase("ensemble"), member.container)
        assert alone.tolist() == returns_of(search, member.source).tolist()


def test_the_target_is_at_each_bar_the_sum_of_signals_times_their_weight_in_the_regime(coordinator, weighed):
    result = coordinator.execute_workflow(weighed({"method": "max_sharpe", "max_weight": 1.0}, trials="all"))
    members = {member.name: member for member in result.phase("ensemble").output.weights}
    query, switched = coordinator.workspace.read_models.query, 0
    for name, container in (("ensemble", len(members)), ("later", 0)):
        where = f"WHERE phase = '{name}' AND container = {container} ORDER BY n"
        signals = query(f"SELECT bar, strategy, target FROM signals {where}").rows
        label = dict(query(f"SELECT bar, name FROM regimes WHERE phase = '{name}'").rows)
        # A target on the other side of zero takes two orders: the first one closes.
        orders, ordered = dict(query(f"SELECT bar, target FROM orders {where}").rows), 0.0
        for bar in range(min(orders), max(label) + 1):
            ordered = orders.get(bar, ordered)
            held = {strategy: wish for at, strategy, wish in signals if at <= bar}
            now, before = (
                sum(members[each].regimes[regime] * wish for each, wish in held.items())
                for regime in (label[bar], label[bar - 1])
            )
            assert ordered == pytest.approx(now, abs=1e-11)
            switched += abs(now - before) > 0.01
    assert switched > 5


def test_out_of_sample_in_its_own_period_it_is_the_same_portfolio(coordinator, weighed):
    workflow = weighed()
    workflow["workflow"][3]["data"] = {"start": "2000-02-01", "end": "2000-08-31"}
    result = coordinator.execute_workflow(workflow)
    whole, again = result.phase("ensemble").output, result.phase("later").output
    assert again.best.metrics == whole.best.metrics
    assert again.regimes == whole.regimes


def test_later_bars_change_nothing_in_weights_and_regimes(coordinator, weighed, folder, write_walk):
    write_walk(folder / "longer.csv", bars=500)
    found = []
    for file in ("walk.csv", "longer.csv"):
        workflow = weighed()
        workflow["data"]["file"] = str(folder / file)
        found.append(coordinator.execute_workflow(workflow).phase("ensemble").output)
    assert found[0] == found[1]


def test_strategies_of_two_searches_share_one_portfolio(coordinator, weighed, heads):
    workflow = weighed({"method": "inverse_volatility", "per_regime": False})
    search, _, ensemble, later = workflow["workflow"]
    other = search | {
        "name": "other",
        "strategies": [{"name": "rsi", "type": "rsi"}, {"name": "turn", "type": "mean_reversion"}],
        "optimization": {"parameters": {"rsi.period": [3, 6], "turn.threshold": [0.5, 1.0]}},
    }
    del ensemble["regimes"]
    ensemble["signals_from"] = ["search", "other"]
    workflow["workflow"] = [search, other, ensemble, later]
    result = coordinator.execute_workflow(workflow)
    members = result.phase("ensemble").output.weights
    assert [member.phase for member in members] == ["search"] * 3 + ["other"] * 3
    assert members[4].name == f"rsi_{members[4].source}+turn_{members[4].source}"
    assert sum(member.weight for member in members) == pytest.approx(1.0)
    best = result.phase("ensemble").output.best.parameters
    assert best[f"weight.rsi_{members[4].source}"] == pytest.approx(members[4].weight / 2)
    alone = returns_of(result.phase("ensemble"), 4)
    assert alone.tolist() == returns_of(result.phase("other"), members[4].source).tolist()
    stream = result.phase("later").stream
    assert set(TraceQuery(coordinator.workspace.store).summary(stream)) > {"SignalsEmitted", "OrdersFilled"}


def test_a_fork_fits_anew_and_references_reach_a_weight(coordinator, weighed, heads):
    result = coordinator.execute_workflow(weighed({"per_regime": False}))
    fork = coordinator.fork_workflow(result.run, "ensemble", ["ensemble.ensemble.method=equal"])
    assert {member.weight for member in fork.phase("ensemble").output.weights} == {
        1.0 / len(fork.phase("ensemble").output.weights)
    }
    name = result.phase("ensemble").output.weights[0].name
    workflow = weighed({"per_regime": False})
    workflow["workflow"][3]["when"] = f"ensemble.weights.{name}.weight > 2"
    reason = coordinator.execute_workflow(workflow).phase("later").reason
    assert reason.startswith(f"when ensemble.weights.{name}.weight > 2 does not hold")


def test_weights_are_events(coordinator, weighed):
    phase = coordinator.execute_workflow(weighed()).phase("ensemble")
    (recorded,) = TraceQuery(coordinator.workspace.store).events(phase.stream, WeightsFitted.__name__)
    members, event = phase.output.weights, recorded.event
    assert event.regime.tolist() == [-1] * len(members) + [0] * len(members) + [1] * len(members)
    assert event.weight.tolist() == [
        *(member.weight for member in members),
        *(member.regimes["calm"] for member in members),
        *(member.regimes["volatile"] for member in members),
    ]


def test_the_table_of_weights_has_members_and_regimes(coordinator, weighed):
    members = coordinator.execute_workflow(weighed()).phase("ensemble").output.weights
    rows = coordinator.workspace.read_models.query("FROM weights ORDER BY n").records()
    assert [(row["name"], row["member"], row["weight"]) for row in rows] == [
        (name, member.name, member.weight if name is None else member.regimes[name])
        for name in (None, "calm", "volatile")
        for member in members
    ]
    assert {row["source_container"] for row in rows} == {member.source for member in members}
    assert '"cross.fast"' in rows[0]["parameters"]


def test_an_order_is_explained_by_signals_with_their_weights_and_by_the_regime(coordinator, weighed):
    result = coordinator.execute_workflow(weighed({"method": "max_sharpe"}, trials="all"))
    ensemble = result.phase("ensemble")
    orders = "SELECT n, target FROM orders WHERE phase = 'later' AND target <> 0 ORDER BY n"
    for number, target in coordinator.workspace.read_models.query(orders).rows:
        explained = explain(coordinator.workspace.store, f"{result.phase('later').stream}#{number}")
        *signals, regime = explained.causes
        weights = {member.name: member.regimes[regime.values["name"]] for member in ensemble.output.weights}
        assert {
            cause.title.removeprefix("signal of "): cause.values["weight"] for cause in signals
        } == weights
        assert sum(cause.values["weight"] * cause.values["target"] for cause in signals) == pytest.approx(
            target
        )
        shown = coordinator.workspace.store.event_at(*split(regime.address))
        assert shown.topic == "RegimesClassified"


def split(address):
    stream, _, number = address.rpartition("#")
    return stream, int(number)


def test_other_risk_over_an_ensemble_has_its_weights(coordinator, weighed):
    workflow = weighed()
    workflow["workflow"][3:] = [
        {"name": "risk", "type": "signal_replay", "signals_from": "ensemble"},
        {"name": "stops", "type": "signal_replay", "signals_from": "ensemble", "risk": {"stop_loss": 2}},
    ]
    result = coordinator.execute_workflow(workflow)
    ensemble, risk, stops = (result.phase(name).output.best.metrics for name in ("ensemble", "risk", "stops"))
    assert risk == ensemble
    assert stops != ensemble
    orders = "SELECT n FROM orders WHERE phase = 'risk' AND target <> 0 ORDER BY n LIMIT 1"
    ((number,),) = coordinator.workspace.read_models.query(orders).rows
    explained = explain(coordinator.workspace.store, f"{result.phase('risk').stream}#{number}")
    assert "weight" in explained.causes[0].values


def test_verification_fits_weights_again(coordinator, weighed):
    coordinator.execute_workflow(weighed())
    with Coordinator("memory://") as forged:
        writers = {}
        for stored in coordinator.workspace.store.read_all():
            event, stream = stored.event, stored.stream
            if isinstance(event, WeightsFitted):
                event = msgspec.structs.replace(event, weight=event.weight[::-1].copy())
            elif isinstance(event, PhaseCompleted):
                end = writers[event.stream].head.content_hash.hex()
                event = msgspec.structs.replace(event, head_hash=end)
            writer = writers.setdefault(stream, StreamWriter(forged.workspace.store, Head(stream)))
            writer.append([event], stored.causation_id)
        violations = verify_workspace(forged.workspace).violations
        assert [violation.rule for violation in violations] == ["output"]
        assert "weight must be" in violations[0].message


def test_the_screen_and_the_summary_show_weights(coordinator, weighed):
    result = coordinator.execute_workflow(weighed())
    console = Console(width=120, record=True, file=StringIO())
    for part in detail_screen(coordinator.workspace, result):
        console.print(part)
    shown = console.export_text()
    for member in result.phase("ensemble").output.weights:
        assert f"{member.name} " in shown
        assert f"{member.regimes['calm']:.2%}" in shown
        assert f"{member.name:<14} weight {member.weight:.2%}" in result.summary()


@pytest.mark.parametrize("name", ["regime_adaptive_ensemble", "ensemble_optimization"])
def test_the_templates_run(coordinator, name):
    short = ["discovery.optimization.parameters={cross.fast: [3, 8], cross.slow: [20, 50]}"]
    result = coordinator.execute_workflow(name, short if name.startswith("regime") else ())
    assert {phase.status for phase in result.phases.values()} == {"completed"}
    for phase in result.phases.values():
        if phase.type == "ensemble":
            assert sum(member.weight for member in phase.output.weights) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("asked", "phase", "error", "said"),
    [
        (
            {"max_weight": 0.1},
            {},
            ConfigurationError,
            "'ensemble'.ensemble.max_weight: . members of at most 0.1",
        ),
        ({"method": "max_sharp"}, {}, ConfigurationError, "max_sharpe"),
        ({}, {"regimes": None}, ConfigurationError, "regimes: PHASE"),
        ({}, {"regimes": "search"}, ConfigurationError, "must be a phase of type 'regime_analysis'"),
        ({}, {"regimes": "regime"}, UnknownNameError, "Did you mean regimes?"),
        ({}, {"log": "metrics"}, ConfigurationError, "give it `log: fills`"),
        ({}, {"data": {"end": "2000-07-31"}}, ConfigurationError, "must be that of 'search'"),
    ],
)
def test_what_can_not_be_carried_out_is_refused(coordinator, weighed, asked, phase, error, said):
    with pytest.raises(error, match=said):
        coordinator.execute_workflow(weighed(asked, **phase))


def test_weights_by_regime_of_ones_own_need_a_classifier_and_names_that_it_has(coordinator, folder):
    workflow = {
        "name": "own",
        "data": {"file": str(folder / "walk.csv"), "start": "2000-03-01"},
        "workflow": [
            {
                "name": "test",
                "type": "backtest",
                "strategies": [{"type": "rsi", "weight": 0.5, "weights": {"volatile": 0.0}}],
            }
        ],
    }
    with pytest.raises(ConfigurationError, match="weights by regime need a classifier"):
        coordinator.execute_workflow(workflow)
    (test,) = workflow["workflow"]
    test["classifier"] = CLASSIFIER | {"type": "trend"}
    with pytest.raises(UnknownNameError, match="volatile"):
        coordinator.execute_workflow(workflow)
    test["classifier"] = CLASSIFIER | {"fit": {"end": "2000-05-31"}}
    coordinator.execute_workflow(workflow)
    query = coordinator.workspace.read_models.query
    targets = "SELECT o.target, r.name FROM orders o JOIN regimes r USING (run, phase, bar)"
    found = {(abs(target), name) for target, name in query(targets).rows}
    assert found == {(0.0, "volatile"), (0.0, "calm"), (0.5, "calm")}
