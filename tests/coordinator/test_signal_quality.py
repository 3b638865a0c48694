"""The quality of signals follows from the signals and fills in an earlier phase's stream, and its bars."""

import numpy as np
import pytest
from admf.domain.errors import ConfigurationError, UnknownNameError

CLASSIFIER = {"type": "volatility", "window": 10, "fit": {"end": "2000-07-31"}}


@pytest.fixture
def questioned(folder):
    """Make a workflow of a search with two strategies and the quality of their signals."""

    def workflow(file="walk.csv", **stated):
        return {
            "name": "questioned",
            "data": {"file": str(folder / file), "start": "2000-02-01"},
            "execution": {"commission": {"percent": 0.05}, "slippage": {"bps": 2}},
            "workflow": [
                {
                    "name": "search",
                    "type": "optimization",
                    "strategies": [{"name": "cross", "type": "sma_crossover"}, {"type": "rsi"}],
                    "optimization": {"parameters": {"cross.fast": [2, 3, 5], "cross.slow": [8, 13]}},
                    "shard_size": 4,
                },
                {"name": "quality", "type": "signal_quality", "of": "search"} | stated,
            ],
        }

    return workflow


def test_figures_are_those_of_signals_bars_and_trades(coordinator, questioned):
    result = coordinator.execute_workflow(questioned(classifier=CLASSIFIER) | {"name": "first"})
    search, output = result.phase("search"), result.phase("quality").output
    figures, best = output.figures, search.output.best.container
    query = coordinator.workspace.read_models.frame
    bars = query("SELECT DISTINCT bar, close FROM bars ORDER BY bar")
    close = bars["close"].to_numpy()
    emitted = query("SELECT * FROM signals WHERE container = ? AND strategy = 'cross' ORDER BY n", (best,))
    assert figures["cross.signals"] == len(emitted) > 20
    signals = emitted[emitted["target"] != 0.0]
    for bars_later in (1, 5, 10, 20):
        ahead = np.r_[close[bars_later:] / close[:-bars_later] - 1.0, np.full(bars_later, np.nan)]
        first = int(query("SELECT min(first_bar) AS bar FROM trials")["bar"][0])
        side = np.sign(signals["target"].to_numpy())
        returns = ahead[signals["bar"].to_numpy()] * side
        known = np.isfinite(returns)
        row = f"cross.after_{bars_later:02}"
        assert figures[f"{row}.measured"] == known.sum()
        assert figures[f"{row}.mean_return"] == pytest.approx(returns[known].mean())
        assert figures[f"{row}.hit_rate"] == pytest.approx((returns[known] > 0).mean())
        excess = (returns - side * np.nanmean(ahead[first:]))[known]
        assert figures[f"{row}.excess_return"] == pytest.approx(excess.mean())
        regimes = [figures[f"cross.{name}.after_{bars_later:02}.measured"] for name in ("calm", "volatile")]
        assert sum(regimes) == known.sum()
    trades = search.trades()
    closed = trades[(trades["container"] == best) & (trades["status"] == "closed")]
    assert figures["trades.trades"] == len(closed)
    assert figures["trades.bars"] == pytest.approx(closed["bars"].mean())
    assert figures["trades.mae"] == pytest.approx(closed["mae"].mean())
    assert figures["trades.mfe.q95"] == pytest.approx(closed["mfe"].quantile(0.95))
    assert figures["trades.return"] == pytest.approx(closed["return"].mean())
    assert figures["trades.edge_ratio"] == pytest.approx(closed["mfe"].mean() / closed["mae"].mean())
    assert figures["trades.calm.trades"] + figures["trades.volatile.trades"] == len(closed)
    assert output.verdict in result.summary()


def test_trades_in_several_symbols_are_those_of_the_read_models(coordinator, questioned, write_walk, folder):
    write_walk(folder / "other.csv", bars=250, seed=2)
    workflow = questioned()
    workflow["data"] = {"files": {"A": str(folder / "walk.csv"), "B": str(folder / "other.csv")}}
    workflow["execution"] |= {"fill": "next_close"}
    result = coordinator.execute_workflow(workflow)
    figures, trades = result.phase("quality").output.figures, result.phase("search").trades()
    best = result.phase("search").output.best.container
    closed = trades[(trades["container"] == best) & (trades["status"] == "closed")]
    assert closed["symbol"].nunique() == 2
    assert figures["trades.trades"] == len(closed)
    assert figures["trades.mae"] == pytest.approx(closed["mae"].mean())
    assert figures["trades.mfe"] == pytest.approx(closed["mfe"].mean())
    assert figures["trades.return"] == pytest.approx(closed["return"].mean())
    emitted = coordinator.workspace.read_models.query(
        f"SELECT count(*) FROM signals WHERE container = {best} AND strategy = 'rsi'"
    ).rows
    assert figures["rsi.signals"] == emitted[0][0] > 0


def test_shards_of_any_size_lead_to_the_same_figures(coordinator, questioned):
    workflow = questioned(classifier=CLASSIFIER)
    result = coordinator.execute_workflow(workflow)
    workflow["workflow"][0]["shard_size"] = 100
    figures = result.phase("quality").output.figures
    assert coordinator.execute_workflow(workflow).phase("quality").output.figures == pytest.approx(
        figures, rel=0, abs=0, nan_ok=True
    )


def test_a_planted_edge_is_found_and_a_random_walk_has_none(coordinator, questioned, folder):
    chance = np.random.default_rng(5)
    for name, drift in (("walk", 0.0), ("edge", 0.008)):
        steps = chance.normal(0.0, 0.01, 1500) + np.repeat(chance.choice([-drift, drift], 75), 20)
        closes = 100 * np.exp(np.cumsum(steps))
        days = np.datetime64("2000-01-03") + np.arange(closes.size)
        rows = [f"{day},{close},{close},{close},{close},1" for day, close in zip(days, closes, strict=True)]
        (folder / f"{name}s.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]))
    said = {}
    for name in ("walks", "edges"):
        workflow = questioned(f"{name}.csv")
        workflow["workflow"][0]["strategies"] = [{"name": "cross", "type": "sma_crossover"}]
        said[name] = coordinator.execute_workflow(workflow).phase("quality").output.verdict
    assert said["edges"].startswith("cross: signals tell the direction")
    assert said["walks"].startswith("cross: signals are no better than chance")


def test_what_can_not_be_questioned_is_refused(questioned, refusal):
    workflow = questioned()
    workflow["workflow"][0]["log"] = "fills"
    assert "'search' must log its signals; give it `log: full`" in refusal(workflow, ConfigurationError)
    workflow = questioned(type="signal_replay", trials="best")
    workflow["workflow"][1]["signals_from"] = workflow["workflow"][1].pop("of")
    workflow["workflow"].append({"name": "again", "type": "signal_quality", "of": "quality"})
    assert "follows signals itself" in refusal(workflow, ConfigurationError)
    unknown = questioned(classifier="moody")
    assert "quality.classifier.type: unknown classifier" in refusal(unknown, UnknownNameError)
