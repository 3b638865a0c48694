import os
import warnings
from typing import NamedTuple

import numpy as np
import pytest
from admf.domain.bars import DAY, BarsLoaded, checked_bars
from admf.domain.engine import simulate
from admf.domain.events import TrialsCompleted
from admf.domain.execution import Execution, Sizer
from admf.domain.market import Market
from admf.domain.metrics import Profile
from admf.domain.panel import Panel
from admf.domain.strategies import PRICES, Signals, strategy_from
from admf.domain.topology import Containers, StrategySlot, Topology, needed_features


class Simulated(NamedTuple):
    """What a simulation yielded."""

    events: dict

    def rows(self, kind, *columns):
        """Some columns of one type of event, row by row; empty where nothing of the kind happened."""
        if kind not in self.events:
            return []
        event = self.events[kind]
        found = [(event.prices[c] if c in PRICES else getattr(event, c)).tolist() for c in columns]
        return list(zip(*found, strict=True)) if len(columns) > 1 else found[0]

    def metric(self, name, container=0):
        return float(self.events[TrialsCompleted].metrics[name][container])


@pytest.fixture(scope="session")
def make_bars():
    """Bars one after the other in time from plain numbers; by default each opens at its close."""

    def make(
        close, opens=None, *, high=None, low=None, volume=1.0, step=DAY, start=0, at=None, symbol="TEST"
    ):
        close = np.array(close, float)
        opens = close if opens is None else np.array(opens, float)
        columns = BarsLoaded(
            time=start + step * np.array(range(close.size) if at is None else at, np.int64),
            open=opens,
            high=np.maximum(opens, close) + 0.5 if high is None else np.array(high, float),
            low=np.minimum(opens, close) * 0.9 if low is None else np.array(low, float),
            close=close,
            volume=np.full(close.size, volume, float),
        )
        return checked_bars(columns, symbol=symbol, timeframe="1d", source="test")

    return make


@pytest.fixture(scope="session")
def random_bars(make_bars):
    """Bars of a random walk, with gaps between the close and the next open."""

    def make(seed, size, volatility=0.02):
        random = np.random.default_rng(seed)
        close = 100 * np.exp(np.cumsum(random.normal(0, volatility, size)))
        return make_bars(close, close * np.exp(random.normal(0, volatility / 4, size)))

    return make


@pytest.fixture(scope="session")
def make_containers():
    """Containers over one window, one for each value of the parameters, or as many as windows."""

    def make(windows, **parameters):
        count = max([len(windows), *(len(column) for column in parameters.values())])
        first, stop = np.broadcast_to(np.array(windows, np.int32), (count, 2)).T
        return Containers(
            first_id=0,
            fold=np.full(count, -1, np.int16),
            segment=np.zeros(count, np.int8),
            first_bar=np.ascontiguousarray(first),
            stop_bar=np.ascontiguousarray(stop),
            parameters={name.replace("__", "."): np.array(column) for name, column in parameters.items()},
        )

    return make


@pytest.fixture(scope="session")
def make_topology():
    """A topology of some slots, with a plain policy unless another is given."""

    def make(*slots, **changes):
        plain = {
            "sizer": Sizer(),
            "execution": Execution(),
            "capital": 1000.0,
            "profile": Profile.ADMF,
            "bars_per_year": 252.0,
        }
        return Topology(slots=slots, **(plain | changes))

    return make


@pytest.fixture(scope="session")
def run():
    """Simulate containers of a topology over the bars of one symbol, or of several in a list."""

    def simulated(topology, bars, containers):
        features = needed_features(topology, containers)
        market = Market(Panel(bars if isinstance(bars, list) else [bars]), features)
        return Simulated({type(event): event for event in simulate(topology, market, containers)})

    return simulated


@pytest.fixture(scope="session")
def scripted():
    """A slot whose strategy returns the same target exposures, and order prices, whatever the bars."""

    def make(*targets, name="scripted", prices=None, **slot):
        script = np.array(targets, float)
        columns = {
            column: np.broadcast_to(np.array(price, float), script.size)
            for column, price in (prices or {}).items()
        }

        def follow(close):
            size = close.size
            if not columns:
                return script[:size]
            return Signals(script[:size], **{column: price[:size] for column, price in columns.items()})

        strategy = strategy_from(follow, features={}, parameters={}, space={})
        return StrategySlot(name=name, strategy=strategy, parameters={}, **slot)

    return make


@pytest.fixture(scope="session")
def trade(run, make_topology, make_containers, scripted):
    """Let one container follow target exposures over a window of bars, by default all of them.

    ``prices`` are those of the first list of targets; bars of several symbols come in a list.
    """

    def simulated(bars, *targets, window=None, prices=None, **changes):
        slots = [
            scripted(*script, name=f"s{n}", prices=prices) if isinstance(script, list) else script
            for n, script in enumerate(targets)
        ]
        length = len(Panel(bars)) if isinstance(bars, list) else len(bars)
        containers = make_containers([window or (0, length)])
        return run(make_topology(*slots, **changes), bars, containers)

    return simulated


@pytest.fixture(scope="session")
def changed_past(random_bars, make_bars):
    """Find the first value of a series that changes with bars after it.

    The series is computed over 200 random bars, then, for several cuts, over the bars before the cut alone,
    and over bars that differ from the cut on. Returns the bar and the cut, or None.
    """
    bars, other = random_bars(8, 200), random_bars(9, 200)

    def search(compute):
        whole = compute(bars)
        for cut in (1, 2, 8, 21, 60, 101, 163, 199):
            perturbed = make_bars(
                np.concatenate((bars.close[:cut], other.close[cut:])),
                np.concatenate((bars.open[:cut], other.open[cut:])),
                volume=7.0,
            )
            for changed in (bars.head(cut), perturbed):
                differs = whole[:cut].view(np.int64) != compute(changed)[:cut].view(np.int64)
                if differs.any():
                    return int(np.argmax(differs)), cut
        return None

    return search


@pytest.fixture(scope="session")
def peer():
    """backtesting.py, with its data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import backtesting
            import backtesting.test
    except ImportError:
        reason = "backtesting.py is not installed: pip install 'admf[peers]'"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return backtesting


@pytest.fixture(scope="session")
def goog(peer):
    table = peer.test.GOOG
    columns = {
        name: table[name.title()].to_numpy(float) for name in ("open", "high", "low", "close", "volume")
    }
    time = table.index.to_numpy().astype("datetime64[ns]").astype(np.int64)
    return checked_bars(BarsLoaded(time=time, **columns), symbol="GOOG", timeframe="1d", source="GOOG")
