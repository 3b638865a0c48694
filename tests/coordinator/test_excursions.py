"""MAE and MFE of trades in the read models, against bars that are looked at one by one."""

import pytest

POLICIES = {
    "next_open": {"fill": "next_open", "slippage": {"bps": 7}},
    "next_open, closed at the last close": {"fill": "next_open", "end": "close", "slippage": {"bps": 7}},
    "same_close": {"fill": "same_close", "slippage": {"bps": 7}},
    "next_close": {"fill": "next_close", "end": "close"},
}


@pytest.fixture
def search(folder):
    def configured(execution, **data):
        return {
            "data": data or {"file": "walk.csv"},
            "execution": execution,
            "strategies": [{"name": "cross", "type": "sma_crossover", "parameters": {"slow": 21}}],
            "workflow": "optimization",
            "optimization": {"parameters": {"cross.fast": [2, 3, 5]}},
        }

    return configured


def seen(trade, bars, last_bar, execution):
    """The highs and lows that count: whole bars between entry and exit, at closes the exit's, too."""
    closes = execution["fill"] != "next_open"
    first = trade["entry_bar"] + closes
    leaves_late = closes or (execution.get("end") == "close" and trade["exit_bar"] == last_bar)
    stop = last_bar + 1 if trade["status"] == "open" else int(trade["exit_bar"]) + leaves_late
    highs = [bars["high"][bar] for bar in range(first, stop)]
    lows = [bars["low"][bar] for bar in range(first, stop)]
    prices = [trade["entry_price"]] + [trade["exit_price"]] * (trade["status"] == "closed")
    return max([*highs, *prices]), min([*lows, *prices])


def assert_excursions(coordinator, workflow, execution):
    phase = coordinator.execute_workflow(workflow).phase("optimization")
    trades = phase.trades()
    assert len(trades) > 20
    frame = coordinator.workspace.read_models.frame
    for trade in trades.to_dict("records"):
        bars = frame(
            "SELECT b.* FROM bars b JOIN feeds f USING (stream) WHERE f.symbol = ? ORDER BY bar",
            (trade["symbol"],),
        )
        highest, lowest = seen(trade, bars, len(bars) - 1, execution)
        entry = trade["entry_price"]
        rise, fall = (highest - entry) / entry, (entry - lowest) / entry
        adverse, favorable = (fall, rise) if trade["side"] == "long" else (rise, fall)
        assert (trade["mae"], trade["mfe"]) == (
            pytest.approx(adverse, rel=1e-9),
            pytest.approx(favorable, rel=1e-9),
        )
        assert -trade["mae"] <= (trade["pnl"] + trade["fee"]) / (trade["quantity"] * entry) + 1e-12
        assert trade["mfe"] >= (trade["pnl"] + trade["fee"]) / (trade["quantity"] * entry) - 1e-12


@pytest.mark.parametrize("execution", POLICIES.values(), ids=POLICIES)
def test_excursions_are_those_of_the_bars_that_a_trade_saw_entirely(coordinator, search, execution):
    assert_excursions(coordinator, search(execution), execution)


def test_excursions_in_several_symbols_are_those_of_their_own_bars(coordinator, search, write_walk, folder):
    write_walk(folder / "other.csv", bars=250, seed=2)
    files = {"A": str(folder / "walk.csv"), "B": str(folder / "other.csv")}
    execution = POLICIES["same_close"]
    assert_excursions(coordinator, search(execution, files=files), execution)
