import random

import pandas as pd
import pytest
from admf import Coordinator

STRATEGIES = {
    "sma_crossover": {"fast": 3, "slow": 11},
    "momentum": {"lookback": 5, "threshold": 0.01},
    "mean_reversion": {"lookback": 7, "threshold": 1.0},
    "rsi": {"period": 5, "oversold": 40.0, "overbought": 60.0},
    "bollinger": {"period": 9, "width": 1.0},
    "breakout": {"lookback": 6},
}


def random_workflow(seed):
    chance = random.Random(seed)
    kinds = chance.sample(sorted(STRATEGIES), chance.choice([1, 1, 2]))
    capital = chance.choice([1_000, 100_000])
    sizer = chance.choice(
        [
            {"type": "percentage", "percentage": chance.choice([10, 55.5, 100])},
            {"type": "fixed", "size": capital * chance.choice([0.3, 0.95])},
            {"type": "fixed", "units": capital * chance.choice([0.003, 0.0075])},
        ]
    )
    fill = chance.choice(["next_open", "same_close", "next_close"])
    ends = ["mark", "close"] + ["close_at_open"] * (fill == "next_open")
    return {
        "data": {"file": "walk.csv", "start": "2000-02-01", "end": "2000-10-20"},
        "capital": capital,
        "execution": {
            "fill": fill,
            "rounding": chance.choice(["fraction", "floor"]),
            "end": chance.choice(ends),
            "commission": {"percent": chance.choice([0, 0.25]), "fixed": chance.choice([0, 1.5])},
            "slippage": {"bps": chance.choice([0, 7])},
        },
        "strategies": [
            {
                "type": kind,
                "parameters": STRATEGIES[kind],
                "direction": chance.choice(["both", "both", "long", "short"]),
            }
            for kind in kinds
        ],
        "risk": {"position_sizers": [sizer]},
        "workflow": "backtest",
    }


@pytest.mark.parametrize("seed", range(16))
def test_fills_add_up_to_the_equity_curve_at_every_bar(coordinator, seed):
    workflow = random_workflow(seed)
    phase = coordinator.execute_workflow(workflow).phase("backtest")
    fills, equity = phase.fills(), phase.equity()
    cash, position = float(workflow["capital"]), 0.0
    by_bar = dict(list(fills.groupby("bar")))
    highest = cash
    for row in equity.itertuples():
        for fill in by_bar.pop(row.bar, pd.DataFrame()).itertuples():
            cash -= fill.quantity * fill.price + fill.fee
            position += fill.quantity
            assert (fill.cash, fill.position) == pytest.approx((cash, position), rel=1e-9, abs=1e-6)
        value = cash + position * row.close
        highest = max(highest, value)
        assert (row.cash, row.position, row.equity) == pytest.approx(
            (cash, position, value), rel=1e-9, abs=1e-6
        )
        assert row.drawdown == pytest.approx(1 - value / highest, abs=1e-9)
    assert not by_bar
    assert len(fills) > 2
    assert len(equity) == 263
    (trial,) = phase.trials().to_dict("records")
    assert trial["final_equity"] == pytest.approx(value, rel=1e-9)
    assert trial["max_drawdown"] == pytest.approx(equity["drawdown"].max(), abs=1e-9)
    assert trial["fees"] == pytest.approx(fills["fee"].sum(), abs=1e-6)
    assert trial["total_return"] == pytest.approx(value / workflow["capital"] - 1, abs=1e-9)
    assert trial["exposure"] == pytest.approx((equity["position"] != 0).mean(), abs=1e-12)
    pnl = phase.trades()["pnl"].sum()
    assert pnl == pytest.approx(value - workflow["capital"], rel=1e-7, abs=1e-6)


def frames(result):
    return {
        (name, kind): getattr(phase, kind)()
        for name, phase in result.phases.items()
        for kind in ("trials", "signals", "fills", "equity")
    }


def test_read_models_that_were_deleted_come_back_with_the_same_rows(folder, train_and_test):
    with Coordinator(folder / "store") as opened:
        run = opened.execute_workflow(train_and_test).run
        before = frames(opened.result(run))
        (folder / "store" / "readmodels.duckdb").unlink()
        after = frames(opened.result(run))
    assert all(len(frame) for frame in before.values())
    for key, frame in before.items():
        pd.testing.assert_frame_equal(frame, after[key], check_exact=True)
