"""Where the market has regimes that want different parameters, an ensemble by regime finds and uses them.

That nothing is found on random walks, over 50 seeds, is tested in `test_analysis`.
"""

import numpy as np
import pytest

BARS, SPELL = 4000, 250
FOLLOW = """
import numpy as np

def follow(close, lookback=1, side=1.0):
    change = np.full(close.size, np.nan)
    change[lookback:] = close[lookback:] - close[:-lookback]
    return side * np.sign(change)
"""


def write_two_markets(path, seed):
    """Calm bars with lasting trends, and volatile ones that turn back; return which is which.

    Spells have about 250 bars. Trends turn every 100 bars; a volatile return takes
    back a fifth of the one before.
    """
    random = np.random.default_rng(seed)
    state = np.cumsum(random.random(BARS) < 1.0 / SPELL) % 2
    trend = 0.0015 * (-1.0) ** (np.arange(BARS) // 100)
    returns = np.zeros(BARS)
    for t in range(1, BARS):
        if state[t]:
            returns[t] = -0.2 * returns[t - 1] + random.normal(0.0, 0.013)
        else:
            returns[t] = trend[t] + random.normal(0.0, 0.006)
    closes = 100.0 * np.exp(np.cumsum(returns))
    opens = np.concatenate(([100.0], closes[:-1]))
    days = np.datetime64("2000-01-03") + np.arange(BARS)
    rows = [
        f"{day},{o!r},{max(o, c)!r},{min(o, c)!r},{c!r},1"
        for day, o, c in zip(days, opens.tolist(), closes.tolist(), strict=True)
    ]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows, ""]))
    return state


@pytest.fixture
def two_markets(folder):
    (folder / "follow.py").write_text(FOLLOW)
    before, after = {"end": "2005-12-31"}, {"start": "2006-01-01"}
    search = {
        "type": "optimization",
        "strategies": [{"name": "follow", "type": "follow.py:follow"}],
        "optimization": {"parameters": {"follow.lookback": [1, 5, 20, 40], "follow.side": [-1.0, 1.0]}},
    }
    return {
        "name": "two_markets",
        "data": {"file": str(folder / "planted.csv")},
        "metrics": {"bars_per_year": 365},
        "execution": {"fill": "same_close", "commission": {"percent": 0.01}},
        "workflow": [
            {"name": "discovery", "data": before, **search},
            {"name": "regimes", "type": "regime_analysis", "of": "discovery", "classifier": "hmm"},
            {
                "name": "ensemble",
                "type": "ensemble",
                "signals_from": "discovery",
                "regimes": "regimes",
                "ensemble": {"method": "max_sharpe", "per_regime": True},
            },
            {"name": "adaptive", "type": "validation", "ensemble_from": "ensemble", "data": after},
            {"name": "single", "type": "validation", "inherit_best_from": "discovery", "data": after},
        ],
    }


@pytest.mark.parametrize("seed", range(5))
def test_with_planted_regimes_it_beats_the_best_single_parameter_set_out_of_sample(
    coordinator, two_markets, folder, seed
):
    state = write_two_markets(folder / "planted.csv", seed)
    result = coordinator.execute_workflow(two_markets)
    for phase in ("regimes", "adaptive"):
        sql = f"SELECT bar, regime FROM regimes WHERE phase = '{phase}' ORDER BY bar"
        bar, found = np.array(coordinator.workspace.read_models.query(sql).rows).T
        assert (found == state[bar]).mean() > 0.9
    weights = {member.name: member for member in result.phase("ensemble").output.weights}
    calm, volatile = (
        max(weights.values(), key=lambda member: member.regimes[regime]).parameters
        for regime in ("calm", "volatile")
    )
    assert (calm["follow.side"], volatile["follow.side"]) == (1.0, -1.0)
    adaptive, single = (result.phase(name).output.best.metrics for name in ("adaptive", "single"))
    assert adaptive["sharpe_ratio"] > single["sharpe_ratio"] + 0.5
    assert adaptive["total_return"] > single["total_return"]
