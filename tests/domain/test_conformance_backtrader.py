"""Vector C: what backtrader's own tests expect of a close that crosses its average.

The bars are `datas/2006-day-001.txt` of backtrader's source repository. Its license does not allow us to ship
them; ADMF_BACKTRADER_DATA names a copy.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from admf.domain.bars import BarsLoaded, checked_bars
from admf.domain.events import OrdersFilled, TrialsCompleted
from admf.domain.execution import Execution, Sizer, SizingRule
from admf.domain.features import feature
from admf.domain.strategies import strategy_from
from admf.domain.topology import StrategySlot

BUYS = [
    *(3643.35, 3801.03, 3872.37, 3863.57, 3845.32, 3656.43),
    *(3542.65, 3639.65, 3799.86, 3840.20, 4047.63, 4052.55),
]
SALES = [
    *(3763.95, 3811.85, 3822.35, 3822.57, 3829.82, 3598.58),
    *(3545.92, 3766.80, 3782.15, 3979.73, 4045.05),
]
FIRST_CROSS_AND_HOLD = np.repeat(
    [14525.80, 15408.20, 14763.90, 13187.10, 13684.40, 13656.10, 12988.10], [2, 2, 10, 3, 6, 4, 13]
)
MULTIPLIER = 10.0
BORROWED = 90_000.0
"""Backtrader's futures account holds a contract on margin; ours, which pays in full, has that much more."""


def above_average(close, average, hold=False):
    """Long from a cross above the average, until the next one below it or, with `hold`, to the end."""
    target = np.full(close.size, np.nan)
    side = 0
    for t in range(close.size):
        now = int(close[t] > average[t]) - int(close[t] < average[t])
        if side == -1 and now == 1:
            target[t] = 1.0
        elif side == 1 and now == -1 and not hold:
            target[t] = 0.0
        side = now or side
    return target


@pytest.fixture(scope="module")
def bars():
    path = os.environ.get("ADMF_BACKTRADER_DATA")
    if not path:
        pytest.skip("ADMF_BACKTRADER_DATA does not name backtrader's datas/2006-day-001.txt")
    table = np.genfromtxt(Path(path), delimiter=",", names=True, dtype=None, encoding="ascii")
    assert len(table) == 255
    columns = {name: table[name.title()].astype(float) for name in ("open", "high", "low", "close", "volume")}
    time = table["Date"].astype("datetime64[ns]").astype(np.int64)
    return checked_bars(BarsLoaded(time=time, **columns), symbol="2006", timeframe="1d", source=path)


@pytest.fixture(scope="module")
def cross(run, make_topology, make_containers, bars):
    """Simulate containers that trade so many units each, one for each period of the average."""

    def simulated(units, periods, *, hold=False, **changes):
        strategy = strategy_from(
            above_average,
            features={"average": feature("sma", period="period")},
            parameters={"period": 15},
            space={},
        )
        topology = make_topology(
            StrategySlot(name="cross", strategy=strategy, parameters={"period": 15, "hold": hold}),
            sizer=Sizer(rule=SizingRule.UNITS, value=units),
            **changes,
        )
        return run(topology, bars, make_containers([(0, len(bars))], cross__period=periods))

    return simulated


def test_stocks_are_bought_and_sold_at_the_peers_prices(cross):
    outcome = cross(1.0, [15], capital=10_000.0)
    fills = outcome.rows(OrdersFilled, "quantity", "price")
    assert [price for quantity, price in fills if quantity > 0] == BUYS
    assert [price for quantity, price in fills if quantity < 0] == SALES
    assert outcome.metric("final_equity") == pytest.approx(10284.10, abs=1e-6)
    cash = 10_000.0 - sum(quantity * price for quantity, price in fills)
    assert cash == pytest.approx(6164.16, abs=1e-6)


def test_futures_end_at_the_peers_value(cross):
    outcome = cross(MULTIPLIER, [15], capital=10_000.0 + BORROWED, execution=Execution(commission_fixed=2.0))
    assert outcome.metric("final_equity") - BORROWED == pytest.approx(12795.00, abs=1e-6)


def test_a_grid_of_forty_periods_ends_at_the_peers_values(cross):
    outcome = cross(
        MULTIPLIER,
        list(range(5, 45)),
        hold=True,
        capital=10_000.0 + BORROWED,
        execution=Execution(commission_fixed=2.0),
    )
    final = outcome.events[TrialsCompleted].metrics["final_equity"] - BORROWED
    np.testing.assert_allclose(final, FIRST_CROSS_AND_HOLD, atol=1e-6)
