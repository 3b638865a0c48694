import numpy as np
import pytest
from admf.domain.bars import Bars, bars_loaded
from admf.domain.codes import Segment
from admf.domain.engine import simulate
from admf.domain.events import Feed, PhaseStarted
from admf.domain.execution import Execution, Sizer
from admf.domain.market import Market
from admf.domain.metrics import Profile
from admf.domain.panel import Panel
from admf.domain.strategies import sma_crossover
from admf.domain.topology import Containers, StrategySlot, Topology, needed_features
from admf.eventstore.record import Head
from admf.projections.read_models import ReadModels

CAPITAL = 10_000.0
BARS = 600


@pytest.fixture
def simulated(store):
    """A simulated sweep over a random walk, recorded in full."""
    walk = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 0.01, BARS + 1)))
    opens, closes = walk[:-1], walk[1:]
    bars = Bars(
        symbol="WALK",
        timeframe="1d",
        time=np.arange(BARS, dtype=np.int64) * 86_400_000_000_000,
        prices=np.stack(
            (opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, np.full(BARS, 1e6))
        ),
    )
    topology = Topology(
        slots=(StrategySlot(name="cross", strategy=sma_crossover, parameters={"fast": 5, "slow": 20}),),
        sizer=Sizer(value=90.0),
        execution=Execution(commission_rate=0.001, slippage=0.0005),
        capital=CAPITAL,
        profile=Profile.ADMF,
        bars_per_year=252.0,
    )
    count = 12
    containers = Containers(
        first_id=0,
        fold=np.full(count, -1, np.int16),
        segment=np.full(count, Segment.WHOLE, np.int8),
        first_bar=np.full(count, 50, np.int32),
        stop_bar=np.full(count, BARS - 7, np.int32),
        parameters={"cross.fast": np.arange(3, 3 + count)},
    )
    features = needed_features(topology, containers)
    events = simulate(topology, Market(Panel([bars]), features), containers)
    started = PhaseStarted(
        phase="sweep",
        type="optimization",
        configuration="{}",
        depends_on=(),
        feeds=(Feed(symbol="WALK", timeframe="1d", stream="bars-walk", rows=BARS),),
        strategies=("cross",),
        features=(),
        capital=CAPITAL,
        metric_profile="admf",
        code={},
        planned=1,
    )
    store.append(Head("bars-walk"), [bars_loaded(bars)], correlation_id="", causation_id="")
    store.append(Head("run/sweep"), [started, *events], correlation_id="run", causation_id="")
    with ReadModels(None, store) as models:
        yield models


def test_metrics_of_the_simulation_follow_from_the_tables(simulated):
    answer = simulated.query(
        """
        WITH curves AS (
            SELECT container, arg_max(equity, bar) AS final_equity, max(drawdown) AS max_drawdown,
                avg((position <> 0)::INTEGER) AS exposure
            FROM equity GROUP BY container
        ), costs AS (
            SELECT container, sum(fee) AS fees FROM fills GROUP BY container
        ), results AS (
            SELECT container, sum(pnl) AS pnl FROM trades GROUP BY container
        )
        SELECT m.final_equity, c.final_equity, m.max_drawdown, c.max_drawdown, m.exposure, c.exposure, m.fees,
            f.fees, m.final_equity, r.pnl + ?
        FROM portfolio_metrics m JOIN curves c USING (container) JOIN costs f USING (container)
        JOIN results r USING (container)
        """,
        (CAPITAL,),
    )
    compared = np.array(answer.rows, float)
    assert compared.shape == (12, 10)
    np.testing.assert_allclose(compared[:, 0::2], compared[:, 1::2], rtol=1e-9)


def test_every_order_of_the_simulation_has_an_outcome(simulated):
    ((orders, filled),) = simulated.query(
        "SELECT count(*), count(*) FILTER (status = 'filled') FROM orders"
    ).rows
    assert simulated.query("SELECT count(*) FROM orders WHERE status = 'open'").rows == ((0,),)
    assert simulated.query("SELECT count(*) FROM fills").rows == ((filled,),)
    assert orders >= filled > 100
