import numpy as np
import pytest
from admf.domain.events import BarsLoaded, Feed, OrdersFilled, PhaseStarted, TrialsCompleted
from admf.eventstore.record import Head
from admf.eventstore.store import open_store
from admf.projections.read_models import ReadModels
from hypothesis import given, settings
from hypothesis import strategies as st

CAPITAL = 1_000.0
BARS = 12


@st.composite
def containers(draw):
    """Windows and fills of a few containers."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, BARS - 1))
        stop = draw(st.integers(first + 1, BARS))
        fill = st.tuples(
            st.integers(first, stop - 1),
            st.sampled_from([-2.0, -1.0, 1.0, 3.0]),
            st.floats(50, 150),
            st.floats(0, 1),
        )
        found.append((first, stop, sorted(draw(st.lists(fill, max_size=8)), key=lambda row: row[0])))
    return found


def expected_curve(first, stop, fills, close):
    cash, position, peak = CAPITAL, 0.0, CAPITAL
    rows = []
    for bar in range(first, stop):
        for _, quantity, price, fee in (row for row in fills if row[0] == bar):
            cash, position = cash - quantity * price - fee, position + quantity
        equity = cash + position * close[bar]
        peak = max(peak, equity)
        rows.append((bar, cash, position, close[bar], equity, 1 - equity / peak))
    return rows


def append_phase(store, windows, close):
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
    bars = BarsLoaded(time=np.arange(BARS, dtype=np.int64) * 10**9, **prices)
    store.append(Head("bars-1"), [bars], correlation_id="", causation_id="")
    started = PhaseStarted(
        phase="p",
        type="backtest",
        configuration="{}",
        depends_on=(),
        feeds=(Feed(symbol="SPY", timeframe="1s", stream="bars-1", rows=BARS),),
        strategies=("s",),
        features=(),
        capital=CAPITAL,
        metric_profile="admf",
        code={},
        planned=1,
    )
    rows = [(c, i, *fill) for c, (_, _, fills) in enumerate(windows) for i, fill in enumerate(fills)]
    events = [started]
    if rows:
        container, order, bar, quantity, price, fee = (np.array(column) for column in zip(*rows, strict=True))
        filled = OrdersFilled(
            container=container.astype(np.int32),
            order=order.astype(np.int32),
            symbol=np.zeros(len(rows), np.int16),
            bar=bar.astype(np.int32),
            quantity=quantity,
            price=price,
            fee=fee,
        )
        events.append(filled)
    trials = TrialsCompleted(
        container=np.arange(len(windows), dtype=np.int32),
        fold=np.full(len(windows), -1, np.int16),
        segment=np.zeros(len(windows), np.int8),
        first_bar=np.array([first for first, _, _ in windows], np.int32),
        stop_bar=np.array([stop for _, stop, _ in windows], np.int32),
        parameters={},
        metrics={},
    )
    store.append(Head("run/p"), [*events, trials], correlation_id="run", causation_id="")


@settings(max_examples=30, deadline=None)
@given(windows=containers(), close=st.lists(st.floats(50, 150), min_size=BARS, max_size=BARS).map(np.array))
def test_equity_is_cash_plus_position_times_close_at_every_bar(windows, close):
    with open_store("memory://") as store, ReadModels(None, store) as models:
        append_phase(store, windows, close)
        for container, window in enumerate(windows):
            answer = models.query(
                "SELECT bar, cash, position, close, equity, drawdown FROM equity "
                "WHERE run = 'run' AND phase = 'p' AND container = ? ORDER BY bar",
                (container,),
            )
            expected = expected_curve(*window, close)
            assert len(answer.rows) == len(expected)
            np.testing.assert_allclose(np.array(answer.rows, float), np.array(expected), rtol=1e-9, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(windows=containers(), close=st.lists(st.floats(50, 150), min_size=BARS, max_size=BARS).map(np.array))
def test_profits_of_the_trades_of_a_container_add_up_to_its_last_equity(windows, close):
    with open_store("memory://") as store, ReadModels(None, store) as models:
        append_phase(store, windows, close)
        answer = models.query(
            "WITH ends AS (SELECT container, arg_max(equity, bar) AS equity FROM equity GROUP BY container) "
            "SELECT any_value(e.equity), sum(t.pnl) FROM ends e LEFT JOIN trades t USING (container) "
            "GROUP BY e.container"
        )
    for equity, pnl in answer.rows:
        assert (pnl or 0.0) == pytest.approx(equity - CAPITAL, abs=1e-6)


def test_equity_is_not_joined_bar_by_bar_with_all_cash_before_it():
    with open_store("memory://") as store, ReadModels(None, store) as models:
        append_phase(store, [(0, BARS, [])], np.full(BARS, 100.0))
        plan = models.query("EXPLAIN SELECT * FROM equity WHERE run = 'run' AND container = 0").rows[0][1]
        assert "ASOF" in plan.upper()
        assert "NESTED" not in plan.upper()
