from collections.abc import Callable, Iterator

import numpy as np
import pytest
from admf.domain.codes import CancelReason, DenialRule, Segment, Stage
from admf.domain.events import (
    BarsLoaded,
    Event,
    Feed,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PhaseCompleted,
    PhaseFailed,
    PhaseOutput,
    PhaseOutputEvent,
    PhaseSkipped,
    PhaseStageEntered,
    PhaseStarted,
    SignalsEmitted,
    Trial,
    TrialsCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from admf.eventstore.record import Head
from admf.eventstore.store import EventStore, open_store

RUN = "workflow_20261121_101500_ab12cd34"
BARS = "bars-0123456789"
CLOSE = np.array([100.0, 101.0, 103.0, 102.0, 104.0, 99.0, 98.0, 100.0])

Append = Callable[[EventStore, str, list[Event]], Head]


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path) -> Iterator[EventStore]:
    url = "memory://" if request.param == "memory" else tmp_path / "events.sqlite"
    with open_store(url) as opened:
        yield opened


@pytest.fixture
def append() -> Append:
    def append_to(store: EventStore, stream: str, events: list[Event]) -> Head:
        run = "" if stream.startswith("bars-") else stream.partition("/")[0]
        return store.append(store.head(stream), events, correlation_id=run, causation_id="")

    return append_to


@pytest.fixture
def bars() -> BarsLoaded:
    minute = 60_000_000_000
    return BarsLoaded(
        time=1_700_000_000_000_000_000 + minute * np.arange(CLOSE.size, dtype=np.int64),
        open=CLOSE - 1.0,
        high=CLOSE + 2.0,
        low=CLOSE - 2.0,
        close=CLOSE,
        volume=np.full(CLOSE.size, 1000.0),
    )


@pytest.fixture
def phase_started() -> Callable[[str], PhaseStarted]:
    def started(phase: str) -> PhaseStarted:
        return PhaseStarted(
            phase=phase,
            type="optimization",
            configuration="{}",
            depends_on=(),
            feeds=(Feed(symbol="SPY", timeframe="1min", stream=BARS, rows=CLOSE.size),),
            strategies=("momentum",),
            features=("sma(3)",),
            capital=10_000.0,
            metric_profile="admf",
            code={"admf": "0.1.0"},
            planned=1,
        )

    return started


def shard(first_container: int) -> list[Event]:
    """Two containers: one that trades (long, reversed to short, left open), one whose order is denied."""
    trader, idle = first_container, first_container + 1

    def of(*containers: int) -> np.ndarray:
        return np.array(containers, np.int32)

    def at(*bars: int) -> np.ndarray:
        return np.array(bars, np.int32)

    return [
        SignalsEmitted(
            container=of(trader, trader, idle),
            strategy=np.zeros(3, np.int16),
            symbol=np.zeros(3, np.int16),
            bar=at(0, 3, 1),
            target=np.array([1.0, -1.0, 1.0]),
        ),
        OrdersPlaced(
            container=of(trader, trader, trader, trader, idle),
            order=of(0, 1, 2, 3, 0),
            symbol=np.zeros(5, np.int16),
            bar=at(0, 3, 3, 7, 1),
            type=np.zeros(5, np.int8),
            target=np.array([1.0, 0.0, -1.0, 1.0, 1.0]),
        ),
        OrdersDenied(
            container=of(idle),
            order=of(0),
            symbol=np.zeros(1, np.int16),
            bar=at(2),
            rule=np.array([DenialRule.BELOW_ONE_UNIT], np.int8),
            required=np.array([100.0]),
            available=np.array([12.5]),
        ),
        OrdersFilled(
            container=of(trader, trader, trader),
            order=of(0, 1, 2),
            symbol=np.zeros(3, np.int16),
            bar=at(1, 4, 4),
            quantity=np.array([10.0, -10.0, -5.0]),
            price=np.array([100.0, 103.0, 103.0]),
            fee=np.array([1.0, 1.0, 0.5]),
        ),
        OrdersCanceled(
            container=of(trader),
            order=of(3),
            symbol=np.zeros(1, np.int16),
            bar=at(7),
            reason=np.array([CancelReason.END_OF_DATA], np.int8),
        ),
        TrialsCompleted(
            container=of(trader, idle),
            fold=np.array([-1, 2], np.int16),
            segment=np.array([Segment.WHOLE, Segment.TEST], np.int8),
            first_bar=at(0, 1),
            stop_bar=at(8, 7),
            parameters={
                "momentum.lookback": np.array([3, 5], np.int64),
                "momentum.mode": np.array(["simple", 'it\'s "log"']),
                "momentum.strict": np.array([True, False]),
            },
            metrics={"sharpe": np.array([1.5, np.nan]), "final_equity": np.array([10_042.5, 10_000.0])},
        ),
    ]


@pytest.fixture
def log_groups(bars: BarsLoaded, phase_started) -> list[tuple[str, list[Event]]]:
    """A run of one phase that completes, one that fails and one that is skipped, as transactions in order."""
    trial = Trial(container=0, parameters={"momentum.lookback": 3}, metrics={"sharpe": 1.5})
    output = PhaseOutput(
        objective="sharpe", direction="maximize", best=trial, metrics={"sharpe": 1.5}, trials=4
    )
    training, testing = f"{RUN}/training", f"{RUN}/testing"
    return [
        (BARS, [bars]),
        (
            RUN,
            [
                WorkflowStarted(
                    name="small",
                    configuration='{"seed": 7}',
                    folder=".",
                    phases=("training", "testing", "report"),
                    feeds={},
                    seed=7,
                    package_version="0.1.0",
                    python_version="3.11",
                    host="here",
                    process=1,
                )
            ],
        ),
        (training, [phase_started("training"), PhaseStageEntered(stage=Stage.COMPUTATION)]),
        (training, shard(0)),
        (training, shard(2)),
        (training, [PhaseOutputEvent(phase="training", output=output)]),
        (RUN, [PhaseCompleted(phase="training", stream=training, events=15, rows=33, head_hash="ab" * 32)]),
        (testing, [phase_started("testing")]),
        (RUN, [PhaseFailed(phase="testing", error="StrategyError", message="it raised")]),
        (RUN, [PhaseSkipped(phase="report", reason="testing failed")]),
        (RUN, [WorkflowFailed(phase="testing", message="it raised")]),
    ]


@pytest.fixture
def small_run(store: EventStore, append: Append, log_groups) -> EventStore:
    for stream, events in log_groups:
        append(store, stream, events)
    return store
