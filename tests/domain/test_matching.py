"""Prices, quantities and fees of single fills: what a bar does with one order."""

import numpy as np
import pytest
from admf.domain.desk import RULES
from admf.domain.execution import LimitFill
from admf.domain.matching import (
    Bar,
    affordable,
    commission,
    exit_price,
    fillable,
    impacted,
    limit_price,
    rounded,
    slipped,
    stop_limit_price,
    stop_price,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TOUCH, THROUGH = int(LimitFill.TOUCH), int(LimitFill.THROUGH)
BUY, SELL = 1, -1
LONG, SHORT = 1, -1
NO = np.nan
BAR = Bar(100.0, 110.0, 90.0, 2000.0)
many = settings(max_examples=200, deadline=None)


def rules(**fields):
    """Costs and limits; whatever is not given is zero."""
    record = np.zeros(1, RULES)
    for name, value in fields.items():
        record[name] = value
    return record[0]


def same(value):
    return pytest.approx(value, nan_ok=True, rel=0, abs=0)


@pytest.mark.parametrize(
    ("side", "limit", "touch", "through"),
    [
        (BUY, 95.0, 95.0, 95.0),
        (BUY, 90.0, 90.0, NO),
        (BUY, 89.0, NO, NO),
        (BUY, 105.0, 100.0, 100.0),
        (BUY, 100.0, 100.0, 100.0),
        (SELL, 105.0, 105.0, 105.0),
        (SELL, 110.0, 110.0, NO),
        (SELL, 111.0, NO, NO),
        (SELL, 95.0, 100.0, 100.0),
        (SELL, 100.0, 100.0, 100.0),
    ],
)
def test_a_limit_order_fills_at_its_price_or_at_a_better_open(side, limit, touch, through):
    assert limit_price(BAR, side, limit, TOUCH) == same(touch)
    assert limit_price(BAR, side, limit, THROUGH) == same(through)


def test_a_limit_at_an_open_that_no_price_goes_beyond_is_touched_only():
    assert limit_price(Bar(100.0, 110.0, 100.0, 1.0), BUY, 100.0, TOUCH) == 100.0
    assert limit_price(Bar(100.0, 110.0, 100.0, 1.0), BUY, 100.0, THROUGH) == same(NO)


@pytest.mark.parametrize(
    ("side", "stop", "price"),
    [
        (BUY, 105.0, 105.0),
        (BUY, 110.0, 110.0),
        (BUY, 110.5, NO),
        (BUY, 100.0, 100.0),
        (BUY, 99.0, 100.0),
        (SELL, 95.0, 95.0),
        (SELL, 90.0, 90.0),
        (SELL, 89.5, NO),
        (SELL, 100.0, 100.0),
        (SELL, 101.0, 100.0),
    ],
)
def test_a_stop_order_fills_at_its_price_or_at_an_open_beyond_it(side, stop, price):
    assert stop_price(BAR, side, stop) == same(price)


@pytest.mark.parametrize(
    ("side", "stop", "limit", "price", "reached"),
    [
        (BUY, 111.0, 112.0, NO, False),
        (BUY, 105.0, 107.0, 105.0, True),
        (BUY, 105.0, 95.0, NO, True),
        (BUY, 99.0, 101.0, 100.0, True),
        (BUY, 99.0, 95.0, 95.0, True),
        (BUY, 99.0, 85.0, NO, True),
        (SELL, 89.0, 88.0, NO, False),
        (SELL, 95.0, 93.0, 95.0, True),
        (SELL, 95.0, 105.0, NO, True),
        (SELL, 101.0, 99.0, 100.0, True),
        (SELL, 101.0, 105.0, 105.0, True),
    ],
)
def test_a_stop_limit_order_is_a_limit_order_once_its_stop_is_reached(side, stop, limit, price, reached):
    assert stop_limit_price(BAR, side, stop, limit, TOUCH) == (same(price), reached)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_stop_limit_order_whose_limit_is_its_stop_needs_a_touch_only(side):
    price = 100.0 + 5 * side
    assert stop_limit_price(BAR, side, price, price, TOUCH) == (price, True)
    assert stop_limit_price(BAR, side, price, price, THROUGH) == (same(NO), True)


@pytest.mark.parametrize(
    ("side", "stop", "target", "price", "at_target"),
    [
        (LONG, 95.0, NO, 95.0, False),
        (LONG, 90.0, NO, 90.0, False),
        (LONG, 89.0, NO, NO, False),
        (LONG, NO, 110.0, 110.0, True),
        (LONG, NO, 111.0, NO, False),
        (LONG, 95.0, 105.0, 95.0, False),
        (LONG, 85.0, 105.0, 105.0, True),
        (LONG, 101.0, 105.0, 100.0, False),
        (LONG, 85.0, 99.0, 100.0, True),
        (LONG, NO, NO, NO, False),
        (SHORT, 105.0, NO, 105.0, False),
        (SHORT, 110.0, NO, 110.0, False),
        (SHORT, 111.0, NO, NO, False),
        (SHORT, NO, 90.0, 90.0, True),
        (SHORT, 105.0, 95.0, 105.0, False),
        (SHORT, 99.0, 95.0, 100.0, False),
        (SHORT, 115.0, 101.0, 100.0, True),
    ],
)
def test_a_position_ends_at_the_open_then_at_its_stop_then_at_its_target(
    side, stop, target, price, at_target
):
    assert exit_price(BAR, side, stop, target, TOUCH) == (same(price), at_target)


@pytest.mark.parametrize(("side", "extreme"), [(LONG, 110.0), (SHORT, 90.0)])
def test_a_target_that_is_touched_but_not_passed_ends_no_position_where_limits_fill_through(side, extreme):
    assert exit_price(BAR, side, NO, extreme, THROUGH) == (same(NO), False)
    assert exit_price(BAR, side, NO, extreme - side, THROUGH) == (extreme - side, True)
    assert exit_price(BAR, side, extreme - 20 * side, NO, THROUGH) == (extreme - 20 * side, False)
    assert exit_price(BAR, side, 100.0 - 5 * side, 100.0, THROUGH) == (100.0 - 5 * side, False)


@pytest.mark.parametrize(
    ("fields", "fee"),
    [
        ({}, 0.0),
        ({"commission_rate": 0.01}, 20.0),
        ({"commission_per_unit": 0.05}, 5.0),
        ({"commission_fixed": 7.0}, 7.0),
        ({"commission_minimum": 9.0}, 9.0),
        ({"commission_rate": 0.01, "commission_per_unit": 0.05, "commission_fixed": 7.0}, 32.0),
        ({"commission_rate": 0.001, "commission_fixed": 7.0, "commission_minimum": 9.5}, 9.5),
        ({"commission_rate": 0.001, "commission_fixed": 7.0, "commission_minimum": 8.5}, 9.0),
    ],
)
def test_a_commission_is_a_sum_of_parts_and_at_least_the_minimum(fields, fee):
    assert commission(rules(**fields), 100.0, 20.0) == fee


costs = st.fixed_dictionaries(
    {
        "commission_rate": st.sampled_from([0.0, 0.0005, 0.01, 0.3]),
        "commission_per_unit": st.sampled_from([0.0, 0.005, 1.5]),
        "commission_fixed": st.sampled_from([0.0, 1.0, 25.0]),
        "commission_minimum": st.sampled_from([0.0, 2.0, 30.0]),
    }
)


@many
@given(
    costs=costs,
    budget=st.floats(100.0, 1e6),
    price=st.floats(0.01, 5000.0),
    granularity=st.sampled_from([0.0, 0.001, 0.1, 1.0, 100.0]),
)
def test_what_is_affordable_costs_no_more_than_the_budget_and_a_lot_more_would(
    costs, budget, price, granularity
):
    account = rules(**costs)
    units = rounded(affordable(account, budget, price), granularity)
    assert units >= 0.0
    slack = 1e-9 * budget
    if units > 0.0:
        assert units * price + commission(account, units, price) <= budget + slack
    more = units + (granularity or 1e-6 * max(units, 1.0))
    assert more * price + commission(account, more, price) > budget - slack


def test_a_budget_below_the_fee_affords_less_than_nothing():
    assert affordable(rules(commission_fixed=50.0), 40.0, 10.0) == -1.0
    assert affordable(rules(commission_minimum=50.0), 40.0, 10.0) == -1.0


@pytest.mark.parametrize(
    ("units", "granularity", "expected"),
    [
        (7.9, 0.0, 7.9),
        (7.9, 1.0, 7.0),
        (799.0, 100.0, 700.0),
        (99.0, 100.0, 0.0),
        (0.3, 0.1, 0.3),
        (0.7, 0.1, 0.7),
        (0.29, 0.01, 0.29),
        (9.999999999999998, 1.0, 10.0),
        (9.999999, 1.0, 9.0),
        (0.0, 1.0, 0.0),
    ],
)
def test_units_are_rounded_down_to_lots_but_not_by_a_rounding_error(units, granularity, expected):
    assert rounded(units, granularity) == pytest.approx(expected, rel=1e-15)


@many
@given(lots=st.integers(0, 10**7), granularity=st.sampled_from([1e-6, 0.001, 0.1, 0.25, 1.0, 100.0]))
def test_a_number_of_lots_stays_what_it_is(lots, granularity):
    assert rounded(lots * granularity, granularity) == lots * granularity


def test_slippage_is_against_the_side():
    assert slipped(rules(slippage=0.25), 100.0, BUY) == 125.0
    assert slipped(rules(slippage=0.25), 100.0, SELL) == 75.0


@pytest.mark.parametrize(
    ("limit", "volume", "used", "left"),
    [
        (0.0, 2000.0, 500.0, np.inf),
        (0.025, 2000.0, 0.0, 50.0),
        (0.025, 2000.0, 30.0, 20.0),
        (0.025, 2000.0, 60.0, 0.0),
        (0.025, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, np.inf),
    ],
)
def test_a_part_of_the_volume_can_be_filled(limit, volume, used, left):
    assert fillable(rules(volume_limit=limit), volume, used) == left


@pytest.mark.parametrize(
    ("side", "price", "units", "expected"),
    [
        # zipline, tests/finance/test_slippage.py: 50 of a volume of 2000, limit 0.025, impact 0.1.
        (BUY, 3.5, 50.0, 3.50021875),
        (SELL, 3.5, 50.0, 3.49978125),
        (BUY, 4.0, 50.0, 4.00025),
        (SELL, 3.0, 50.0, 2.9998125),
        # A half of that share has a quarter of the impact; more than the limit counts as the limit.
        (BUY, 3.5, 25.0, 3.5 + 0.00021875 / 4),
        (BUY, 3.5, 100.0, 3.50021875),
    ],
)
def test_the_impact_is_that_of_ziplines_volume_share(side, price, units, expected):
    account = rules(volume_limit=0.025, price_impact=0.1)
    assert impacted(account, price, side, units, 2000.0) == pytest.approx(expected, rel=1e-14)


def test_without_an_impact_a_price_stays_what_it_is():
    assert impacted(rules(volume_limit=0.025), 3.5, BUY, 50.0, 0.0) == 3.5
