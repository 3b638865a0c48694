"""Fill semantics on bars small enough to compute by hand: opens and closes differ, capital is 1000."""

import numpy as np
import pytest
from admf.domain.codes import CancelReason, DenialRule
from admf.domain.errors import ConfigurationError
from admf.domain.events import (
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    SignalsEmitted,
)
from admf.domain.execution import EndOfData, Execution, FillPrice, Rounding, Sizer, SizingRule

OPEN = [99, 100, 125, 80, 160]
CLOSE = [98, 110, 100, 125, 200]
LONG = [1, 1, 1, 1, 1]
SHORT = [-1, -1, -1, -1, -1]
FILL = ("bar", "quantity", "price", "fee")
DENIAL = ("bar", "rule", "available")


@pytest.fixture
def bars(make_bars):
    return make_bars(CLOSE, OPEN)


def units(value):
    return Sizer(rule=SizingRule.UNITS, value=value)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (FillPrice.NEXT_OPEN, [(1, 10.0, 100.0, 0.0), (3, -10.0, 80.0, 0.0)]),
        (FillPrice.SAME_CLOSE, [(0, 1000 / 98, 98.0, 0.0), (2, -1000 / 98, 100.0, 0.0)]),
        (FillPrice.NEXT_CLOSE, [(1, 1000 / 110, 110.0, 0.0), (3, -1000 / 110, 125.0, 0.0)]),
    ],
)
def test_a_change_of_target_is_filled_where_the_policy_says(trade, bars, fill, expected):
    outcome = trade(bars, [1, 1, 0, 0, 0], execution=Execution(fill=fill))
    assert outcome.rows(OrdersPlaced, "bar", "target") == [(0, 1.0), (2, 0.0)]
    assert outcome.rows(OrdersFilled, *FILL) == expected


def test_an_unchanged_target_is_neither_a_signal_nor_an_order(trade, bars):
    outcome = trade(bars, [1, 1, np.nan, 1, 1])
    assert outcome.rows(SignalsEmitted, "bar", "target") == [(0, 1.0)]
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 10.0, 100.0, 0.0)]


def test_a_target_that_is_not_a_number_means_as_before_and_flat_until_the_first_opinion(trade, bars):
    outcome = trade(bars, [np.nan, 0.5, np.nan, np.nan, 0])
    assert outcome.rows(SignalsEmitted, "bar", "target") == [(1, 0.5), (4, 0.0)]


def test_slippage_makes_purchases_dearer_and_sales_cheaper(trade, bars):
    execution = Execution(slippage=0.25)
    long = trade(bars, [1, 0, 0, 0, 0], execution=execution)
    assert long.rows(OrdersFilled, *FILL) == [(1, 8.0, 125.0, 0.0), (2, -8.0, 93.75, 0.0)]
    short = trade(bars, [-1, 0, 0, 0, 0], execution=execution)
    assert short.rows(OrdersFilled, *FILL) == [(1, -1000 / 75, 75.0, 0.0), (2, 1000 / 75, 156.25, 0.0)]


def test_commission_is_a_part_of_the_value_and_a_fixed_amount_and_comes_out_of_the_budget(trade, bars):
    execution = Execution(commission_rate=0.25, commission_fixed=50.0)
    outcome = trade(bars, [1, 0, 0, 0, 0], execution=execution)
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 7.6, 100.0, 240.0), (2, -7.6, 125.0, 287.5)]
    assert outcome.metric("final_equity") == 1000 - 7.6 * 100 - 240 + 7.6 * 125 - 287.5
    assert outcome.metric("fees") == 527.5


def test_whole_units_are_rounded_toward_zero(trade, bars):
    execution = Execution(fill=FillPrice.SAME_CLOSE, rounding=Rounding.FLOOR)
    assert trade(bars, LONG, execution=execution).rows(OrdersFilled, *FILL) == [(0, 10.0, 98.0, 0.0)]
    assert trade(bars, SHORT, execution=execution).rows(OrdersFilled, *FILL) == [(0, -10.0, 98.0, 0.0)]


def test_a_short_position_gains_when_the_price_falls(trade, bars):
    outcome = trade(bars, [-1, -1, 0, 0, 0])
    assert outcome.rows(OrdersFilled, *FILL) == [(1, -10.0, 100.0, 0.0), (3, 10.0, 80.0, 0.0)]
    assert outcome.metric("final_equity") == 1200.0


def test_a_reversal_is_two_orders_and_the_second_is_sized_by_what_the_first_left(trade, bars):
    outcome = trade(bars, [1, -1, -1, -1, -1], execution=Execution(commission_fixed=10.0))
    assert outcome.rows(OrdersPlaced, "order", "bar", "target") == [(0, 0, 1.0), (1, 1, 0.0), (2, 1, -1.0)]
    equity = 9.9 * 125 - 10
    assert outcome.rows(OrdersFilled, "order", *FILL) == [
        (0, 1, 9.9, 100.0, 10.0),
        (1, 2, -9.9, 125.0, 10.0),
        (2, 2, -(equity - 10) / 125, 125.0, 10.0),
    ]


def test_a_larger_target_adds_and_a_smaller_one_sells_a_part(trade, bars):
    outcome = trade(bars, [0.5, 1, 0.25, 0.25, 0.25])
    assert outcome.rows(OrdersPlaced, "bar", "target") == [(0, 0.5), (1, 1.0), (2, 0.25)]
    # Equity: 500 + 5 x 125 = 1125 at bar 2, so 9 units; 9 x 80 = 720 at bar 3, so a quarter is 2.25 units.
    assert outcome.rows(OrdersFilled, *FILL) == [
        (1, 5.0, 100.0, 0.0),
        (2, 4.0, 125.0, 0.0),
        (3, -6.75, 80.0, 0.0),
    ]


def test_a_reduction_pays_slippage_on_the_side_of_the_sale(trade, bars):
    outcome = trade(bars, [1, 0.5, 0.5, 0.5, 0.5], sizer=units(4.0), execution=Execution(slippage=0.2))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 4.0, 120.0, 0.0), (2, -2.0, 100.0, 0.0)]


@pytest.mark.parametrize(
    ("sizer", "quantity"),
    [
        (Sizer(value=50.0), 2.5),
        (Sizer(rule=SizingRule.UNITS, value=3.0), 1.5),
        (Sizer(rule=SizingRule.SIZE, value=600.0), 3.0),
    ],
)
def test_a_position_sizer_says_what_a_full_signal_buys(trade, bars, sizer, quantity):
    outcome = trade(bars, [0.5] * 5, sizer=sizer)
    assert outcome.rows(OrdersFilled, *FILL) == [(1, quantity, 100.0, 0.0)]


def test_strategies_are_combined_by_their_weights(trade, scripted, bars):
    outcome = trade(
        bars,
        scripted(1, 1, 1, 1, 1, name="up", weight=0.75),
        scripted(0, -1, -1, 1, 1, name="down", weight=0.25),
    )
    assert outcome.rows(SignalsEmitted, "strategy", "bar", "target") == [
        (0, 0, 1.0),
        (1, 1, -1.0),
        (1, 3, 1.0),
    ]
    assert outcome.rows(OrdersPlaced, "bar", "target") == [(0, 0.75), (1, 0.5), (3, 1.0)]


def test_signals_that_cancel_each_other_leave_no_dust_to_trade(trade, scripted, bars):
    slots = [
        scripted(1, 1, 1, 1, 1, name="a", weight=0.3),
        scripted(0, -1, -1, -1, -1, name="b", weight=0.1),
        scripted(0, -1, -1, -1, -1, name="c", weight=0.2),
    ]
    outcome = trade(bars, *slots)
    assert outcome.rows(OrdersPlaced, "bar", "target") == [(0, 0.3), (1, 0.0)]


def test_bounds_keep_a_strategy_on_one_side(trade, scripted, bars):
    longs = trade(bars, scripted(1, -1, -1, 0.5, 1, lowest=0.0))
    assert longs.rows(SignalsEmitted, "bar", "target") == [(0, 1.0), (1, 0.0), (3, 0.5), (4, 1.0)]
    shorts = trade(bars, scripted(1, -1, -1, 0.5, 1, highest=0.0))
    assert shorts.rows(SignalsEmitted, "bar", "target") == [(1, -1.0), (3, 0.0)]


def test_an_order_for_less_than_one_unit_is_denied(trade, bars):
    outcome = trade(bars, LONG, capital=99.0, execution=Execution(rounding=Rounding.FLOOR))
    assert outcome.rows(OrdersDenied, *DENIAL) == [(1, DenialRule.BELOW_ONE_UNIT, 99.0)]
    assert outcome.rows(OrdersFilled, *FILL) == []


def test_an_order_whose_budget_the_fixed_commission_eats_is_denied(trade, bars):
    outcome = trade(bars, LONG, capital=40.0, execution=Execution(commission_fixed=50.0))
    assert outcome.rows(OrdersDenied, *DENIAL) == [(1, DenialRule.BELOW_ONE_UNIT, 40.0)]


@pytest.mark.parametrize(
    "sizer", [units(10.001), Sizer(rule=SizingRule.SIZE, value=1000.1)], ids=["units", "size"]
)
@pytest.mark.parametrize("target", [LONG, SHORT], ids=["long", "short"])
def test_an_order_that_costs_more_than_the_equity_is_denied(trade, bars, sizer, target):
    outcome = trade(bars, target, sizer=sizer)
    assert outcome.rows(OrdersDenied, *DENIAL) == [(1, DenialRule.INSUFFICIENT_FUNDS, 1000.0)]
    assert outcome.metric("final_equity") == 1000.0


@pytest.mark.parametrize(
    ("execution", "rows"),
    [(Execution(), 1), (Execution(commission_rate=1e-5), 0), (Execution(commission_fixed=0.01), 0)],
    ids=["free", "rate", "fixed"],
)
def test_all_the_equity_may_be_spent_and_commissions_count(trade, bars, execution, rows):
    outcome = trade(bars, LONG, sizer=units(10.0), execution=execution)
    assert len(outcome.rows(OrdersFilled, *FILL)) == rows


def test_an_account_without_equity_may_close_but_not_open(trade, make_bars):
    bars = make_bars([100, 100, 100, 250, 250, 250])
    outcome = trade(bars, [-1, -1, -1, 1, 1, 1])
    assert outcome.rows(OrdersFilled, *FILL) == [(1, -10.0, 100.0, 0.0), (4, 10.0, 250.0, 0.0)]
    assert outcome.rows(OrdersDenied, *DENIAL) == [(4, DenialRule.NO_EQUITY, -500.0)]
    assert outcome.metric("final_equity") == -500.0


def test_a_curve_that_ends_at_exactly_zero_is_measured(trade, make_bars):
    outcome = trade(make_bars([100, 100, 200, 200]), SHORT)
    assert outcome.metric("final_equity") == 0.0
    assert outcome.metric("annual_return") == -1.0
    assert outcome.metric("max_drawdown") == 1.0
    assert np.isfinite(outcome.metric("sharpe_ratio"))


@pytest.mark.parametrize("fill", [FillPrice.NEXT_OPEN, FillPrice.NEXT_CLOSE])
def test_an_order_of_the_last_bar_is_canceled(trade, bars, fill):
    outcome = trade(bars, [0, 0, 0, 0, 1], execution=Execution(fill=fill))
    assert outcome.rows(OrdersPlaced, "bar", "target") == [(4, 1.0)]
    assert outcome.rows(OrdersCanceled, "order", "bar", "reason") == [(0, 4, CancelReason.END_OF_DATA)]
    assert outcome.metric("final_equity") == 1000.0


@pytest.mark.parametrize(
    ("end", "last_fill", "final", "trades"),
    [
        (EndOfData.MARK, [], 2000.0, 0),
        (EndOfData.CLOSE, [(4, -10.0, 200.0, 0.0)], 2000.0, 1),
        (EndOfData.CLOSE_AT_OPEN, [(4, -10.0, 160.0, 0.0)], 1600.0, 1),
    ],
)
def test_a_position_at_the_end_is_marked_or_closed(trade, bars, end, last_fill, final, trades):
    outcome = trade(bars, LONG, execution=Execution(end=end))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 10.0, 100.0, 0.0), *last_fill]
    assert outcome.metric("final_equity") == final
    assert outcome.metric("trades") == trades


def test_a_reversal_on_the_last_bar_is_canceled_and_the_position_closed(trade, bars):
    outcome = trade(bars, [1, 1, 1, 1, -1], execution=Execution(end=EndOfData.CLOSE))
    assert outcome.rows(OrdersPlaced, "order", "bar", "target") == [
        (0, 0, 1.0),
        (1, 4, 0.0),
        (2, 4, -1.0),
        (3, 4, 0.0),
    ]
    assert outcome.rows(OrdersCanceled, "order", "bar") == [(1, 4), (2, 4)]
    assert outcome.rows(OrdersFilled, "order", *FILL) == [(0, 1, 10.0, 100.0, 0.0), (3, 4, -10.0, 200.0, 0.0)]


@pytest.mark.parametrize("fill", [FillPrice.SAME_CLOSE, FillPrice.NEXT_CLOSE])
def test_closing_at_the_last_open_is_refused_where_fills_come_after_it(fill):
    with pytest.raises(ConfigurationError, match=r"needs fill next_open, was (same|next)_close"):
        Execution(fill=fill, end=EndOfData.CLOSE_AT_OPEN)


def test_a_window_takes_over_the_target_that_holds_at_its_first_bar(trade, bars):
    outcome = trade(bars, [np.nan, 1, np.nan, np.nan, np.nan], window=(2, 5))
    assert outcome.rows(SignalsEmitted, "bar", "target") == [(2, 1.0)]
    assert outcome.rows(OrdersFilled, *FILL) == [(3, 12.5, 80.0, 0.0)]


def test_a_window_ends_before_its_stop(trade, bars):
    outcome = trade(bars, LONG, window=(0, 3), execution=Execution(end=EndOfData.CLOSE))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 10.0, 100.0, 0.0), (2, -10.0, 100.0, 0.0)]
    assert outcome.metric("final_equity") == 1000.0


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ConfigurationError, match="must be positive, was 0"):
        Sizer(value=0.0)
    with pytest.raises(ConfigurationError, match="at most 100, was 120"):
        Sizer(value=120.0).require_affordable(leverage=1.0)
    Sizer(value=120.0).require_affordable(leverage=2.0)
    assert units(3.0).parameter == "all_in.units"
