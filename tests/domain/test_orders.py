"""Orders that wait, exits, partial fills, margin, interest, risk limits and sizers, on bars made by hand.

Capital is 1000; unless a test is about sizes, a full signal is two units.
"""

import numpy as np
import pytest
from admf.domain.codes import CancelReason, DenialRule, OrderType
from admf.domain.errors import ConfigurationError
from admf.domain.events import (
    InterestCharged,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
)
from admf.domain.execution import (
    EndOfData,
    Execution,
    FillPrice,
    LimitFill,
    Protection,
    RiskLimits,
    Rounding,
    Sizer,
    SizingRule,
)

NAN = np.nan
FILL = ("bar", "quantity", "price")
DENIAL = ("bar", "rule", "required", "available")
CANCELED = ("order", "bar", "reason")
PAIR = Sizer(rule=SizingRule.UNITS, value=2.0)
LONG = [1, 1, 1, 1]
SHORT = [-1, -1, -1, -1]
# open, high, low, close
CANDLES = ((100, 101, 99, 100), (100, 102, 98, 101), (101, 103, 94, 96), (96, 97, 95, 96))
MIRRORED = tuple((200 - o, 200 - low, 200 - high, 200 - c) for o, high, low, c in CANDLES)


@pytest.fixture(scope="module")
def candles(make_bars):
    """Bars from rows of open, high, low and close."""

    def make(*rows, **changes):
        opens, high, low, close = zip(*rows, strict=True)
        return make_bars(close, opens, high=high, low=low, **changes)

    return make


@pytest.fixture(scope="module")
def bars(candles):
    return candles(*CANDLES)


@pytest.fixture(scope="module")
def order(trade):
    """Trade two units for a full signal."""

    def traded(bars, *targets, **changes):
        return trade(bars, *targets, **({"sizer": PAIR} | changes))

    return traded


def types(outcome):
    return [OrderType(kind).name for kind in outcome.rows(OrdersPlaced, "type")]


# Orders that wait.


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ({"limit": 98}, [(1, 2.0, 98.0)]),
        ({"limit": 95}, [(2, 2.0, 95.0)]),
        ({"limit": 100.5}, [(1, 2.0, 100.0)]),
        ({"limit": 93}, []),
        ({"stop": 102}, [(1, 2.0, 102.0)]),
        ({"stop": 103}, [(2, 2.0, 103.0)]),
        ({"stop": 99}, [(1, 2.0, 100.0)]),
        ({"stop": 104}, []),
        ({"stop": 103, "limit": 104}, [(2, 2.0, 103.0)]),
        ({"stop": 103, "limit": 95}, [(3, 2.0, 95.0)]),
        ({"stop": 103, "limit": 96.5}, [(3, 2.0, 96.0)]),
        ({"stop": 99, "limit": 98.5}, [(1, 2.0, 98.5)]),
    ],
)
def test_an_order_waits_for_its_price(order, bars, candles, prices, expected):
    outcome = order(bars, LONG, prices=prices)
    assert outcome.rows(OrdersFilled, *FILL) == expected
    kind = {("limit",): "LIMIT", ("stop",): "STOP"}.get(tuple(prices), "STOP_LIMIT")
    assert types(outcome) == [kind]
    mirrored = {name: 200 - price for name, price in prices.items()}
    assert order(candles(*MIRRORED), SHORT, prices=mirrored).rows(OrdersFilled, *FILL) == [
        (bar, -quantity, 200 - price) for bar, quantity, price in expected
    ]


def test_prices_of_orders_are_recorded_and_missing_ones_are_not_a_number(order, bars):
    outcome = order(bars, LONG, prices={"limit": [95, NAN, NAN, NAN]})
    assert outcome.rows(OrdersPlaced, "bar", "limit") == [(0, 95.0)]
    assert np.isnan(outcome.rows(OrdersPlaced, "stop")).all()


def test_a_limit_that_is_only_touched_waits_where_limits_fill_through(order, bars):
    through = Execution(limit=LimitFill.THROUGH)
    assert order(bars, LONG, prices={"limit": 98}, execution=through).rows(OrdersFilled, *FILL) == [
        (2, 2.0, 98.0)
    ]


def test_slippage_counts_for_stops_but_not_for_limits(order, bars):
    slips = Execution(slippage=0.25)
    assert order(bars, LONG, prices={"limit": 98}, execution=slips).rows(OrdersFilled, *FILL) == [
        (1, 2.0, 98.0)
    ]
    assert order(bars, LONG, prices={"stop": 102}, execution=slips).rows(OrdersFilled, *FILL) == [
        (1, 2.0, 127.5)
    ]


def test_a_new_target_replaces_an_order_that_waits(order, bars):
    outcome = order(bars, [1, 1, 0.5, 0.5], prices={"limit": [90, NAN, 97, NAN]})
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(0, 2, CancelReason.REPLACED)]
    assert outcome.rows(OrdersFilled, *FILL) == [(3, 1.0, 96.0)]


def test_a_target_of_zero_withdraws_an_order_that_waits(order, bars):
    outcome = order(bars, [1, 0, 0, 0], prices={"limit": 95})
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(0, 1, CancelReason.REPLACED)]
    assert outcome.rows(OrdersFilled, *FILL) == []


def test_an_order_that_still_waits_at_the_end_is_canceled(order, bars):
    outcome = order(bars, LONG, prices={"limit": 80})
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(0, 3, CancelReason.END_OF_DATA)]


def test_an_order_that_waits_fills_at_the_open_of_the_last_bar_but_not_after_all_is_closed(order, bars):
    at_open = Execution(end=EndOfData.CLOSE_AT_OPEN)
    late = order(bars, LONG, prices={"limit": 95}, execution=at_open, window=(2, 4))
    assert late.rows(OrdersFilled, *FILL) == []
    assert late.rows(OrdersCanceled, *CANCELED) == [(0, 3, CancelReason.END_OF_DATA)]


@pytest.mark.parametrize(
    ("prices", "expected"),
    [({"limit": 103}, 103.0), ({"limit": 100.5}, 101.0), ({"stop": 95}, 95.0), ({"stop": 101.5}, 101.0)],
)
def test_an_order_for_less_than_there_is_sells_at_its_limit_or_above_and_at_its_stop_or_below(
    order, bars, candles, prices, expected
):
    columns = {name: [NAN, price, NAN, NAN] for name, price in prices.items()}
    outcome = order(bars, [1, 0.5, 0.5, 0.5], prices=columns)
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (2, -1.0, expected)]
    columns = {name: [NAN, 200 - price, NAN, NAN] for name, price in prices.items()}
    outcome = order(candles(*MIRRORED), [-1, -0.5, -0.5, -0.5], prices=columns)
    assert outcome.rows(OrdersFilled, *FILL) == [(1, -2.0, 100.0), (2, 1.0, 200 - expected)]


def test_a_reversal_closes_at_once_and_waits_for_its_price_with_the_rest(order, bars):
    outcome = order(bars, [1, -1, -1, -1], prices={"limit": [NAN, 102.5, NAN, NAN]})
    assert types(outcome) == ["MARKET", "MARKET", "LIMIT"]
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (2, -2.0, 101.0), (2, -2.0, 102.5)]


# Exits.

EXIT = ("bar", "quantity", "price")


@pytest.mark.parametrize(
    ("protection", "expected", "kind"),
    [
        ({"stop_loss": 2.0}, (1, -2.0, 98.0), "STOP_LOSS"),
        ({"stop_loss": 5.0}, (2, -2.0, 95.0), "STOP_LOSS"),
        ({"stop_loss": 7.0}, None, ""),
        ({"take_profit": 2.0}, (1, -2.0, 102.0), "TAKE_PROFIT"),
        ({"take_profit": 2.5}, (2, -2.0, 102.5), "TAKE_PROFIT"),
        ({"take_profit": 4.0}, None, ""),
        ({"stop_loss": 2.0, "take_profit": 2.0}, (1, -2.0, 98.0), "STOP_LOSS"),
        ({"stop_loss": 5.0, "take_profit": 3.0}, (2, -2.0, 95.0), "STOP_LOSS"),
        ({"trailing_stop": 2.0}, (1, -2.0, 98.0), "TRAILING_STOP"),
        ({"trailing_stop": 5.0}, (2, -2.0, 102 * 0.95), "TRAILING_STOP"),
        ({"trailing_stop": 8.0}, None, ""),
        ({"stop_loss": 4.0, "trailing_stop": 7.5}, (2, -2.0, 96.0), "STOP_LOSS"),
        ({"stop_loss": 6.0, "trailing_stop": 5.0}, (2, -2.0, 102 * 0.95), "TRAILING_STOP"),
        ({"take_profit": 2.5, "trailing_stop": 8.0}, (2, -2.0, 102.5), "TAKE_PROFIT"),
    ],
)
def test_a_position_ends_at_its_stop_its_target_or_its_trailing_stop(order, bars, protection, expected, kind):
    outcome = order(bars, LONG, protection=Protection(**protection))
    fills = outcome.rows(OrdersFilled, *FILL)
    assert fills[0] == (1, 2.0, 100.0)
    assert fills[1:] == ([pytest.approx(expected, rel=1e-15)] if expected else [])
    assert types(outcome) == ["MARKET", *([kind] if kind else [])]


@pytest.mark.parametrize(
    ("protection", "expected"),
    [
        ({"stop_loss": 2.0}, (1, 2.0, 102.0)),
        ({"take_profit": 2.0}, (1, 2.0, 98.0)),
        ({"trailing_stop": 4.0}, (2, 2.0, 98 * 1.04)),
        ({"stop_loss": 3.0, "take_profit": 6.0}, (2, 2.0, 103.0)),
    ],
)
def test_a_short_position_ends_above_or_below(order, bars, protection, expected):
    outcome = order(bars, SHORT, protection=Protection(**protection))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, -2.0, 100.0), pytest.approx(expected, rel=1e-15)]


def test_an_exit_is_a_row_with_its_price_and_there_is_no_new_entry_until_the_target_changes(order, candles):
    bars = candles(*CANDLES, *CANDLES[1:])
    outcome = order(bars, [1, 1, 1, 1, 0.5, 0.5, 0.5], protection=Protection(stop_loss=2.0))
    assert outcome.rows(OrdersPlaced, "order", "bar", "target") == [
        (0, 0, 1.0), (1, 1, 0.0), (2, 4, 0.5), (3, 5, 0.0),
    ]  # fmt: skip
    assert outcome.rows(OrdersPlaced, "stop")[1] == 98.0
    assert outcome.rows(OrdersFilled, *FILL)[2:] == [(5, 1.0, 101.0), (5, -1.0, pytest.approx(98.98))]


@pytest.mark.parametrize("protection", [{"stop_loss": 4.0}, {"trailing_stop": 4.0}])
def test_an_open_beyond_the_stop_is_the_price(order, candles, protection):
    bars = candles((100, 101, 99, 100), (100, 101, 99, 100), (93, 101, 92, 95))
    outcome = order(bars, [1, 1, 1], protection=Protection(**protection))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (2, -2.0, 93.0)]


def test_a_stop_slips(order, bars):
    outcome = order(bars, LONG, prices={"stop_loss": 98}, execution=Execution(slippage=0.25))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 125.0), (1, -2.0, 73.5)]


def test_a_target_beyond_the_open_is_the_price_and_does_not_slip(order, candles):
    bars = candles((100, 101, 99, 100), (100, 101, 99, 100), (108, 110, 99, 100))
    outcome = order(
        bars, [1, 1, 1], protection=Protection(take_profit=5.0), execution=Execution(slippage=0.01)
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 101.0), (2, -2.0, 108.0)]


def test_a_strategys_own_exits_go_before_those_of_the_phase(order, bars):
    outcome = order(bars, LONG, prices={"stop_loss": 94.5}, protection=Protection(stop_loss=2.0))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (2, -2.0, 94.5)]
    outcome = order(bars, LONG, prices={"take_profit": 102.5}, protection=Protection(take_profit=1.0))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (2, -2.0, 102.5)]


def test_an_addition_moves_the_exits_with_the_average_entry(order, bars):
    # One unit at 100, one at 101: 5 % below the average of 100.5.
    outcome = order(bars, [0.5, 1, 1, 1], protection=Protection(stop_loss=5.0))
    assert outcome.rows(OrdersFilled, *FILL) == [
        (1, 1.0, 100.0), (2, 1.0, 101.0), (2, -2.0, pytest.approx(100.5 * 0.95)),
    ]  # fmt: skip


@pytest.mark.parametrize(("fill", "entry"), [(FillPrice.SAME_CLOSE, 0), (FillPrice.NEXT_CLOSE, 1)])
def test_a_trailing_stop_has_not_seen_the_bar_at_whose_close_the_position_began(order, candles, fill, entry):
    before, after = (100, 130, 99, 100), (100, 102, 99, 101)
    bars = candles(*[before] * (entry + 1), after, (100, 101, 90, 95))
    outcome = order(
        bars,
        [1] * (entry + 3),
        protection=Protection(trailing_stop=5.0),
        execution=Execution(fill=fill),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [
        (entry, 2.0, 100.0), (entry + 2, -2.0, pytest.approx(102 * 0.95)),
    ]  # fmt: skip


def test_a_stop_is_watched_while_an_order_waits_for_the_close(order, candles):
    bars = candles((100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 80, 85))
    outcome = order(
        bars,
        [1, 1, 0, 0],
        protection=Protection(stop_loss=10.0),
        execution=Execution(fill=FillPrice.NEXT_CLOSE),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (3, -2.0, 90.0)]
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(1, 3, CancelReason.POSITION_CLOSED)]


# The entry's own bar: (101, 103, 94, 96) is the bar at which these orders fill.


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ({"stop": 102.5, "take_profit": 103}, [(2, 2.0, 102.5), (2, -2.0, 103.0)]),
        ({"stop": 102.5, "take_profit": 103, "stop_loss": 93}, [(2, 2.0, 102.5), (2, -2.0, 103.0)]),
        ({"stop": 102.5, "take_profit": 103, "stop_loss": 94}, [(2, 2.0, 102.5)]),
        ({"stop": 102.5, "stop_loss": 96.5}, [(2, 2.0, 102.5), (3, -2.0, 96.0)]),
        ({"limit": 97, "take_profit": 102}, [(2, 2.0, 97.0)]),
        ({"limit": 97, "stop_loss": 95}, [(2, 2.0, 97.0), (3, -2.0, 95.0)]),
        ({"limit": 97, "take_profit": 96.5}, [(2, 2.0, 97.0), (3, -2.0, 96.5)]),
        ({"stop": 102.5, "limit": 102.7, "take_profit": 103}, [(2, 2.0, 102.5), (2, -2.0, 103.0)]),
    ],
)
def test_what_began_inside_of_a_bar_ends_inside_it_only_at_a_target_after_a_stop_price(
    order, candles, prices, expected
):
    bars = candles((100, 101, 99, 100), (100, 101.5, 99.5, 101), *CANDLES[2:])
    assert order(bars, LONG, prices=prices).rows(OrdersFilled, *FILL) == expected


def test_a_stop_limit_order_that_the_open_triggers_and_a_lower_price_fills_began_at_its_limit(order, candles):
    """The high of its bar may have come before it."""
    bars = candles((100, 101, 99, 100), (101, 103, 94, 96), (96, 97, 95, 96))
    outcome = order(bars, [1, 1, 1], prices={"stop": 100.5, "limit": 99, "take_profit": 102.5})
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 99.0)]


@pytest.mark.parametrize(
    ("prices", "last"),
    [
        ({"limit": 101.5, "take_profit": 102.5}, (2, -2.0, 102.5)),
        ({"stop": 100.5, "stop_loss": 95}, (2, -2.0, 95.0)),
    ],
)
def test_what_a_gap_filled_at_the_open_sees_the_whole_bar(order, bars, prices, last):
    columns = {name: [NAN, price, NAN, NAN] for name, price in prices.items()}
    outcome = order(bars, [NAN, 1, 1, 1], prices=columns)
    assert outcome.rows(OrdersFilled, *FILL) == [(2, 2.0, 101.0), last]


# Volume.


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding.FRACTION, [(1, 2.5, 100.0), (2, 2.5, 101.0), (3, 1.0, 96.0)]),
        (Rounding.FLOOR, [(1, 2.0, 100.0), (2, 2.0, 101.0), (3, 2.0, 96.0)]),
    ],
)
def test_an_order_is_filled_over_several_bars(trade, candles, rounding, expected):
    outcome = trade(
        candles(*CANDLES, volume=10.0),
        LONG,
        sizer=Sizer(rule=SizingRule.UNITS, value=6.0),
        execution=Execution(volume_limit=0.25, rounding=rounding),
    )
    assert outcome.rows(OrdersFilled, *FILL) == expected
    assert outcome.rows(OrdersFilled, "order") == [0, 0, 0]
    assert outcome.rows(OrdersCanceled, *CANCELED) == []


def test_what_the_last_bar_leaves_of_an_order_is_canceled(trade, candles):
    outcome = trade(
        candles(*CANDLES, volume=[10.0, 10.0, 0.0, 4.0]), LONG, execution=Execution(volume_limit=0.25)
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.5, 100.0), (3, 1.0, 96.0)]
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(0, 3, CancelReason.END_OF_DATA)]


def test_a_new_target_takes_the_place_of_what_is_left_of_an_order(trade, candles):
    outcome = trade(
        candles(*CANDLES, volume=10.0),
        [1, 0, 0, 0],
        sizer=Sizer(rule=SizingRule.UNITS, value=6.0),
        execution=Execution(volume_limit=0.25),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.5, 100.0), (2, -2.5, 101.0)]
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(0, 1, CancelReason.REPLACED)]


@pytest.mark.parametrize("fill", [FillPrice.NEXT_OPEN, FillPrice.SAME_CLOSE])
def test_a_stop_is_filled_in_parts(order, candles, fill):
    bars = candles(*CANDLES, (95, 96, 94, 95), volume=[10.0, 10.0, 4.0, 1.0, 10.0])
    outcome = order(
        bars,
        [1, 1, 1, 1, 1],
        protection=Protection(stop_loss=5.0),
        execution=Execution(volume_limit=0.25, fill=fill),
    )
    entry = 1 if fill is FillPrice.NEXT_OPEN else 0
    assert outcome.rows(OrdersFilled, *FILL) == [
        (entry, 2.0, 100.0), (2, -1.0, 95.0), (3, -0.25, 96.0), (4, -0.75, 95.0),
    ]  # fmt: skip
    assert types(outcome) == ["MARKET", "STOP_LOSS"]


def test_an_exit_in_parts_goes_on_while_the_strategy_changes_its_mind(order, candles):
    bars = candles(*CANDLES, (95, 96, 94, 95), (95, 96, 94, 95), volume=[10.0, 10.0, 4.0, 2.0, 10.0, 10.0])
    outcome = order(
        bars,
        [1, 1, 0.5, 0.5, 0.5, 0.5],
        protection=Protection(stop_loss=5.0),
        execution=Execution(volume_limit=0.25),
    )
    assert types(outcome) == ["MARKET", "STOP_LOSS", "MARKET"]
    assert outcome.rows(OrdersFilled, "order", *FILL) == [
        (0, 1, 2.0, 100.0), (1, 2, -1.0, 95.0), (1, 3, -0.5, 96.0), (1, 4, -0.5, 95.0), (2, 4, 1.0, 95.0),
    ]  # fmt: skip


def test_a_reversal_waits_until_the_position_is_closed(order, candles):
    bars = candles(*CANDLES, (95, 96, 94, 95), volume=[10.0, 10.0, 4.0, 8.0, 10.0])
    outcome = order(bars, [1, -1, -1, -1, -1], execution=Execution(volume_limit=0.25))
    assert outcome.rows(OrdersFilled, "order", *FILL) == [
        (0, 1, 2.0, 100.0), (1, 2, -1.0, 101.0), (1, 3, -1.0, 96.0), (2, 3, -1.0, 96.0), (2, 4, -1.0, 95.0),
    ]  # fmt: skip


def test_a_stop_takes_along_the_rest_of_the_order_that_began_the_position(order, candles):
    """Else it would buy what the stop has just sold."""
    outcome = order(
        candles(*CANDLES, volume=[10.0, 2.0, 10.0, 10.0]),
        LONG,
        protection=Protection(stop_loss=2.0),
        execution=Execution(volume_limit=0.5),
    )
    assert outcome.rows(OrdersFilled, "order", *FILL) == [(0, 1, 1.0, 100.0), (1, 2, -1.0, 101.0)]
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(0, 2, CancelReason.POSITION_CLOSED)]


def test_a_stop_takes_along_the_rest_of_a_sale_of_the_same_position(order, candles):
    """Else it would sell what is no longer there."""
    outcome = order(
        candles(*CANDLES, volume=[10.0, 4.0, 2.0, 10.0]),
        [1, 0.25, 0.25, 0.25],
        protection=Protection(stop_loss=5.0),
        execution=Execution(volume_limit=0.5),
    )
    assert outcome.rows(OrdersFilled, "order", *FILL) == [
        (0, 1, 2.0, 100.0), (1, 2, -1.0, 101.0), (2, 3, -1.0, 96.0),
    ]  # fmt: skip
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(1, 3, CancelReason.POSITION_CLOSED)]


def test_a_stop_takes_along_an_order_that_waits_to_sell_a_part(order, bars):
    outcome = order(bars, [1, 0.5, 0.5, 0.5], prices={"limit": [NAN, 110, NAN, NAN], "stop_loss": 95})
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 2.0, 100.0), (2, -2.0, 95.0)]
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(1, 2, CancelReason.POSITION_CLOSED)]


@pytest.mark.parametrize("side", [1, -1])
def test_each_fill_has_the_impact_of_its_part_of_the_volume(trade, make_bars, side):
    """zipline, tests/finance/test_slippage.py: 100 shares in bars of 2000 at 3.50, 50 of them per bar."""
    outcome = trade(
        make_bars([3.5] * 4, volume=2000.0),
        [side] * 4,
        sizer=Sizer(rule=SizingRule.UNITS, value=100.0),
        execution=Execution(volume_limit=0.025, price_impact=0.1, rounding=Rounding.FLOOR),
    )
    price = {1: 3.50021875, -1: 3.49978125}[side]
    assert outcome.rows(OrdersFilled, *FILL) == [
        (bar, 50.0 * side, pytest.approx(price, rel=1e-14)) for bar in (1, 2)
    ]


@pytest.mark.parametrize(
    ("side", "row", "expected"),
    [(1, (4.0, 4.2, 3.8, 4.0), 4.00025), (-1, (3.0, 3.15, 2.85, 3.0), 2.9998125)],
)
def test_a_stop_that_a_gap_passes_has_ziplines_impact(trade, candles, side, row, expected):
    """zipline, tests/finance/test_slippage.py, stop orders at 3.50: 50 of 2000 at 4.00, and at 3.00."""
    outcome = trade(
        candles((3.5, 3.6, 3.4, 3.5), row, volume=2000.0),
        [side, side],
        prices={"stop": 3.5},
        sizer=Sizer(rule=SizingRule.UNITS, value=100.0),
        execution=Execution(volume_limit=0.025, price_impact=0.1),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 50.0 * side, pytest.approx(expected, rel=1e-14))]


def test_an_impact_needs_a_volume_limit():
    with pytest.raises(ConfigurationError, match="price_impact needs a volume_limit"):
        Execution(price_impact=0.1)


# Margin and interest.


def test_leverage_is_what_can_be_bought_above_the_equity(trade, make_bars):
    bars = make_bars([100, 100, 110])
    outcome = trade(bars, [1, 1, 1], sizer=Sizer(value=200.0), execution=Execution(leverage=2.0))
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 20.0, 100.0)]
    assert outcome.metric("final_equity") == 1200.0
    units = Sizer(rule=SizingRule.UNITS, value=20.5)
    denied = trade(bars, [1, 1, 1], sizer=units, execution=Execution(leverage=2.0))
    assert denied.rows(OrdersDenied, *DENIAL) == [(1, DenialRule.INSUFFICIENT_FUNDS, 2050.0, 2000.0)]


def test_a_percentage_that_the_leverage_does_not_allow_is_brought_down_to_it(trade, make_bars):
    outcome = trade(
        make_bars([100, 100, 100]),
        [1, 1, 1],
        sizer=Sizer(value=300.0),
        execution=Execution(leverage=1.5, commission_rate=0.25),
    )
    # 1500 pays for 12 units and a quarter of their value.
    assert outcome.rows(OrdersFilled, *FILL, "fee") == [(1, 12.0, 100.0, 300.0)]


@pytest.mark.parametrize(
    ("close", "maintenance", "called"),
    [(67.0, 0.25, False), (66.0, 0.25, True), (51.0, 0.0, False), (50.0, 0.0, True)],
)
def test_too_little_equity_behind_the_positions_closes_them_at_that_close(
    trade, make_bars, close, maintenance, called
):
    # 20 units and 1000 borrowed: equity is 20 x close - 1000.
    outcome = trade(
        make_bars([100, 100, close, close + 10], [100, 100, 90, 70]),
        [1, 1, 1, 1],
        sizer=Sizer(value=200.0),
        execution=Execution(leverage=2.0, maintenance_margin=maintenance),
    )
    expected = [(2, -20.0, close)] if called else []
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 20.0, 100.0), *expected]
    assert types(outcome) == ["MARKET", *["MARGIN_CALL"] * called]


def test_a_short_position_is_called_too_and_the_price_slips(trade, make_bars):
    outcome = trade(
        make_bars([100, 100, 160]),
        [-1, -1, -1],
        execution=Execution(maintenance_margin=0.3, slippage=0.01),
        sizer=Sizer(rule=SizingRule.UNITS, value=10.0),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [(1, -10.0, 99.0), (2, 10.0, pytest.approx(161.6))]


def test_a_margin_call_is_filled_in_parts_and_withdraws_what_waits(trade, make_bars):
    outcome = trade(
        make_bars([100, 100, 60, 60, 60], volume=[40, 40, 16, 16, 40]),
        [1, 1, 1, 1, 1],
        sizer=Sizer(value=200.0),
        execution=Execution(leverage=2.0, maintenance_margin=0.2, volume_limit=0.5),
    )
    assert outcome.rows(OrdersFilled, "order", *FILL) == [
        (0, 1, 20.0, 100.0), (1, 2, -8.0, 60.0), (1, 3, -8.0, 60.0), (1, 4, -4.0, 60.0),
    ]  # fmt: skip
    assert types(outcome) == ["MARKET", "MARGIN_CALL"]
    assert outcome.rows(OrdersCanceled, *CANCELED) == []


def test_borrowed_units_cost_interest_on_their_value_at_the_close_before(order, make_bars):
    bars = make_bars([100, 110, 120, 130], [100, 100, 115, 125])
    # A thousandth per day; bar 1 begins the position, and its close is the first that counts.
    outcome = order(bars, SHORT, execution=Execution(borrow_rate=0.365))
    charges = outcome.rows(InterestCharged, "bar", "symbol", "amount")
    assert charges == [(2, 0, pytest.approx(0.22)), (3, 0, pytest.approx(0.24))]
    free = order(bars, SHORT)
    assert free.metric("final_equity") - outcome.metric("final_equity") == pytest.approx(0.46)
    assert outcome.metric("fees") == pytest.approx(0.46)


def test_borrowed_cash_costs_interest_and_interest_on_it(trade, make_bars):
    outcome = trade(
        make_bars([100] * 5, step=10 * 86_400_000_000_000),
        [1, 1, 1, 0, 0],
        sizer=Sizer(value=200.0),
        execution=Execution(leverage=2.0, interest_rate=0.365),
    )
    # One hundredth in ten days; the position is closed at the open of bar 4, which still pays for bar 3.
    assert outcome.rows(InterestCharged, "bar", "symbol", "amount") == [
        (2, -1, pytest.approx(10.0)), (3, -1, pytest.approx(10.1)), (4, -1, pytest.approx(10.201)),
    ]  # fmt: skip
    assert outcome.metric("final_equity") == pytest.approx(1000 - 30.301)


def test_a_debt_that_is_left_without_positions_costs_interest_at_every_bar(trade, make_bars):
    outcome = trade(
        make_bars([100, 100, 300, 300, 300, 300]),
        [-1, -1, 0, 0, 0, 0],
        execution=Execution(interest_rate=3.65),
    )
    charges = outcome.rows(InterestCharged, "bar", "amount")
    assert charges == [(4, pytest.approx(10.0)), (5, pytest.approx(10.1))]


# Risk limits.


def test_a_position_beyond_the_limit_is_denied(trade, make_bars):
    bars = make_bars([100, 100, 100, 100])
    limits = RiskLimits(max_position=0.5)
    outcome = trade(bars, [0.6, 0.6, -0.5, -0.5], limits=limits)
    assert outcome.rows(OrdersDenied, *DENIAL) == [(1, DenialRule.MAX_POSITION, 0.6, 0.5)]
    assert outcome.rows(OrdersFilled, *FILL) == [(3, -5.0, 100.0)]


def test_gross_exposure_beyond_the_limit_is_denied(trade, make_bars, scripted):
    bars = [make_bars([100, 100, 100], symbol=symbol) for symbol in "AB"]
    outcome = trade(
        bars,
        scripted(0.5, 0.5, 0.5, name="a", symbols=(0,)),
        scripted(-0.4, -0.4, -0.4, name="b", symbols=(1,)),
        limits=RiskLimits(max_leverage=0.8),
    )
    assert outcome.rows(OrdersDenied, "symbol", *DENIAL) == [(1, 1, DenialRule.MAX_LEVERAGE, 0.9, 0.8)]
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [(0, 1, 5.0, 100.0)]


def test_a_limit_that_is_just_reached_allows_the_order(trade, make_bars):
    limits = RiskLimits(max_position=0.3, max_leverage=0.3)
    outcome = trade(make_bars([0.1, 0.1, 0.1]), [0.3] * 3, limits=limits)
    assert outcome.rows(OrdersDenied, *DENIAL) == []


def test_a_drawdown_closes_everything_and_ends_trading_for_good(trade, make_bars):
    outcome = trade(
        make_bars([100, 120, 96, 95, 110, 120], [100, 100, 110, 94, 100, 110]),
        [1, 1, 1, 0, 1, 1],
        limits=RiskLimits(max_drawdown=0.2),
    )
    assert types(outcome) == ["MARKET", "RISK_HALT", "MARKET"]
    assert outcome.rows(OrdersFilled, *FILL) == [(1, 10.0, 100.0), (3, -10.0, 94.0)]
    assert outcome.rows(OrdersDenied, *DENIAL) == [(5, DenialRule.MAX_DRAWDOWN, 940.0, 0.0)]


@pytest.mark.parametrize("fill", [FillPrice.SAME_CLOSE, FillPrice.NEXT_CLOSE])
def test_a_halt_closes_where_the_policy_fills(order, make_bars, fill):
    outcome = order(
        make_bars([100, 100, 90, 80, 70]),
        [1, 1, 1, 1, 1],
        sizer=Sizer(),
        execution=Execution(fill=fill),
        limits=RiskLimits(max_drawdown=0.1),
    )
    last = (2, -10.0, 90.0) if fill is FillPrice.SAME_CLOSE else (3, -10.0, 80.0)
    assert outcome.rows(OrdersFilled, *FILL)[1:] == [last]


def test_a_daily_loss_halts_until_the_day_is_over(trade, make_bars):
    # Four bars per day; day 0 ends at an equity of 1000.
    quarter = 6 * 3_600_000_000_000
    bars = make_bars([100, 100, 100, 100, 95, 90, 91, 92, 93, 94], step=quarter)
    outcome = trade(
        bars,
        [0, 0, 1, 1, 1, 0.5, 1, 0.5, 0.5, 0.5],
        limits=RiskLimits(daily_loss=0.1),
    )
    assert outcome.rows(OrdersFilled, *FILL) == [
        (3, 10.0, 100.0),
        (6, -10.0, 91.0),
        (8, pytest.approx(910 / 2 / 93), 93.0),
    ]
    assert outcome.rows(OrdersDenied, *DENIAL) == [
        (6, DenialRule.DAILY_LOSS, pytest.approx(455.0), 0.0),
        (7, DenialRule.DAILY_LOSS, pytest.approx(910.0), 0.0),
    ]


# Sizers.


def test_the_volatility_rule_divides_the_target_by_the_measured_volatility(trade, make_bars):
    close = np.array([100, 102, 99, 103, 101, 104, 104.0])
    returns = np.diff(np.log(close))
    volatility = np.std(returns[1:4], ddof=1) * np.sqrt(252)
    sizer = Sizer(rule=SizingRule.VOLATILITY, value=10.0, period=3)
    outcome = trade(make_bars(close), [NAN, NAN, 1, 1, 0.5, 0.5, 0.5], sizer=sizer)
    assert outcome.rows(OrdersDenied, "bar", "rule") == [(3, DenialRule.NO_VOLATILITY)]
    (bar, quantity, price), *_ = outcome.rows(OrdersFilled, *FILL)
    assert (bar, price) == (5, 104.0)
    assert quantity * price == pytest.approx(1000 * 0.5 * 0.1 / volatility, rel=1e-12)


def test_a_calm_market_is_bought_up_to_the_leverage_only(trade, make_bars):
    close = 100 + 0.001 * np.array([0, 1, 0, 1, 0, 1])
    sizer = Sizer(rule=SizingRule.VOLATILITY, value=50.0, period=3)
    outcome = trade(
        make_bars(close), [NAN, NAN, NAN, 1, 1, 1], sizer=sizer, execution=Execution(leverage=2.0)
    )
    (_, quantity, price), *_ = outcome.rows(OrdersFilled, *FILL)
    assert quantity * price == pytest.approx(2000.0)


def test_the_kelly_rule_bets_a_fixed_part_first_and_then_what_the_trades_were_worth(trade, make_bars):
    # Trades of a tenth of equity, at 100: +20 %, -10 %; then W = 1/2, R = (0.2 x 100) / (0.1 x 102).
    close = [100, 100, 120, 100, 100, 90, 100, 100, 100]
    sizer = Sizer(rule=SizingRule.KELLY, value=50.0, minimum_trades=2, start=10.0)
    outcome = trade(make_bars(close), [1, 0, 0, 1, 0, 0, 1, 1, 1], sizer=sizer)
    fills = outcome.rows(OrdersFilled, *FILL)
    assert fills[:4] == [(1, 1.0, 100.0), (2, -1.0, 120.0), (4, 1.02, 100.0), (5, -1.02, 90.0)]
    equity = 1000 + 20 - 10.2
    kelly = 0.5 - 0.5 / (20 / 10.2)
    assert fills[4:] == [(7, pytest.approx(equity * 0.5 * kelly / 100), 100.0)]


@pytest.mark.parametrize(
    ("second", "denied"), [(90, [(7, DenialRule.NO_EDGE)]), (130, [])], ids=["losses", "gains"]
)
def test_without_an_edge_the_kelly_rule_bets_nothing_and_without_a_loss_all_of_its_part(
    trade, make_bars, second, denied
):
    close = [100, 100, second, 100, 100, second, 100, 100, 100]
    sizer = Sizer(rule=SizingRule.KELLY, value=50.0, minimum_trades=2)
    outcome = trade(make_bars(close), [1, 0, 0, 1, 0, 0, 1, 1, 1], sizer=sizer)
    assert outcome.rows(OrdersDenied, "bar", "rule") == denied
    if not denied:
        equity = 1000 * 1.03**2
        assert outcome.rows(OrdersFilled, *FILL)[-1] == (7, pytest.approx(equity / 200), 100.0)


def test_the_profit_that_the_kelly_rule_counts_is_net_of_fees(trade, make_bars):
    # Both trades gain before fees and lose after them: there is no edge.
    close = [100, 100, 101, 100, 100, 101, 100, 100, 100]
    sizer = Sizer(rule=SizingRule.KELLY, value=50.0, minimum_trades=2)
    outcome = trade(
        make_bars(close), [1, 0, 0, 1, 0, 0, 1, 1, 1], sizer=sizer, execution=Execution(commission_rate=0.01)
    )
    assert outcome.rows(OrdersDenied, "bar", "rule") == [(7, DenialRule.NO_EDGE)]


@pytest.mark.parametrize("minimum", [3.0, 300.0])
def test_a_minimum_commission_counts_for_every_fill_and_in_the_budget(trade, make_bars, minimum):
    outcome = trade(
        make_bars([100, 100, 100]),
        [1, 0, 0],
        execution=Execution(commission_minimum=minimum, commission_per_unit=0.1),
    )
    units = (1000 - minimum) / 100
    assert outcome.rows(OrdersFilled, *FILL, "fee") == [
        (1, pytest.approx(units), 100.0, minimum), (2, pytest.approx(-units), 100.0, minimum),
    ]  # fmt: skip


# Several symbols.


def test_what_is_sold_pays_for_what_is_bought_whatever_the_order_of_symbols(trade, make_bars, scripted):
    for leaves, enters in ((0, 1), (1, 0)):
        bars = [make_bars([100, 100, 100, 100], [100, 100, 110, 100], symbol=symbol) for symbol in "AB"]
        outcome = trade(
            bars,
            scripted(1, 0, 0, 0, name="leaves", symbols=(leaves,)),
            scripted(0, 1, 1, 1, name="enters", symbols=(enters,)),
        )
        assert outcome.rows(OrdersFilled, "symbol", *FILL) == [
            (leaves, 1, 10.0, 100.0), (leaves, 2, -10.0, 110.0), (enters, 2, 10.0, 110.0),
        ]  # fmt: skip


def test_a_position_that_is_made_smaller_pays_for_one_that_is_made_larger(trade, make_bars, scripted):
    for smaller, larger in ((0, 1), (1, 0)):
        bars = [make_bars([100] * 4, symbol=symbol) for symbol in "AB"]
        outcome = trade(
            bars,
            scripted(0.9, 0.2, 0.2, 0.2, name="smaller", symbols=(smaller,)),
            scripted(0.1, 0.8, 0.8, 0.8, name="larger", symbols=(larger,)),
        )
        assert outcome.rows(OrdersFilled, "symbol", *FILL)[2:] == [
            (smaller, 2, -7.0, 100.0), (larger, 2, 7.0, 100.0),
        ]  # fmt: skip
        assert outcome.rows(OrdersDenied, *DENIAL) == []


def test_symbols_share_one_account_and_each_gets_its_part_of_the_equity(trade, make_bars, scripted):
    bars = [make_bars([100, 100, 200], symbol="A"), make_bars([50, 50, 50], symbol="B")]
    outcome = trade(bars, scripted(1, 1, 1))
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [(0, 1, 5.0, 100.0), (1, 1, 10.0, 50.0)]
    assert outcome.metric("final_equity") == 1500.0


def test_an_order_waits_for_the_next_bar_of_its_symbol(trade, make_bars, scripted):
    bars = [
        make_bars([100, 100, 100, 100, 100], symbol="A"),
        make_bars([50, 60, 70], at=[0, 3, 4], symbol="B"),
    ]
    outcome = trade(
        bars,
        scripted(0, 0, 0, 0, 0, name="idle", symbols=(0,)),
        scripted(1, 1, 0, name="own", symbols=(1,)),
        sizer=PAIR,
    )
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [(1, 1, 2.0, 60.0)]
    assert outcome.rows(OrdersCanceled, *CANCELED) == [(1, 2, CancelReason.END_OF_DATA)]


def test_a_symbol_without_a_bar_counts_with_its_last_close(trade, make_bars, scripted):
    bars = [
        make_bars([100, 100, 100, 100], symbol="A"),
        make_bars([50, 50], at=[0, 1], symbol="B"),
    ]
    outcome = trade(
        bars,
        scripted(0, 0, 0.5, 0.5, name="late", symbols=(0,)),
        scripted(0.5, 0.5, name="early", symbols=(1,)),
    )
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [(1, 1, 10.0, 50.0), (0, 3, 5.0, 100.0)]
    assert outcome.metric("final_equity") == 1000.0


@pytest.mark.parametrize(
    ("end", "price"), [(EndOfData.CLOSE, 55.0), (EndOfData.CLOSE_AT_OPEN, 52.0)], ids=["close", "open"]
)
def test_a_position_is_closed_at_the_last_bar_of_its_own_symbol(trade, make_bars, scripted, end, price):
    bars = [
        make_bars([100, 100, 100, 100, 100], symbol="A"),
        make_bars([50, 50, 55], [50, 50, 52], at=[0, 1, 2], symbol="B"),
    ]
    outcome = trade(
        bars,
        scripted(0, 0, 0, 0, 0, name="idle", symbols=(0,)),
        scripted(1, 1, 1, name="own", symbols=(1,)),
        sizer=PAIR,
        execution=Execution(end=end),
    )
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [(1, 1, 2.0, 50.0), (1, 2, -2.0, price)]


def test_a_margin_call_waits_for_a_bar_of_the_symbol(trade, make_bars, scripted):
    bars = [
        make_bars([100, 100, 20, 20, 20], symbol="A"),
        make_bars([100, 100, 90, 80], at=[0, 1, 3, 4], symbol="B"),
    ]
    outcome = trade(
        bars,
        scripted(1, 1, 1, 1, 1, name="a", symbols=(0,)),
        scripted(1, 1, 1, 1, name="b", symbols=(1,)),
        execution=Execution(leverage=2.0, maintenance_margin=0.3),
    )
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [
        (0, 1, 10.0, 100.0), (1, 1, 10.0, 100.0), (0, 2, -10.0, 20.0), (1, 2, -10.0, 90.0),
    ]  # fmt: skip


def test_units_of_a_symbol_are_borrowed_from_one_of_its_bars_to_the_next(trade, make_bars, scripted):
    bars = [
        make_bars([100] * 6, symbol="A"),
        make_bars([50, 50, 60], at=[0, 1, 4], symbol="B"),
    ]
    outcome = trade(
        bars,
        scripted(*[0] * 6, name="idle", symbols=(0,)),
        scripted(-1, -1, -1, name="short", symbols=(1,)),
        sizer=PAIR,
        execution=Execution(borrow_rate=0.365),
    )
    assert outcome.rows(InterestCharged, "symbol", "bar", "amount") == [(1, 2, pytest.approx(0.3))]


def test_a_halt_of_one_account_closes_all_of_its_symbols(trade, make_bars, scripted):
    bars = [make_bars([100, 100, 40, 40], symbol="A"), make_bars([50, 50, 50, 51], symbol="B")]
    outcome = trade(bars, scripted(1, 1, 1, 1), limits=RiskLimits(max_drawdown=0.25))
    assert outcome.rows(OrdersFilled, "symbol", *FILL) == [
        (0, 1, 5.0, 100.0), (1, 1, 10.0, 50.0), (0, 3, -5.0, 40.0), (1, 3, -10.0, 51.0),
    ]  # fmt: skip


def test_a_strategy_with_prices_must_have_its_symbol_alone(trade, make_bars):
    with pytest.raises(ConfigurationError, match="can't share a symbol"):
        trade(make_bars([100, 100]), [1, 1], [1, 1], prices={"limit": 90})
