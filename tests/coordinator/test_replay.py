"""A replay executes a run again from the log alone, and finds the first difference."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.replay import replay_run
from admf.coordinator.configuration.sources import templates
from admf.coordinator.result import WorkflowResult
from admf.coordinator.running.progress import Silence
from admf.coordinator.simulation.executors import InProcess
from admf.coordinator.streams.differences import Difference, first_difference
from admf.domain.codes import Stage
from admf.domain.errors import ChangedError, ConfigurationError, NotFoundError, StrategyError
from admf.domain.events import (
    Event,
    OrdersFilled,
    PhaseStageEntered,
    TrialsCompleted,
)
from admf.eventstore.codec import encode
from admf.eventstore.record import Head, Recorded, record

STRATEGY = (
    "import numpy as np\n\n\ndef mine(close, level=100):\n    return np.where(close > level, 1.0, 0.0)\n"
)
DATA = Path(__file__).parents[2] / "configs" / "data"
Heads = Callable[[WorkflowResult], dict[str, str]]


@pytest.fixture
def mine(folder: Path) -> dict[str, object]:
    """A search over the levels of a strategy in the user's own file."""
    (folder / "mine.py").write_text(STRATEGY)
    search = {
        "name": "search",
        "type": "optimization",
        "shard_size": 1,
        "optimization": {"parameters": {"mine.level": [90, 100, 110]}},
    }
    return {
        "data": {"file": "walk.csv"},
        "strategies": [{"name": "mine", "type": "mine.py:mine"}],
        "workflow": [search],
    }


@pytest.mark.parametrize("template", templates())
def test_every_template_replays_identically_without_its_data_files(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: Heads
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "sp500.csv.gz", tmp_path / "mine.csv.gz")
    with Coordinator(tmp_path / "store") as coordinator:
        result = coordinator.execute_workflow(template, ["data.file=mine.csv.gz"])
        (tmp_path / "mine.csv.gz").unlink()
        before = coordinator.workspace.store.last_position()
        replays = coordinator.replay_workflow(result.run)
        # A phase that was skipped has no stream.
        executed = {name: phase for name, phase in result.phases.items() if phase.status != "skipped"}
        assert {each.phase: each.head_hash for each in replays} == {
            name: head for name, head in heads(result).items() if name in executed
        }
        assert [each.outcome for each in replays] == ["identical"] * len(executed)
        assert [(each.events, each.rows) for each in replays] == [
            (phase.events, phase.rows) for phase in executed.values()
        ]
        assert coordinator.workspace.store.last_position() == before


def test_one_phase_can_be_replayed_alone(coordinator: Coordinator, train_and_test: dict[str, object]) -> None:
    run = coordinator.execute_workflow(train_and_test).run
    (only,) = coordinator.replay_workflow(run, phase="out_of_sample")
    assert (only.phase, only.outcome) == ("out_of_sample", "identical")
    with pytest.raises(
        NotFoundError, match="has begun no phase 'testing'; it has begun training, out_of_sample"
    ):
        coordinator.replay_workflow(run, phase="testing")
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        coordinator.replay_workflow("x")


def test_two_workers_replay_what_one_process_recorded(
    pooled: Coordinator, train_and_test: dict[str, object]
) -> None:
    run = pooled.execute_workflow(train_and_test).run
    assert [each.outcome for each in pooled.replay_workflow(run)] == ["identical", "identical"]
    (alone, _) = replay_run(pooled.workspace.store, run, InProcess(), Silence())
    assert alone.outcome == "identical"


def test_code_that_was_changed_by_one_character_is_refused_by_name(
    coordinator: Coordinator, mine: dict[str, object], folder: Path
) -> None:
    run = coordinator.execute_workflow(mine).run
    (folder / "mine.py").write_text(STRATEGY + "\n")
    with pytest.raises(
        ChangedError, match=r"'search' began with other code: strategy mine was \w+, is \w+\."
    ):
        coordinator.replay_workflow(run)
    (replay,) = coordinator.replay_workflow(run, accept_code=True)
    assert replay.outcome == "identical"


def test_what_changed_code_does_is_located(
    coordinator: Coordinator, mine: dict[str, object], folder: Path
) -> None:
    run = coordinator.execute_workflow(mine).run
    (folder / "mine.py").write_text(STRATEGY.replace("1.0, 0.0", "0.5, 0.0"))
    (replay,) = coordinator.replay_workflow(run, accept_code=True)
    assert replay.outcome == "different"
    first = next(coordinator.workspace.store.read(f"{run}/search", topics=("SignalsEmitted",)))
    assert replay.difference == Difference(first.address, "SignalsEmitted", "target", "1.0", "0.5")
    assert replay.rows == first.first - 1


def test_changed_code_that_needs_other_features_differs_from_the_start(
    coordinator: Coordinator, mine: dict[str, object], folder: Path
) -> None:
    decorated = """
from admf.domain.features import feature
from admf.domain.strategies import strategy

@strategy(features={"average": feature("sma", period="level")}, parameters={"level": 100})
def mine(close, average):
    return close > average
"""
    (folder / "mine.py").write_text(decorated)
    run = coordinator.execute_workflow(mine).run
    (folder / "mine.py").write_text(decorated.replace('"sma"', '"ema"'))
    (replay,) = coordinator.replay_workflow(run, accept_code=True)
    assert replay.difference is not None
    assert (replay.difference.address, replay.difference.type) == (f"{run}/search#1", "PhaseStarted")
    assert replay.difference.field == "features"
    assert "sma(period=90)" in replay.difference.recorded
    assert "ema(period=90)" in replay.difference.replayed


def test_a_strategy_file_that_is_missing_is_named(
    coordinator: Coordinator, mine: dict[str, object], folder: Path
) -> None:
    run = coordinator.execute_workflow(mine).run
    (folder / "mine.py").unlink()
    with pytest.raises(
        ConfigurationError, match=r"search.strategies\[0\].type: there is no strategy file 'mine.py' in"
    ):
        coordinator.replay_workflow(run)


def test_a_run_that_failed_is_compared_as_far_as_it_came(
    coordinator: Coordinator, mine: dict[str, object], folder: Path
) -> None:
    failing = STRATEGY.replace(
        "    return", "    if level > 100:\n        raise ValueError('too high')\n    return"
    )
    (folder / "mine.py").write_text(failing)
    with pytest.raises(StrategyError, match="too high"):
        coordinator.execute_workflow(mine)
    run = str(coordinator.workspace.read_models.query("SELECT run FROM runs").rows[0][0])
    (replay,) = coordinator.replay_workflow(run)
    store = coordinator.workspace.store
    assert replay.outcome == "identical"
    assert replay.rows == store.head(f"{run}/search").rows
    assert len(list(store.read(f"{run}/search", topics=("TrialsCompleted",)))) == 2


def rewritten(coordinator: Coordinator, run: str, topic: str, change: Callable[[Event], Event]) -> Recorded:
    """Copy a phase with one event changed into a run of its own, and return the event that was changed."""
    store = coordinator.workspace.store
    (workflow, *_) = store.read(run)
    store.append(Head("planted"), [workflow.event], correlation_id="planted", causation_id="")
    head, found = Head("planted/training"), None
    for recorded in store.read(f"{run}/training"):
        event = recorded.event
        if recorded.topic == topic and found is None:
            found, event = recorded, change(event)
        head = store.append(head, [event], correlation_id="", causation_id="")
    assert found is not None
    return found


def with_another_price(event: Event) -> Event:
    assert isinstance(event, OrdersFilled)
    price = event.price.copy()
    price[2] = np.nextafter(price[2], np.inf)
    return msgspec.structs.replace(event, price=price)


def test_a_fill_that_differs_in_its_last_bit_is_located(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    run = coordinator.execute_workflow(train_and_test).run
    found = rewritten(coordinator, run, "OrdersFilled", with_another_price)
    honest = found.event
    assert isinstance(honest, OrdersFilled)
    (replay,) = coordinator.replay_workflow("planted")
    planted = np.nextafter(honest.price[2], np.inf).item()
    assert replay.difference == Difference(
        f"planted/training#{found.first + 2}",
        "OrdersFilled",
        "price",
        repr(planted),
        repr(honest.price[2].item()),
    )
    assert replay.events == found.version - 1


def test_an_event_that_nothing_leads_to_is_a_difference(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    run = coordinator.execute_workflow(train_and_test).run
    store = coordinator.workspace.store
    end = store.head(f"{run}/training")
    more = PhaseStageEntered(stage=Stage.FINALIZATION)
    store.append(end, [more], correlation_id="", causation_id="")
    (replay, _) = coordinator.replay_workflow(run)
    topic = "PhaseStageEntered"
    assert replay.difference == Difference(end.next_address, topic, "type", topic, "nothing")


def located(was: Event, is_: Event) -> tuple[str, str, str, str]:
    before, after = (
        record(Head("s", rows=9), encode(event), correlation_id="", causation_id="", recorded_at=0)
        for event in (was, is_)
    )
    assert before.content_hash != after.content_hash
    found = first_difference(before, after)
    return found.address, found.field, found.recorded, found.replayed


def trials(metric: float, fast: object = 5, count: int = 2) -> TrialsCompleted:
    numbers = np.arange(count, dtype=np.int32)
    return TrialsCompleted(
        container=numbers,
        fold=numbers.astype(np.int16),
        segment=numbers.astype(np.int8),
        first_bar=numbers,
        stop_bar=numbers,
        parameters={"fast": np.array([fast] * count)},
        metrics={"sharpe_ratio": np.array([np.nan, metric, *[0.0] * (count - 2)])},
    )


@pytest.mark.parametrize(
    ("was", "is_", "expected"),
    [
        (trials(1.0), trials(2.0), ("s#11", "metrics.sharpe_ratio", "1.0", "2.0")),
        (trials(0.0), trials(-0.0), ("s#11", "metrics.sharpe_ratio", "0.0", "-0.0")),
        (trials(1.0), trials(1.0, fast=5.0), ("s#10", "parameters.fast", "5", "5.0")),
        (trials(1.0), trials(1.0, fast="a"), ("s#10", "parameters.fast", "5", "'a'")),
        (trials(1.0, count=4), trials(1.0, count=3), ("s#13", "rows", "4", "3")),
        (
            trials(1.0),
            PhaseStageEntered(stage=Stage.COMPUTATION),
            ("s#10", "type", "TrialsCompleted", "PhaseStageEntered"),
        ),
        (
            PhaseStageEntered(stage=Stage.COMPUTATION),
            PhaseStageEntered(stage=Stage.VALIDATION),
            ("s#10", "stage", "computation", "validation"),
        ),
    ],
)
def test_the_first_difference_of_two_events_is_named_with_both_values(
    was: Event, is_: Event, expected: tuple[str, str, str, str]
) -> None:
    assert located(was, is_) == expected
