"""Analyses of overfitting read the trials and fills of an earlier phase's stream, and nothing else."""

import numpy as np
import pytest
from admf.domain.errors import ConfigurationError
from admf.domain.statistics.overfitting import block_sums, overfitting
from admf.domain.statistics.sharpe import Record, deflated_sharpe, record_of

SPACE = {"cross.fast": [2, 3, 5, 8], "cross.slow": [10, 15, 25, 40]}


@pytest.fixture
def analyzed(folder):
    """Make a workflow of a search and its analysis."""

    def workflow(file="walk.csv", **asked):
        return {
            "name": "analyzed",
            "data": {"file": str(folder / file)},
            "execution": {"commission": {"percent": 0.05}},
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "strategies": [{"name": "cross", "type": "sma_crossover"}],
                    "optimization": {"parameters": SPACE},
                    "shard_size": 5,
                },
                {
                    "name": "luck",
                    "type": "analysis",
                    "of": "search",
                    "analysis": {"type": "overfitting", "blocks": 8, "samples": 200} | asked,
                },
            ],
        }

    return workflow


def test_the_figures_are_those_of_the_equity_of_every_trial(coordinator, analyzed):
    result = coordinator.execute_workflow(analyzed())
    search, found = result.phase("search"), result.phase("luck").output
    equity = [search.equity(container)["equity"].to_numpy() for container in range(search.output.trials)]
    returns = np.array([np.diff(curve, prepend=100_000.0) / np.r_[100_000.0, curve[:-1]] for curve in equity])
    ratios = np.nan_to_num([record_of(row).ratio for row in returns])
    best = record_of(returns[search.output.best.container])
    figures = found.figures
    assert figures["trials"] == found.trials == 16
    assert figures["sharpe_ratio"] == pytest.approx(search.output.best.metrics["sharpe_ratio"])
    assert figures["deflated_sharpe"] == pytest.approx(deflated_sharpe(best, np.var(ratios, ddof=1), 16))
    assert figures["overfitting_probability"] == overfitting(block_sums(returns, 8)).probability
    assert figures["sharpe_ratio_low"] < figures["sharpe_ratio"] < figures["sharpe_ratio_high"]
    assert figures["max_drawdown_low"] < search.output.best.metrics["max_drawdown"]
    assert found.best == search.output.best
    assert found.verdict in result.summary()
    assert f"{figures['deflated_sharpe']:.3f}" in found.verdict


def test_shards_of_any_size_lead_to_the_same_figures(coordinator, analyzed):
    workflow = analyzed()
    result = coordinator.execute_workflow(workflow)
    workflow["workflow"][0]["shard_size"] = 16
    whole = coordinator.execute_workflow(workflow).phase("luck").output
    assert whole.figures == pytest.approx(result.phase("luck").output.figures)


def test_a_fork_asks_again_about_the_same_trials(coordinator, analyzed, heads):
    result = coordinator.execute_workflow(analyzed())
    fork = coordinator.fork_workflow(result.run, "luck", ["luck.analysis.level=0.6"])
    assert heads(fork)["search"] == heads(result)["search"]
    one, other = (each.phase("luck").output for each in (result, fork))
    assert one.figures["deflated_sharpe"] == other.figures["deflated_sharpe"]
    assert one.figures["sharpe_ratio_low"] < other.figures["sharpe_ratio_low"]
    assert coordinator.replay_workflow(fork.run)[1].outcome == "identical"


def test_a_later_phase_may_inherit_what_was_analyzed(coordinator, analyzed):
    workflow = analyzed()
    workflow["workflow"].append({"name": "test", "type": "validation", "inherit_best_from": "luck"})
    result = coordinator.execute_workflow(workflow)
    best = result.phase("search").output.best
    assert result.phase("test").output.metrics["final_equity"] == best.metrics["final_equity"]


def write(path, log_returns):
    closes = 100 * np.exp(np.cumsum(log_returns))
    days = np.datetime64("2000-01-03") + np.arange(closes.size)
    rows = [f"{day},{close},{close},{close},{close},1" for day, close in zip(days, closes, strict=True)]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]))


def test_on_fifty_random_walks_nothing_is_found_and_on_fifty_planted_edges_it_is(
    coordinator, folder, analyzed
):
    """The edge: a drift that keeps its sign for 50 bars, which a crossover of averages follows."""
    said = {"walk": [], "edge": []}
    for seed in range(50):
        chance = np.random.default_rng(seed)
        noise = chance.normal(0.0, 0.01, 1000)
        drift = np.repeat(chance.choice([-0.006, 0.006], 20), 50)
        for name, log_returns in (("walk", noise), ("edge", noise + drift)):
            write(folder / f"{name}{seed}.csv", log_returns)
            workflow = analyzed(f"{name}{seed}.csv", samples=100)
            workflow["workflow"][0] |= {"log": "fills"}
            said[name].append(coordinator.execute_workflow(workflow).phase("luck").output.verdict[:7])
    assert said["walk"].count("Nothing") >= 49
    assert said["edge"].count("An edge") >= 49


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": ""}, "`of` must name the phase whose trials it analyzes"),
        ({"capital": 5}, "data and capital must be those of 'search'"),
        ({"data": {"start": "2000-05-01"}}, "data and capital must be those of 'search'"),
        ({"analysis": {"blocks": 7}}, "multiple of 2"),
        ({"inherit_best_from": "search"}, "of is another word for inherit_best_from"),
        ({"type": "backtest"}, "of is another word for inherit_best_from in a phase of type 'analysis'"),
        ({"analysis": "regret"}, "analysis.type: input should be 'overfitting'"),
    ],
)
def test_what_can_not_be_analyzed_is_refused(analyzed, refusal, change, message):
    workflow = analyzed()
    workflow["workflow"][1] |= change
    if change.get("of") == "":
        workflow |= {"strategy": "sma_crossover"}
    assert message in refusal(workflow, ConfigurationError)


def test_a_source_that_is_no_search_or_keeps_no_fills_is_refused(analyzed, refusal):
    workflow = analyzed()
    workflow["workflow"][0]["log"] = "metrics"
    assert "'search' must log its fills" in refusal(workflow, ConfigurationError)
    workflow["workflow"][0] |= {"type": "backtest", "log": "full"}
    del workflow["workflow"][0]["optimization"]
    assert "must be a phase of type 'optimization'" in refusal(workflow, ConfigurationError)
    folds = {"train_size": 100, "test_size": 50}
    workflow["workflow"][0] |= {"type": "validation", "walk_forward": folds}
    assert "Add a phase that carries out its search over the whole period" in refusal(
        workflow, ConfigurationError
    )


def test_a_single_trial_was_not_selected(coordinator, analyzed):
    workflow = analyzed()
    workflow["workflow"][0]["optimization"] = {"parameters": {"cross.fast": [3]}}
    figures = coordinator.execute_workflow(workflow).phase("luck").output.figures
    assert figures["expected_maximum_sharpe"] == 0.0
    assert figures["deflated_sharpe"] == figures["probabilistic_sharpe"]
    assert np.isnan(figures["overfitting_probability"])
    assert Record(0.0, 2).spread == 1.0


def test_a_condition_may_ask_for_a_figure(coordinator, analyzed):
    workflow = analyzed()
    test = {"type": "validation", "inherit_best_from": "search"}
    workflow["workflow"] += [
        test | {"name": "sure", "when": "luck.figures.deflated_sharpe > 0.999"},
        test | {"name": "unsure", "when": "luck.figures.deflated_sharpe <= 0.999"},
    ]
    result = coordinator.execute_workflow(workflow)
    assert "sure" not in result.phases or result.phase("sure").status == "skipped"
    assert result.phase("unsure").status == "completed"
