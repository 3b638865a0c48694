"""What is changed by somebody who computes all hashes anew is found where it contradicts something else."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.streams.trace_query import phase_stream
from admf.coordinator.streams.workspace import Workspace
from admf.domain.events import (
    Event,
    OrdersCanceled,
    OrdersFilled,
    OrdersPlaced,
    PhaseCompleted,
    PhaseOutputEvent,
    PhaseStageEntered,
    PhaseStarted,
    SignalsEmitted,
    TrialsCompleted,
    WorkflowCompleted,
)
from admf.eventstore.codec import encode
from admf.eventstore.record import Head, Recorded, record
from admf.eventstore.store import open_store

Change = Callable[[Event], Event | None]
PHASE = "training"


@pytest.fixture
def run(folder: Path, train_and_test: dict[str, object]) -> str:
    """A run in the store of the current folder, one of whose orders is canceled at the end of the data."""
    with Coordinator("store") as coordinator:
        return coordinator.execute_workflow(train_and_test, ["training.shard_size=100"]).run


def forge(run: str, change: Change, cause: str = "") -> None:
    """Change the events of a run, and compute all hashes and references between its streams anew."""
    heads: dict[str, Head] = {}
    with open_store("store/events.sqlite") as store:
        streams = [phase_stream(run, name) for name in (PHASE, "out_of_sample")] + [run]
        forged: list[Recorded] = []
        for stream in streams:
            head = Head(stream)
            for stored in store.read(stream):
                event = change(stored.event)
                if isinstance(event, PhaseCompleted):
                    event = _completed(event, heads[event.stream])
                if event is not None:
                    by = stored.causation_id.partition("#")[0] + "#1" if stored.causation_id else ""
                    again = record(
                        head,
                        encode(event),
                        correlation_id=stored.correlation_id,
                        causation_id=cause if cause and stored.version == 2 else by,
                        recorded_at=stored.recorded_at,
                    )
                    forged.append(again)
                    head = again.head
            heads[stream] = head
        states = [store._mapper.to_stored_event(each) for each in forged]
    with closing(sqlite3.connect("store/events.sqlite")) as connection, connection:
        connection.execute("DELETE FROM stored_events WHERE originator_id NOT LIKE 'bars-%'")
        connection.executemany(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)",
            [(each.originator_id, each.originator_version, each.topic, each.state) for each in states],
        )
    for path in Path("store").glob("readmodels*"):
        path.unlink()


def _completed(event: PhaseCompleted, head: Head) -> PhaseCompleted:
    return msgspec.structs.replace(
        event, events=head.version, rows=head.rows, head_hash=head.content_hash.hex()
    )


def changed(kind: type[Event], **columns: Callable[[np.ndarray], None]) -> Change:
    """Change the columns of the first event of a type."""
    done = []

    def change(event: Event) -> Event:
        if not isinstance(event, kind) or done:
            return event
        done.append(event)
        values = {name: getattr(event, name).copy() for name in columns}
        for name, edit in columns.items():
            edit(values[name])
        return msgspec.structs.replace(event, **values)

    return change


def entry(row: int, value: float) -> Callable[[np.ndarray], None]:
    return lambda column: column.__setitem__(row, value)


def scaled(row: int) -> Callable[[np.ndarray], None]:
    return lambda column: column.__setitem__(row, column[row] * (1 + 1e-9))


def without(kind: type[Event]) -> Change:
    return lambda event: None if isinstance(event, kind) else event


def with_metric(name: str) -> Change:
    def change(event: Event) -> Event:
        if not isinstance(event, TrialsCompleted) or event.container.size == 1:
            return event
        column = event.metrics[name].copy()
        column[2] = np.nextafter(column[2], np.inf)
        return msgspec.structs.replace(event, metrics={**event.metrics, name: column})

    return change


def with_output(**fields: object) -> Change:
    def change(event: Event) -> Event:
        if not isinstance(event, PhaseOutputEvent) or event.phase != PHASE:
            return event
        return msgspec.structs.replace(event, output=msgspec.structs.replace(event.output, **fields))

    return change


def with_best(**fields: object) -> Change:
    def change(event: Event) -> Event:
        if not isinstance(event, PhaseOutputEvent) or event.phase != PHASE or event.output.best is None:
            return event
        best = msgspec.structs.replace(event.output.best, **fields)
        return msgspec.structs.replace(event, output=msgspec.structs.replace(event.output, best=best))

    return change


def violations(run: str = "") -> list[tuple[str, str, str]]:
    with Workspace("store") as workspace:
        found = verify_workspace(workspace, run).violations
    return [(each.address, each.rule, each.message) for each in found]


def addresses(run: str, kind: type[Event]) -> list[int]:
    """Number of the first row of each event of a type in the training phase."""
    with open_store("store/events.sqlite") as store:
        return [each.first for each in store.read(f"{run}/{PHASE}", topics=(kind.__name__,))]


def test_a_forgery_that_changes_nothing_verifies(run: str) -> None:
    forge(run, lambda event: event)
    assert violations() == violations(run) == []


@pytest.mark.parametrize("column", ["price", "fee", "quantity"])
def test_a_fill_from_which_the_metrics_no_longer_follow_is_found(run: str, column: str) -> None:
    forge(run, changed(OrdersFilled, **{column: scaled(0)}))
    (first,) = addresses(run, TrialsCompleted)
    ((address, rule, message),) = violations(run)
    assert (address, rule) == (f"{run}/{PHASE}#{first}", "metrics")
    assert "of container 0 must be" in message
    assert "as follows from its fills" in message


def test_a_fill_at_no_price_is_found_in_its_container_alone(run: str) -> None:
    forge(run, changed(OrdersFilled, price=entry(0, 0.0)))
    (first,) = addresses(run, TrialsCompleted)
    assert [found[:2] for found in violations()] == [(f"{run}/{PHASE}#{first}", "metrics")]


@pytest.mark.parametrize("name", ["final_equity", "sharpe_ratio", "max_drawdown", "exposure", "fees"])
def test_a_metric_that_does_not_follow_from_the_fills_is_found_to_the_last_bit(run: str, name: str) -> None:
    forge(run, with_metric(name))
    (first,) = addresses(run, TrialsCompleted)
    found = violations()
    assert (f"{run}/{PHASE}#{first + 2}", "metrics") in [each[:2] for each in found]
    assert f"{name} of container 2 must be" in found[0][2]


@pytest.mark.parametrize(
    ("kind", "change", "row", "rule"),
    [
        (OrdersFilled, changed(OrdersFilled, order=entry(1, 77)), 1, "order"),
        (OrdersFilled, changed(OrdersFilled, order=entry(1, 0)), 0, "order"),
        (OrdersPlaced, changed(OrdersPlaced, order=entry(3, 99)), 3, "order"),
        (OrdersPlaced, without(OrdersCanceled), None, "order"),
        (OrdersFilled, changed(OrdersFilled, bar=entry(0, 299)), 0, "bar"),
        (OrdersFilled, changed(OrdersFilled, bar=entry(0, -1)), 0, "bar"),
        (OrdersFilled, changed(OrdersFilled, symbol=entry(4, 1)), 4, "bar"),
        (SignalsEmitted, changed(SignalsEmitted, strategy=entry(4, 1)), 4, "bar"),
        (SignalsEmitted, changed(SignalsEmitted, container=entry(2, 99)), 2, "container"),
        (TrialsCompleted, changed(TrialsCompleted, container=entry(1, 9)), 1, "container"),
        (TrialsCompleted, changed(TrialsCompleted, stop_bar=entry(1, 301)), 1, "bar"),
        (TrialsCompleted, changed(TrialsCompleted, first_bar=entry(1, -1)), 1, "bar"),
    ],
)
def test_rows_that_refer_to_what_is_not_there_are_found(
    run: str, kind: type[Event], change: Change, row: int | None, rule: str
) -> None:
    forge(run, change)
    first = addresses(run, kind)[0]
    found = [each[:2] for each in violations()]
    if row is None:
        assert rule in {each[1] for each in found}
    else:
        assert (f"{run}/{PHASE}#{first + row}", rule) in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_best(container=3), "the best trial of the phase by sharpe_ratio"),
        (with_best(container=99), "it names container 99, of which there are 0 trials"),
        (with_best(parameters={"cross.fast": 3, "cross.slow": 5}), "must be those of its trial"),
        (with_best(metrics={"sharpe_ratio": 9.0}), "must be those of its trial"),
        (with_output(direction="minimize"), "the best trial of the phase by sharpe_ratio (minimize)"),
        (with_output(trials=100), "it counts 100 trials"),
        (with_output(metrics={"sharpe_ratio": 9.0}), "its metrics must be those of its best trial"),
    ],
)
def test_an_output_that_does_not_follow_from_the_trials_is_found(
    run: str, change: Change, message: str
) -> None:
    forge(run, change)
    found = violations()
    (first,) = addresses(run, PhaseOutputEvent)
    assert {each[:2] for each in found} == {(f"{run}/{PHASE}#{first}", "output")}
    assert any(message in each[2] for each in found)


@pytest.mark.parametrize("template", ["walk_forward"])
def test_a_fold_that_tests_other_parameters_than_the_best_and_another_account_are_found(
    folder: Path, template: str
) -> None:
    with Coordinator("memory://") as coordinator:
        run = coordinator.execute_workflow(template).run
        store = coordinator.workspace.store
        last = next(store.read(f"{run}/walk_forward", topics=("PhaseOutputEvent",))).event
        assert isinstance(last, PhaseOutputEvent)
        folds = last.output.folds
        best = msgspec.structs.replace(folds[1], best=folds[2].best)
        test = msgspec.structs.replace(folds[1], test=folds[2].test)
        forged = [
            msgspec.structs.replace(last.output, folds=(folds[0], fold, *folds[2:])) for fold in (best, test)
        ]
        forged.append(msgspec.structs.replace(last.output, best=folds[-1].test))
        for number, output in enumerate(forged):
            head = Head(f"{run}{number}/walk_forward")
            for stored in store.read(f"{run}/walk_forward"):
                event = stored.event
                if isinstance(event, PhaseOutputEvent):
                    event = msgspec.structs.replace(event, output=output)
                head = store.append(head, [event], correlation_id="", causation_id="")
        found = [
            (each.rule, each.message)
            for each in verify_workspace(coordinator.workspace).violations
            if each.rule != "read models"
        ]
    assert {rule for rule, _ in found} == {"output"}
    messages = " ".join(message for _, message in found)
    assert "the best trial of fold 1 by sharpe_ratio" in messages
    assert "must be the test of fold 1" in messages
    assert "its best trial, or its paths, must be the accounts that trade the tests of all folds" in messages


def test_a_phase_that_was_completed_without_an_output_is_found(run: str) -> None:
    forge(run, without(PhaseOutputEvent))
    assert {each[1] for each in violations()} == {"phase"}


def test_a_workflow_that_was_completed_before_its_phases_is_found(run: str) -> None:
    forge(run, without(PhaseCompleted))
    assert [each[:2] for each in violations()] == [(f"{run}#2", "workflow")]
    assert "training, out_of_sample" in violations()[0][2]


@pytest.mark.parametrize("cause", ["nobody#1", "{run}#99", "{run}#0", "nonsense"])
def test_an_event_that_was_caused_by_nothing_is_found(run: str, cause: str) -> None:
    forge(run, lambda event: event, cause.format(run=run))
    found = {each[:2] for each in violations()}
    assert (f"{run}/{PHASE}#2", "cause") in found
    assert {rule for _, rule in found} == {"cause"}
    assert {each[1] for each in violations(run)} == {"cause"}


def test_streams_that_do_not_begin_with_what_they_are_are_found(run: str) -> None:
    forge(run, without(PhaseStarted))
    found = [each[:2] for each in violations() if each[1] != "read models"]
    assert found == [(f"{run}/{PHASE}#1", "start"), (f"{run}/out_of_sample#1", "start")]


def test_what_happened_in_a_container_without_a_trial_is_found(run: str) -> None:
    forge(run, without(TrialsCompleted))
    found = {each[1] for each in violations()}
    assert {"container", "output"} <= found


def test_what_only_happened_less_often_is_no_contradiction(run: str) -> None:
    forge(run, without(PhaseStageEntered))
    assert violations() == []
    forge(run, without(WorkflowCompleted))
    assert violations() == []
