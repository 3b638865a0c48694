"""Comparisons of classifiers label the same bars, and hold the best trial's returns against the regimes."""

import numpy as np
import pytest
from admf.domain.errors import ConfigurationError

CLASSIFIERS = [{"type": "volatility", "window": 10}, {"type": "trend", "window": 10}, "pattern"]


@pytest.fixture
def compared(folder):
    """Make a workflow of a search, an analysis of its regimes, and a comparison of classifiers."""

    def workflow(classifiers=CLASSIFIERS, file="walk.csv"):
        return {
            "name": "compared",
            "data": {"file": str(folder / file), "start": "2000-02-01"},
            "metrics": {"bars_per_year": 252},
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "strategies": [{"name": "cross", "type": "sma_crossover"}],
                    "optimization": {"parameters": {"cross.fast": [2, 3, 5], "cross.slow": [8, 13]}},
                },
                {
                    "name": "regimes",
                    "type": "regime_analysis",
                    "of": "search",
                    "classifier": CLASSIFIERS[0],
                    "minimum_bars": 20,
                    "minimum_trades": 3,
                },
                {
                    "name": "views",
                    "type": "classifier_comparison",
                    "of": "search",
                    "classifiers": classifiers,
                },
            ],
        }

    return workflow


def test_figures_are_those_of_the_analysis_of_regimes(coordinator, compared):
    result = coordinator.execute_workflow(compared())
    figures = result.phase("views").output.figures
    calm, volatile = result.phase("regimes").output.regimes
    bars = len(result.phase("search").equity(0))
    assert figures["volatility.calm.share"] == pytest.approx(calm.bars / bars)
    assert figures["volatility.unknown"] == pytest.approx(1 - (calm.bars + volatile.bars) / bars)
    assert figures["volatility.calm.result_sharpe"] == pytest.approx(calm.metrics["sharpe_ratio"])
    assert figures["volatility.volatile.result_sharpe"] == pytest.approx(volatile.metrics["sharpe_ratio"])
    frame = coordinator.workspace.read_models.frame("SELECT bar, regime FROM regimes ORDER BY bar")
    # The label at the last close is known before no bar of the period.
    assert figures["volatility.switches"] == np.count_nonzero(np.diff(frame["regime"][:-1]))
    assert {name for name in figures if name.endswith("adjusted_rand")} == {
        "volatility_and_trend.adjusted_rand",
        "volatility_and_pattern.adjusted_rand",
        "trend_and_pattern.adjusted_rand",
    }
    assert result.phase("views").output.verdict in result.summary()


def test_the_classifier_that_knows_the_planted_regimes_is_named(coordinator, compared, folder):
    chance = np.random.default_rng(3)
    size = np.repeat(np.tile([0.004, 0.02], 10), 60)
    closes = 100 * np.exp(np.cumsum(chance.normal(0.0, size)))
    days = np.datetime64("2000-01-03") + np.arange(closes.size)
    rows = [f"{day},{close},{close},{close},{close},1" for day, close in zip(days, closes, strict=True)]
    (folder / "planted.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]))
    asked = ["pattern", "trend", "volatility", "hmm", {"type": "volatility", "window": 250}]
    output = coordinator.execute_workflow(compared(asked, "planted.csv")).phase("views").output
    best = output.verdict.partition(" ")[0]
    assert best in ("volatility", "hmm")
    assert output.figures["volatility_and_hmm.adjusted_rand"] > 0.5
    assert output.figures["hmm.volatility_separation"] > 0.2
    assert abs(output.figures["volatility_2.volatility_separation"]) < 0.1
    assert output.figures["trend.volatility_separation"] < 0.1


def test_bars_after_the_period_change_nothing(coordinator, compared, folder, write_walk):
    write_walk(folder / "longer.csv", bars=400)
    outputs = []
    for file in ("walk.csv", "longer.csv"):
        workflow = compared(file=file)
        workflow["data"]["end"] = "2000-09-30"
        outputs.append(coordinator.execute_workflow(workflow).phase("views").output)
    assert outputs[0].verdict == outputs[1].verdict
    assert outputs[0].figures == pytest.approx(outputs[1].figures, rel=0, abs=0, nan_ok=True)


def test_what_can_not_be_compared_is_refused(compared, refusal):
    assert "takes at least two" in refusal(compared(["trend"]), ConfigurationError)
    fitted = {"type": "trend", "fit": {"end": "1999-12-31"}}
    assert "classifiers[1].fit.end: 1999-12-31" in refusal(compared(["hmm", fitted]), ConfigurationError)
