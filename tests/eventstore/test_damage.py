"""What can't be read hides nothing that can."""

import sqlite3
from pathlib import Path

import pytest
from admf.domain.errors import CorruptionError
from admf.domain.events import PhaseSkipped
from admf.eventstore.record import Head, Recorded, Unreadable
from admf.eventstore.store import EventStore, open_store
from admf.eventstore.subscription import PAGE

READABLE_TWICE = 2 * PAGE + 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "events.sqlite") as store:
        for stream in ("a", "b"):
            events = [PhaseSkipped(phase="search", reason=str(number)) for number in range(READABLE_TWICE)]
            store.append(Head(stream), events, correlation_id=stream, causation_id="")
    return tmp_path / "events.sqlite"


def change(path: Path, assignment: str, version: int) -> None:
    with sqlite3.connect(path) as connection:
        statement = (
            f"UPDATE stored_events SET {assignment} WHERE originator_id = 'a' AND originator_version = ?"
        )
        assert connection.execute(statement, (version,)).rowcount == 1
    connection.close()


def scanned(store: EventStore, stream: str) -> list[tuple[str, int]]:
    return [(each.stream, each.version) for each in store.scan(stream)]


@pytest.mark.parametrize("state", ["x'93'", "'text'", "zeroblob(0)"])
@pytest.mark.parametrize("version", [1, PAGE, READABLE_TWICE])
def test_a_scan_goes_on_behind_an_event_that_cannot_be_read(path: Path, state: str, version: int) -> None:
    change(path, f"state = {state}", version)
    whole = [(stream, number + 1) for stream in ("a", "b") for number in range(READABLE_TWICE)]
    with open_store(path) as store:
        assert scanned(store, "") == whole
        assert scanned(store, "a") == whole[:READABLE_TWICE]
        (damaged,) = [each for each in store.scan() if isinstance(each, Unreadable)]
        assert damaged.version == version
        assert f"event {version} of stream a can't be read" in damaged.reason
        with pytest.raises(CorruptionError, match=f"event {version} of stream a can't be read"):
            list(store.read("a"))


def test_a_name_that_is_no_text_is_read_as_another_name(path: Path) -> None:
    change(path, "topic = CAST(x'50ff' AS TEXT)", 2)
    with open_store(path) as store:
        topics = [each.topic for each in store.scan("a") if isinstance(each, Recorded)]
    assert topics[:3] == ["PhaseSkipped", "P\ufffd", "PhaseSkipped"]
