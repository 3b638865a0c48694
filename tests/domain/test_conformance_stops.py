"""Vectors E and G: stops of vectorbt and freqtrade, fixed commissions of bt, on bars small enough to state.

Facts only: what each package does with these bars, under the policy of ours that is meant to do the same.
"""

import numpy as np
import pytest
from admf.domain.codes import OrderType
from admf.domain.events import OrdersDenied, OrdersFilled, OrdersPlaced
from admf.domain.execution import EndOfData, Execution, FillPrice, Protection, Rounding, Sizer, SizingRule

CLOSE = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
AT_CLOSE = Execution(fill=FillPrice.SAME_CLOSE)
FILL = ("bar", "quantity", "price")


@pytest.fixture(scope="module")
def falling(make_bars):
    """The bars of vectorbt's test of its stop's exit price."""
    return make_bars(CLOSE, CLOSE + 0.25, high=CLOSE + 0.5, low=CLOSE - 0.5)


@pytest.mark.parametrize(("percent", "bar", "price"), [(5.0, 1, 4.25), (50.0, 2, 2.5), (75.0, 4, 1.25)])
def test_stops_end_where_vectorbts_stoplimit_does(trade, falling, percent, bar, price):
    """vectorbt, tests/test_portfolio.py, `stop_exit_price`: stops of 5, 50 and 75 % below the close."""
    outcome = trade(
        falling, [1] * 5, capital=100.0, execution=AT_CLOSE, protection=Protection(stop_loss=percent)
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(0, 20.0, 5.0), (bar, -20.0, price)]


@pytest.mark.parametrize(("stop", "bar", "price"), [(4.75, 1, 3.825), (2.5, 2, 2.25), (1.25, 4, 1.125)])
def test_stops_slip_as_vectorbts_stopmarket_does(trade, falling, stop, bar, price):
    """The same, with a slippage of 10 %; its stop is measured from the close, so it is given as a price."""
    outcome = trade(
        falling,
        [1] * 5,
        prices={"stop_loss": stop},
        capital=100.0,
        execution=Execution(fill=FillPrice.SAME_CLOSE, slippage=0.1),
    )
    assert outcome.rows(OrdersFilled, "bar", "price") == [(0, 5.5), (bar, pytest.approx(price, rel=1e-15))]


@pytest.mark.parametrize(("percent", "bar", "price"), [(10.0, 1, 4.0), (50.0, 3, 2.0)])
def test_stops_on_closes_alone_end_at_vectorbts_closes(trade, make_bars, percent, bar, price):
    """vectorbt, tests/test_portfolio.py, stop losses without highs and lows: 20 shares at 5."""
    outcome = trade(
        make_bars(CLOSE, high=CLOSE, low=CLOSE),
        [1] * 5,
        capital=100.0,
        execution=AT_CLOSE,
        protection=Protection(stop_loss=percent),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(0, 20.0, 5.0), (bar, -20.0, price)]


# freqtrade decides at a candle's close, enters and leaves on a signal at the next open, and closes what is
# left at the open of the last candle. Inside of a candle an exit signal goes before the stop, the stop before
# the return on investment (ROI), and the trailing stop last.

FREQTRADE = Execution(end=EndOfData.CLOSE_AT_OPEN)
PROFIT, END = OrderType.TAKE_PROFIT, OrderType.END_OF_DATA
QUIET = (100, 101, 99, 100)
TABLES = {
    "stop": ({"stop_loss": 3.0}, None, (100, 101, 96, 98), (2, 97.0, OrderType.STOP_LOSS)),
    "far below the stop": ({"stop_loss": 3.0}, None, (100, 101, 60, 98), (2, 97.0, OrderType.STOP_LOSS)),
    "candle below the stop": ({"stop_loss": 3.0}, None, (95, 96, 94, 95), (2, 95.0, OrderType.STOP_LOSS)),
    "roi": ({"take_profit": 3.0}, None, (100, 104, 99, 102), (2, 103.0, PROFIT)),
    "roi at the open": ({"take_profit": 3.0}, None, (105, 106, 99, 102), (2, 105.0, PROFIT)),
    "stop before roi": (
        {"stop_loss": 3.0, "take_profit": 3.0}, None, (100, 104, 96, 102), (2, 97.0, OrderType.STOP_LOSS),
    ),
    "signal before stop": ({"stop_loss": 3.0}, 1, (99, 101, 96, 98), (2, 99.0, OrderType.MARKET)),
    "roi before trailing stop": (
        {"trailing_stop": 5.0, "take_profit": 3.0}, None, (100, 104, 97, 99), (2, 103.0, PROFIT),
    ),
    "no exit": ({"stop_loss": 3.0, "take_profit": 3.0}, None, (100, 102, 98, 99), (4, 100.0, END)),
}  # fmt: skip


@pytest.mark.parametrize(("exits", "leave", "candle", "expected"), list(TABLES.values()), ids=list(TABLES))
def test_exits_come_in_freqtrades_order_and_at_its_prices(trade, make_bars, exits, leave, candle, expected):
    """freqtrade, documentation of its backtesting, restated on five candles with the event in the third."""
    opens, high, low, close = zip(QUIET, QUIET, candle, QUIET, QUIET, strict=True)
    targets = [1, np.nan, np.nan, np.nan, np.nan]
    if leave is not None:
        targets[leave] = 0
    outcome = trade(
        make_bars(close, opens, high=high, low=low),
        targets,
        sizer=Sizer(rule=SizingRule.UNITS, value=1.0),
        execution=FREQTRADE,
        protection=Protection(**exits),
    )
    bar, price, kind = expected
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 1.0, 100.0), (bar, -1.0, price)]
    assert outcome.rows(OrdersPlaced, "type")[-1] == kind


FIXED = Execution(fill=FillPrice.SAME_CLOSE, rounding=Rounding.FLOOR, commission_fixed=1.0)


def test_a_fixed_commission_leaves_bts_cash(trade, make_bars):
    """bt, tests/test_core.py, `test_fixed_commissions`: 400 and 400 of 1000 at 100, and 198 in cash."""
    outcome = trade([make_bars([100, 100], symbol=symbol) for symbol in "AB"], [1, 1], execution=FIXED)
    fills = outcome.rows(OrdersFilled, "symbol", "quantity", "price", "fee")
    assert fills == [(0, 4.0, 100.0, 1.0), (1, 4.0, 100.0, 1.0)]
    assert 1000 - sum(quantity * price + fee for _, quantity, price, fee in fills) == 198


@pytest.mark.parametrize(("budget", "units"), [(100.0, 0.0), (101.0, 1.0), (500.0, 4.0), (501.0, 5.0)])
def test_a_budget_pays_for_the_commission_as_in_bt(trade, make_bars, budget, units):
    """The same test: an allocation of 100 buys nothing at 100, one of 101 a unit."""
    sizer = Sizer(rule=SizingRule.SIZE, value=budget)
    outcome = trade(make_bars([100, 100]), [1, 1], execution=FIXED, sizer=sizer)
    assert sum(outcome.rows(OrdersFilled, "quantity")) == units
    assert len(outcome.rows(OrdersDenied, "rule")) == (units == 0.0)


def test_a_position_is_closed_whatever_the_commission_takes_as_in_bt(trade, make_bars):
    """The same test: the sale of 500 brings 499."""
    sizer = Sizer(rule=SizingRule.UNITS, value=5.0)
    outcome = trade(make_bars([100, 100]), [1, 0], execution=FIXED, sizer=sizer)
    assert outcome.metric("final_equity") == 1000 - 501 + 499
