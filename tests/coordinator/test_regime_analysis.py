"""Analyses of regimes classify bars without looking ahead, and read the trials of an earlier phase."""

import msgspec
import numpy as np
import pytest
from admf.coordinator.audit.explanation import explain
from admf.coordinator.audit.phase_audit import PhaseAudit
from admf.coordinator.market.market_log import MarketLog
from admf.coordinator.streams.trace_query import TraceQuery
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.events import RegimesClassified


@pytest.fixture
def classified(folder):
    """Make a workflow of a search and its analysis by regime."""

    def workflow(file="walk.csv", **asked):
        return {
            "name": "classified",
            "data": {"file": str(folder / file), "start": "2000-02-01"},
            "execution": {"commission": {"percent": 0.05}},
            "metrics": {"bars_per_year": 252},
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
                    "classifier": {"type": "volatility", "window": 10, "fit": {"end": "2000-07-31"}},
                    "minimum_bars": 20,
                    "minimum_trades": 3,
                }
                | asked,
            ],
        }

    return workflow


def test_figures_by_regime_are_those_of_equity_and_trades(coordinator, classified):
    result = coordinator.execute_workflow(classified())
    search, output = result.phase("search"), result.phase("regimes").output
    rows = coordinator.workspace.read_models.query("SELECT bar, name FROM regimes ORDER BY n").rows
    sql = "SELECT container, entry_bar, exit_bar, pnl FROM trades WHERE phase = 'search'"
    opened = coordinator.workspace.read_models.query(sql).rows
    label = {int(bar): name for bar, name in rows}
    equity = [search.equity(container) for container in range(search.output.trials)]
    bars = equity[0]["bar"].to_numpy()
    assert set(label) == set(range(bars[0] - 1, bars[-1] + 1))
    assert [regime.name for regime in output.regimes] == ["calm", "volatile"]
    for regime in output.regimes:
        inside = np.array([label[bar - 1] == regime.name for bar in bars.tolist()])
        assert regime.bars == inside.sum() >= 20
        found = {}
        for container, curve in enumerate(equity):
            worth = np.r_[100_000.0, curve["equity"].to_numpy()]
            returns = (np.diff(worth) / worth[:-1])[inside]
            profits = [
                pnl if ended is not None else None
                for row, bar, ended, pnl in opened
                if row == container and label[bar - 1] == regime.name
            ]
            found[container] = (returns.mean() / returns.std(ddof=1) * np.sqrt(252), returns, profits)
        chosen = max((row for row in found if len(found[row][2]) >= 3), key=lambda row: found[row][0])
        assert regime.best.container == chosen
        ratio, returns, profits = found[chosen]
        assert regime.best.metrics["trades"] == len(profits)
        closed = [profit for profit in profits if profit is not None]
        assert regime.best.metrics["win_rate"] == pytest.approx(np.mean(np.array(closed) > 0))
        worth = np.cumprod(np.r_[1, 1 + returns])
        drawdown = max(1 - worth[end] / worth[: end + 1].max() for end in range(worth.size))
        assert regime.best.metrics["max_drawdown"] == pytest.approx(drawdown)
        assert regime.best.metrics["total_return"] == pytest.approx(np.prod(1 + returns) - 1)
        assert regime.best.metrics["sharpe_ratio"] == pytest.approx(ratio)
        assert regime.metrics["trades"] == len(found[search.output.best.container][2])
        assert output.figures[f"{regime.name}.trades"] == regime.metrics["trades"]
    assert output.best == search.output.best
    assert output.verdict in result.summary()


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("volatility", lambda seen: seen["volatility"] >= seen["edge_1"]),
        ("hmm", lambda seen: seen["probability_volatile"] > seen["probability_calm"]),
    ],
)
def test_a_regime_is_walked_back_to_what_its_bar_was_classified_by(coordinator, classified, kind, asked):
    asked_for = {"type": kind, "fit": {"end": "2000-07-31"}}
    result = coordinator.execute_workflow(classified(classifier=asked_for))
    sql = "SELECT n, bar, name FROM regimes ORDER BY n"
    rows = coordinator.workspace.read_models.query(sql).rows
    assert {name for *_, name in rows} == {"calm", "volatile"}
    for number, bar, name in rows[::10]:
        found = explain(coordinator.workspace.store, f"{result.run}/regimes#{number}")
        classifier, decided = found.causes
        assert (found.values["bar"], found.values["name"]) == (bar, name)
        assert asked(classifier.values) == (name == "volatile")
        assert decided.values["bar"] == bar


def test_what_there_is_too_little_of_is_said_and_has_no_best(coordinator, classified):
    few = coordinator.execute_workflow(classified(minimum_trades=1000)).phase("regimes").output
    assert [regime.best for regime in few.regimes] == [None, None]
    assert "at least 1,000 are wanted" in few.regimes[0].shortfall
    assert "calm: too few trades" in few.verdict
    short = coordinator.execute_workflow(classified(minimum_bars=5000)).phase("regimes").output
    assert short.regimes[1].shortfall == (f"too few bars: {short.regimes[1].bars}, at least 5,000 are wanted")


@pytest.mark.parametrize("kind", ["hmm", "trend", "pattern"])
def test_bars_after_the_period_change_nothing(coordinator, classified, folder, write_walk, kind):
    write_walk(folder / "longer.csv", bars=400)
    period = {"start": "2000-02-01", "end": "2000-09-30"}
    heads = []
    for file in ("walk.csv", "longer.csv"):
        workflow = classified(file, classifier={"type": kind, "fit": {"end": "2000-07-31"}})
        workflow["data"] |= period
        output = coordinator.execute_workflow(workflow).phase("regimes").output
        heads.append(msgspec.json.encode(output))
    assert heads[0] == heads[1]


def test_a_fork_classifies_anew_and_a_later_phase_takes_the_parameters(coordinator, classified, heads):
    workflow = classified()
    fast = "${regimes.regimes.volatile.best.parameters.cross.fast}"
    workflow["workflow"].append(
        {
            "name": "test",
            "type": "backtest",
            "strategies": [{"type": "sma_crossover", "parameters": {"fast": fast, "slow": 30}}],
        }
    )
    result = coordinator.execute_workflow(workflow)
    started = result.phase("regimes").output.regimes[1].best.parameters["cross.fast"]
    assert f'"fast":{started}' in TraceQuery(coordinator.workspace.store).get_phase_configuration(
        result.run, "test"
    )
    fork = coordinator.fork_workflow(result.run, "regimes", ["regimes.classifier.window=40"])
    assert heads(fork)["search"] == heads(result)["search"]
    assert heads(fork)["regimes"] != heads(result)["regimes"]


def test_the_template_runs(coordinator):
    result = coordinator.execute_workflow("regime_analysis")
    calm, volatile = result.phase("regimes").output.regimes
    # The first 20 bars of the file have no label, nor is one known before the one after them.
    assert calm.bars + volatile.bars == 3019 - 21
    assert calm.best
    assert volatile.best
    assert result.status == "completed"


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"classifier": {"type": "hmmm"}}, UnknownNameError, "Did you mean hmm?"),
        ({"classifier": None}, ConfigurationError, "state how regimes are told"),
        ({"classifier": {"type": "hmm", "window": 5}}, ConfigurationError, "makes no use of window"),
        (
            {"classifier": {"type": "trend", "fit": {"end": "2001-02-01"}}, "data": {"end": "2000-09-30"}},
            ConfigurationError,
            "2001-02-01 must be in the period, from 2000-02-01 to 2000-09-30",
        ),
        (
            {"classifier": {"type": "trend", "fit": {"end": "1999-12-31"}}},
            ConfigurationError,
            "1999-12-31 must be in the period, from 2000-02-01 to the last",
        ),
    ],
)
def test_what_can_not_be_carried_out_is_refused(coordinator, classified, asked, error, said):
    data = asked.pop("data", {})
    workflow = classified(**asked)
    workflow["data"] |= data
    with pytest.raises(error, match=said):
        coordinator.execute_workflow(workflow)


@pytest.mark.parametrize(
    "change",
    [
        lambda event: {"bar": event.bar[::-1].copy()},
        lambda event: {"bar": event.bar + np.int32(1)},
        lambda event: {"regime": event.regime - np.int8(1)},
        lambda event: {"symbol": event.symbol + np.int16(1)},
    ],
)
def test_verification_finds_labels_that_can_not_be(coordinator, classified, change):
    stream = coordinator.execute_workflow(classified()).phase("regimes").stream
    store = coordinator.workspace.store
    audit = PhaseAudit(stream, MarketLog(store))
    found = []
    for recorded in store.read(stream):
        event = recorded.event
        if isinstance(event, RegimesClassified):
            event = msgspec.structs.replace(event, **change(event))
        found += audit.take(recorded, event)
    assert [violation.rule for violation in found] == ["payload"]


def write_planted(path, seed):
    """Calm bars whose drift turns every 80 bars, and volatile ones whose drift turns every 8."""
    chance = np.random.default_rng(seed)
    returns = []
    for _ in range(10):
        calm = np.repeat([1, -1, 1, -1], 80) * 0.0015 + chance.normal(0.0, 0.004, 320)
        volatile = np.tile(np.repeat([1, -1], 8), 20) * 0.012 + chance.normal(0.0, 0.012, 320)
        returns += [calm, volatile]
    closes = 100 * np.exp(np.cumsum(np.concatenate(returns)))
    days = np.datetime64("2000-01-03") + np.arange(closes.size)
    rows = [f"{day},{close},{close},{close},{close},1" for day, close in zip(days, closes, strict=True)]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]))


@pytest.mark.parametrize("seed", range(3))
def test_switching_with_planted_regimes_beats_the_best_single_parameters_out_of_sample(
    coordinator, classified, folder, seed
):
    write_planted(folder / "planted.csv", seed)
    workflow = classified("planted.csv", classifier={"type": "volatility", "window": 10})
    workflow["data"] |= {"end": "2008-12-31"}
    workflow["workflow"][0]["optimization"] = {"parameters": {"cross.fast": [2, 10], "cross.slow": [5, 40]}}
    best = "${regimes.regimes.REGIME.best.parameters.cross.SPEED}"
    parameters = {
        f"{regime}_{speed}": best.replace("REGIME", regime).replace("SPEED", speed)
        for regime in ("calm", "volatile")
        for speed in ("fast", "slow")
    }
    switching = {"window": 10, "edge": "${regimes.figures.edge_1}"} | parameters
    later = {"start": "2009-01-01", "end": "2017-06-30"}
    workflow["workflow"] += [
        {"name": "single", "type": "validation", "inherit_best_from": "search", "data": later},
        {
            "name": "adaptive",
            "type": "validation",
            "data": later,
            "strategies": [{"type": "regime_switching", "parameters": switching}],
        },
    ]
    result = coordinator.execute_workflow(workflow)
    calm, volatile = (regime.best.parameters for regime in result.phase("regimes").output.regimes)
    assert (calm["cross.slow"], volatile["cross.slow"]) == (40, 5)
    single, adaptive = (result.phase(name).output.metrics["sharpe_ratio"] for name in ("single", "adaptive"))
    assert adaptive > single
