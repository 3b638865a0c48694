from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from admf.domain.codes import Stage
from admf.domain.events import (
    BarsLoaded,
    Event,
    Feed,
    Fold,
    InterestCharged,
    OrdersCanceled,
    OrdersDenied,
    OrdersFilled,
    OrdersPlaced,
    PatternsDiscovered,
    PhaseCompleted,
    PhaseFailed,
    PhaseOutput,
    PhaseOutputEvent,
    PhaseRepeated,
    PhaseRetried,
    PhaseReused,
    PhaseSkipped,
    PhaseStageEntered,
    PhaseStarted,
    RegimesClassified,
    SessionsLoaded,
    SignalsEmitted,
    Trial,
    TrialsCompleted,
    WeightsFitted,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowForked,
    WorkflowResumed,
    WorkflowStarted,
)
from admf.eventstore.store import EventStore, open_store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventStore]:
    """An empty store, on each back end."""
    match request.param:
        case "memory":
            url = "memory://"
        case "sqlite":
            url = str(tmp_path / "events.sqlite")
        case _:
            url = request.getfixturevalue("postgres_url")
    with open_store(url) as opened:
        yield opened


@pytest.fixture(scope="session")
def every_event() -> tuple[Event, ...]:
    """One event of each type; numeric ones with NaN, infinity, both zeros and text of many scripts."""
    trial = Trial(
        container=3,
        parameters={"fast": 5, "rate": 0.5, "kind": "ema", "long_only": True},
        metrics={"sharpe": 1.5, "sortino": float("inf")},
    )
    fold = Fold(
        number=0,
        train_start="2020-01-01",
        train_end="2020-12-31",
        test_start="2021-01-01",
        test_end="2021-06-30",
        best=None,
        test=trial,
    )
    container, order = np.array([0, 0, 7], np.int32), np.array([1, 2, 1], np.int32)
    symbol, bar = np.array([0, 1, 0], np.int16), np.array([10, 11, 2**31 - 1], np.int32)
    prices = np.array([np.nan, -0.0, np.inf])
    placed = {"container": container, "order": order, "symbol": symbol, "bar": bar}
    return (
        WorkflowStarted(
            name="Größe 大",
            configuration="{}",
            folder="folder",
            phases=("search", "validation"),
            feeds={"search": (Feed(symbol="SPY", timeframe="1d", stream="bars-1", rows=3),)},
            seed=7,
            package_version="0.1.0",
            python_version="3.11.7",
            host="host",
            process=42,
        ),
        PhaseStarted(
            phase="search",
            type="optimization",
            configuration="{}",
            depends_on=(),
            feeds=(Feed(symbol="SPY", timeframe="1d", stream="bars-1", rows=3),),
            strategies=("momentum",),
            features=("sma(20)",),
            capital=100_000.0,
            metric_profile="admf",
            code={"admf": "0.1.0"},
            planned=9,
        ),
        PhaseStageEntered(stage=Stage.COMPUTATION),
        PhaseOutputEvent(
            phase="search",
            output=PhaseOutput(
                objective="sharpe",
                direction="maximize",
                best=trial,
                metrics={"sharpe": 1.5},
                trials=9,
                folds=(fold,),
            ),
        ),
        PhaseCompleted(phase="search", stream="run/search", events=4, rows=9, head_hash="00"),
        PhaseReused(phase="search", stream="run/search", events=4, rows=9, head_hash="00"),
        PhaseFailed(phase="search", error="StrategyError", message="boom"),
        PhaseSkipped(phase="search", reason="when: false"),
        PhaseRepeated(phase="search", turn=2, stream="run/search#2", events=4, rows=9, head_hash="00"),
        PhaseRetried(phase="search", attempt=1, delay=0.5, error="StoreError", message="locked"),
        WorkflowCompleted(),
        WorkflowResumed(package_version="0.1.0", host="host", process=43, accepted_code=True),
        WorkflowForked(run="fork", phase="validation"),
        WorkflowFailed(phase="search", message="boom"),
        WorkflowCanceled(reason="Ctrl-C"),
        BarsLoaded(
            time=np.array([0, 1, 2**62]), open=prices, high=prices, low=prices, close=prices, volume=prices
        ),
        SessionsLoaded(**dict.fromkeys(SessionsLoaded.__struct_fields__, np.array([0, -1, 2**62]))),
        SignalsEmitted(
            container=container,
            strategy=symbol,
            symbol=symbol,
            bar=bar,
            target=np.array([1.0, 0.0, -1.0]),
            prices={"limit": prices},
        ),
        RegimesClassified(symbol=symbol, bar=bar, regime=np.array([0, 1, 0], np.int8)),
        WeightsFitted(regime=np.array([-1, 0, 1], np.int8), container=container, weight=prices),
        PatternsDiscovered(
            pattern=container,
            low=prices,
            high=prices,
            support=np.array([3, 2, 1]),
            winners=np.array([2, 1, 1]),
            lift=prices,
            p_value=prices,
            words={"parameter": np.array(["cross.fast", "cross.slow", "ü"]), "word": np.array(["", "a", ""])},
        ),
        OrdersPlaced(**placed, type=np.array([0, 1, 2], np.int8), target=prices, prices={"stop": prices}),
        OrdersDenied(**placed, rule=np.array([1, 2, 1], np.int8), required=prices, available=prices),
        InterestCharged(container=container, symbol=symbol, bar=bar, amount=prices),
        OrdersFilled(**placed, quantity=prices, price=prices, fee=prices),
        OrdersCanceled(**placed, reason=np.array([1, 1, 1], np.int8)),
        TrialsCompleted(
            container=container,
            fold=np.array([-1, 0, 1], np.int16),
            segment=np.array([0, 1, 2], np.int8),
            first_bar=bar,
            stop_bar=bar,
            parameters={
                "cross.fast": np.array([5, 10, 15]),
                "kind": np.array(["ema", "größer", "移動平均"]),
                "long_only": np.array([True, False, True]),
                "rate": prices,
            },
            metrics={"sharpe": prices, "trades": np.array([1.0, 2.0, np.nan])},
        ),
    )
