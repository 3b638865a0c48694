from itertools import pairwise

import numpy as np
import pytest
from admf.domain.portfolio import (
    Trades,
    excursions,
    excursions_of_containers,
    round_trips,
    settle,
)
from hypothesis import given
from hypothesis import strategies as st

CAPITAL = 10_000.0


def account(fills):
    quantity, price, fee = (np.array(column, dtype=float) for column in zip(*fills, strict=True))
    position, cash = np.empty(len(fills)), np.empty(len(fills))
    settle(quantity, price, fee, CAPITAL, position, cash)
    return quantity, price, fee, position, cash


def trades_of(fills, mark=np.nan):
    quantity, price, fee, position, _ = account(fills)
    room = Trades.empty(len(fills))
    count = round_trips(quantity, price, fee, position, mark, room)
    columns = Trades(*(column[:count] for column in room))
    return [dict(zip(Trades._fields, row, strict=True)) for row in zip(*columns, strict=True)]


def test_a_long_trade_gains_when_the_price_rises():
    (trade,) = trades_of([(10, 100, 1), (-10, 110, 2)])
    assert trade == {
        "entry_fill": 0,
        "exit_fill": 1,
        "side": 1,
        "quantity": 10,
        "entry_price": 100,
        "exit_price": 110,
        "fee": 3,
        "pnl": 97,
    }


def test_a_short_trade_gains_when_the_price_falls():
    (trade,) = trades_of([(-10, 100, 1), (10, 90, 1)])
    assert (trade["side"], trade["quantity"], trade["pnl"]) == (-1, 10, 98)


def test_a_reversal_closes_one_trade_and_opens_the_next_and_its_fee_is_split_by_quantity():
    first, second = trades_of([(10, 100, 0), (-15, 110, 3), (5, 100, 0)])
    assert (first["side"], first["exit_fill"], first["fee"], first["pnl"]) == (1, 1, 2, 98)
    assert (second["side"], second["entry_fill"], second["fee"], second["pnl"]) == (-1, 1, 1, 49)


def test_adds_and_partial_exits_are_averaged():
    (trade,) = trades_of([(10, 100, 1), (30, 104, 1), (-20, 106, 1), (-20, 110, 1)])
    assert (trade["quantity"], trade["entry_price"], trade["exit_price"]) == (40, 103, 108)
    assert trade["pnl"] == 40 * 5 - 4


def test_an_open_trade_has_no_exit_and_is_marked():
    (trade,) = trades_of([(10, 100, 1), (-4, 110, 1)], mark=105)
    assert trade["exit_fill"] == -1
    assert np.isnan(trade["exit_price"])
    assert trade["pnl"] == 4 * 10 + 6 * 5 - 2


def test_a_position_that_is_flat_but_for_rounding_is_zero():
    _, _, _, position, _ = account([(0.1, 10, 0), (0.2, 10, 0), (-0.3, 10, 0), (0.5, 10, 0)])
    assert position.tolist()[2:] == [0.0, 0.5]
    assert len(trades_of([(0.1, 10, 0), (0.2, 10, 0), (-0.3, 10, 0), (0.5, 10, 0)], mark=10)) == 2


def test_cash_falls_by_what_is_bought_and_by_the_fee():
    *_, cash = account([(10, 100, 1), (-5, 110, 2)])
    assert cash.tolist() == [8_999, 9_547]


quantities = st.floats(0.1, 100).flatmap(lambda size: st.sampled_from([size, -size]))
fills = st.lists(st.tuples(quantities, st.floats(1, 500), st.floats(0, 10)), min_size=1, max_size=40)
whole_fills = st.lists(
    st.tuples(st.sampled_from([-2.0, -1.0, 1.0, 2.0]), st.floats(1, 500), st.floats(0, 10)),
    min_size=1,
    max_size=40,
)


@given(fills=fills | whole_fills, mark=st.floats(1, 500))
def test_profits_of_all_trades_add_up_to_the_change_in_equity(fills, mark):
    *_, position, cash = account(fills)
    change = cash[-1] + position[-1] * mark - CAPITAL
    assert sum(trade["pnl"] for trade in trades_of(fills, mark)) == pytest.approx(change, abs=1e-4)


@given(fills=fills | whole_fills)
def test_trades_alternate_with_flat_and_carry_all_fees(fills):
    trades = trades_of(fills, 100.0)
    assert sum(trade["fee"] for trade in trades) == pytest.approx(sum(fee for *_, fee in fills))
    for earlier, later in pairwise(trades):
        assert earlier["entry_fill"] <= earlier["exit_fill"] <= later["entry_fill"]


HIGH = np.array([101, 104, 110, 108, 103, 99.0])
LOW = np.array([97, 99, 102, 95, 96, 90.0])


def excursions_of(*fills, at_close=(), stop=HIGH.size):
    """MAE and MFE of each trade, of fills given as (bar, quantity, price)."""
    bar = np.array([bar for bar, *_ in fills])
    quantity, price, fee, position, _ = account([(quantity, price, 0) for _, quantity, price in fills])
    room = Trades.empty(len(fills))
    count = round_trips(quantity, price, fee, position, 100.0, room)
    late = np.isin(np.arange(len(fills)), at_close)
    mae, mfe = np.empty(count), np.empty(count)
    excursions(Trades(*(column[:count] for column in room)), (bar, price, late), HIGH, LOW, stop, mae, mfe)
    return [(pytest.approx(against), pytest.approx(favor)) for against, favor in zip(mae, mfe, strict=True)]


def test_a_trade_sees_the_bar_that_it_enters_at_the_open_but_not_the_one_that_it_leaves_at_the_open():
    assert excursions_of((1, 10, 100), (3, -10, 105)) == [(0.01, 0.10)]
    assert excursions_of((1, 10, 100), (4, -10, 97)) == [(0.05, 0.10)]


def test_a_trade_sees_the_bar_that_it_leaves_at_the_close_but_not_the_one_that_it_enters_at_the_close():
    assert excursions_of((1, 10, 100), (3, -10, 105), at_close=[0, 1]) == [(0.05, 0.10)]
    assert excursions_of((2, 10, 105), (3, -10, 100), at_close=[0]) == [(pytest.approx(5 / 105), 0)]


def test_a_short_trade_suffers_when_the_price_rises():
    assert excursions_of((1, -10, 100), (4, 10, 97)) == [(0.10, 0.05)]


def test_the_exit_price_counts_even_where_it_lies_outside_of_all_bars():
    assert excursions_of((0, 10, 100), (1, -10, 80)) == [(0.20, 0.01)]


def test_within_one_bar_only_the_fill_prices_count_unless_the_bar_was_held_to_its_close():
    assert excursions_of((2, 10, 105), (2, -10, 104)) == [(1 / 105, 0)]
    assert excursions_of((2, 10, 105), (2, -10, 104), at_close=[1]) == [(3 / 105, 5 / 105)]
    assert excursions_of((2, 10, 105), (2, -10, 104), at_close=[0, 1]) == [(1 / 105, 0)]


def test_an_open_trade_is_seen_up_to_the_last_bar_of_its_container():
    assert excursions_of((1, 10, 100)) == [(0.10, 0.10)]
    assert excursions_of((1, 10, 100), stop=3) == [(0.01, 0.10)]
    assert excursions_of((2, 10, 105), at_close=[0], stop=3) == [(0, 0)]


def test_a_trade_that_adds_is_measured_against_its_average_price():
    assert excursions_of((1, 10, 100), (2, 10, 104), (3, -20, 103)) == [(3 / 102, 8 / 102)]


def test_containers_are_measured_one_by_one():
    bar, price = np.array([1, 3, 1, 2]), np.array([100, 105, 100, 105.0])
    late, columns = np.zeros(4, bool), np.zeros((4, 3))
    columns[1] = price[[0, 2, 3]]  # entry prices: a closed trade, then an open one and a short one
    trades = Trades(
        np.array([0, 2, 3]), np.array([1, -1, -1]), np.array([1, 1, -1], np.int8), columns[0], columns[1],
        columns[2], columns[3], columns[3],
    )  # fmt: skip
    mae, mfe = np.empty(3), np.empty(3)
    starts, stops = np.array([0, 1, 3, 3]), np.array([6, 3, 6])
    excursions_of_containers(starts, trades, (bar, price, late), HIGH, LOW, stops, mae, mfe)
    assert mae.tolist() == pytest.approx([0.01, 0.01, 5 / 105])
    assert mfe.tolist() == pytest.approx([0.10, 0.10, 3 / 105])
