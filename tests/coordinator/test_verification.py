"""A store as it was written verifies; whatever is changed in the log is found, by its address and rule."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from admf import Coordinator
from admf.coordinator.audit.verification import Verification, verify_workspace
from admf.coordinator.streams.workspace import Workspace
from admf.domain.errors import CorruptionError, NotFoundError
from admf.domain.metrics import METRICS
from admf.eventstore.mapper import Envelope, RecordedMapper
from admf.eventstore.record import Head, flaws
from eventsourcing.persistence import JSONTranscoder

ENVELOPE = Envelope.__struct_fields__
Found = set[tuple[str, str]]
Verify = Callable[..., Found]


class Planted:
    """A store with one run, whose rows a test changes behind the back of everything."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self.run = run
        self.training = f"{run}/training"

    def execute(self, statement: str, *parameters: object) -> None:
        with closing(sqlite3.connect(self.folder / "events.sqlite")) as connection, connection:
            assert connection.execute(statement, parameters).rowcount > 0

    def state(self, stream: str, version: int) -> bytes:
        with closing(sqlite3.connect(self.folder / "events.sqlite")) as connection:
            sql = "SELECT state FROM stored_events WHERE originator_id = ? AND originator_version = ?"
            (state,) = connection.execute(sql, (stream, version)).fetchone()
        assert isinstance(state, bytes)
        return state

    def events(self, stream: str) -> int:
        with Workspace(self.folder) as workspace:
            return workspace.store.head(stream).version

    def set_state(self, stream: str, version: int, state: bytes) -> None:
        sql = "UPDATE stored_events SET state = ? WHERE originator_id = ? AND originator_version = ?"
        self.execute(sql, state, stream, version)

    def first_row(self, version: int) -> str:
        """Address of an event of the training phase."""
        envelope = msgspec.msgpack.decode(self.state(self.training, version), type=Envelope)
        return f"{self.training}#{envelope.first}"

    def verify(self, run: str = "") -> Verification:
        with Workspace(self.folder) as workspace:
            return verify_workspace(workspace, run)

    def found(self, run: str = "") -> Found:
        return {(each.address, each.rule) for each in self.verify(run).violations}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a run of two phases, which its read models have followed."""
    folder = tmp_path_factory.mktemp("pristine")
    with Coordinator(folder) as coordinator:
        run = coordinator.execute_workflow("train_test").run
        coordinator.workspace.read_models.catch_up()
        return folder, run


@pytest.fixture
def planted(pristine: tuple[Path, str], tmp_path: Path) -> Planted:
    folder, run = pristine
    return Planted(Path(shutil.copytree(folder, tmp_path / "store")), run)


@pytest.mark.parametrize("template", ["train_test", "walk_forward", "cross_validation", "risk_sweep"])
@pytest.mark.parametrize("back_end", ["sqlite", "postgres", "memory"])
def test_a_store_as_it_was_written_verifies(
    template: str,
    back_end: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    url = request.getfixturevalue("postgres_url") if back_end == "postgres" else "memory://"
    told: list[tuple[int, int]] = []
    with Coordinator(tmp_path / "store" if back_end == "sqlite" else url) as coordinator:
        runs = [coordinator.execute_workflow(template, cache=False).run for _ in range(2)]
        whole = verify_workspace(coordinator.workspace, "", lambda *done: told.append(done))
        assert whole.violations == ()
        part = verify_workspace(coordinator.workspace, runs[1])
        assert part.violations == ()
        rows = sum(each.rows for each in coordinator.workspace.store.read_all())
    assert whole.checked.rows == rows
    assert told[-1][0] == told[-1][1] == 2 * whole.checked.events
    assert whole.checked.metrics == 2 * part.checked.metrics > 0
    assert whole.checked.read_model_rows > part.checked.read_model_rows > part.checked.rows
    assert whole.checked.streams == 2 * part.checked.streams - 1


@pytest.mark.parametrize("log", ["full", "fills", "metrics"])
@pytest.mark.parametrize("profile", ["admf", "backtesting_py", "empyrical", "quantstats"])
@pytest.mark.parametrize(("fill", "end"), [("same_close", "close"), ("next_open", "close_at_open")])
def test_every_log_level_profile_and_policy_verifies(
    coordinator: Coordinator, train_and_test: dict[str, object], log: str, profile: str, fill: str, end: str
) -> None:
    execution = [f"execution.end={end}", f"execution.fill={fill}", "execution.rounding=floor"]
    changes = [f"log={log}", f"metrics.profile={profile}", *execution]
    run = coordinator.execute_workflow(train_and_test, changes).run
    verification = verify_workspace(coordinator.workspace, run)
    assert verification.violations == ()
    metrics = len(METRICS) - 2 * (profile == "backtesting_py")
    assert verification.checked.metrics == (0 if log == "metrics" else metrics * (7 + 1))


FLIPPED = {
    "first": "contiguity",
    "rows": "content hash",
    "schema_version": "content hash",
    "correlation_id": "record hash",
    "causation_id": "record hash",
    "recorded_at": "record hash",
    "content_hash": "content hash",
    "record_hash": "record hash",
    "payload": "content hash",
}


@pytest.mark.parametrize(("field", "rule"), FLIPPED.items())
@pytest.mark.parametrize("version", [2, 5])
@pytest.mark.parametrize("followed", [True, False])
def test_a_bit_that_is_flipped_in_a_field_is_found(
    planted: Planted, field: str, rule: str, version: int, *, followed: bool
) -> None:
    if not followed:
        (planted.folder / "readmodels.duckdb").unlink()
    address = planted.first_row(version)
    values = list(msgspec.msgpack.decode(planted.state(planted.training, version)))
    place = ENVELOPE.index(field)
    values[place] = flipped(values[place])
    planted.set_state(planted.training, version, msgspec.msgpack.encode(values))
    found = planted.found()
    if field == "first":
        address = f"{planted.training}#{values[place]}"
    if field == "payload":
        assert found & {(address, rule), (address, "payload")}
    else:
        assert (address, rule) in found
    assert found == planted.found(planted.run)


def flipped(value: object) -> object:
    match value:
        case int():
            return value ^ 1
        case str():
            return chr(ord(value[0]) ^ 1) + value[1:]
        case bytes():
            return bytes([*value[:-20], value[-20] ^ 16, *value[-19:]])
    raise TypeError(type(value))


@pytest.mark.parametrize(
    ("column", "expression", "rules"),
    [
        ("topic", "'N' || substr(topic, 2)", {"content hash", "record hash", "payload"}),
        ("topic", "CAST(x'ff' || substr(topic, 2) AS TEXT)", {"content hash", "record hash", "payload"}),
        ("originator_version", "originator_version | 1024", {"contiguity"}),
    ],
)
def test_a_bit_that_is_flipped_beside_the_envelope_is_found(
    planted: Planted, column: str, expression: str, rules: set[str]
) -> None:
    address = planted.first_row(5)
    where = "WHERE originator_id = ? AND originator_version = 5"
    planted.execute(f"UPDATE stored_events SET {column} = {expression} {where}", planted.training)
    assert {rule for where, rule in planted.found() if where == address} >= rules


def test_an_event_that_moved_to_another_stream_is_missing_in_one_and_too_much_in_the_other(
    planted: Planted,
) -> None:
    moved = f"{planted.training[:-1]}f"
    planted.execute(
        "UPDATE stored_events SET originator_id = ? WHERE originator_id = ? AND originator_version = 5",
        moved,
        planted.training,
    )
    found = planted.found()
    assert (f"{moved}#{planted_number(planted, moved, 5)}", "contiguity") in found
    assert (planted.first_row(6), "contiguity") in found


def planted_number(planted: Planted, stream: str, version: int) -> int:
    return msgspec.msgpack.decode(planted.state(stream, version), type=Envelope).first


def test_no_bit_of_what_is_stored_can_be_flipped_unnoticed(planted: Planted) -> None:
    with Workspace(planted.folder) as workspace:
        recorded = next(workspace.store.read(planted.run, after=1))
        head = next(workspace.store.read(planted.run)).head
    mapper = RecordedMapper(JSONTranscoder())
    stored = mapper.to_stored_event(recorded)
    assert not list(flaws(head, mapper.to_domain_event(stored)))
    unnoticed = []
    for bit in range(8 * len(stored.state)):
        state = bytearray(stored.state)
        state[bit // 8] ^= 1 << bit % 8
        changed = type(stored)(stored.originator_id, 2, stored.topic, bytes(state))
        try:
            if not list(flaws(head, mapper.to_domain_event(changed))):
                unnoticed.append(bit)
        except CorruptionError:
            continue
    assert unnoticed == []


def test_a_deleted_row_is_found(planted: Planted) -> None:
    address = planted.first_row(6)
    planted.execute(
        "DELETE FROM stored_events WHERE originator_id = ? AND originator_version = 5", planted.training
    )
    assert (address, "contiguity") in planted.found()


def test_a_row_that_was_inserted_again_under_another_version_is_found(planted: Planted) -> None:
    planted.execute(
        "INSERT INTO stored_events (originator_id, originator_version, topic, state) "
        "SELECT originator_id, ?, topic, state FROM stored_events "
        "WHERE originator_id = ? AND originator_version = 5",
        planted.events(planted.training) + 1,
        planted.training,
    )
    found = planted.found()
    assert (planted.first_row(5), "contiguity") in found
    assert "phase" in {rule for _, rule in found}


def test_rows_that_changed_places_are_found(planted: Planted) -> None:
    states = planted.state(planted.training, 5), planted.state(planted.training, 6)
    addresses = planted.first_row(5), planted.first_row(6)
    for version, state in zip((6, 5), states, strict=True):
        planted.set_state(planted.training, version, state)
    assert {(address, "contiguity") for address in addresses} <= planted.found()


def test_positions_that_changed_places_are_found(planted: Planted) -> None:
    for position, version in ((-1, 5), (-2, 6)):
        planted.execute(
            "UPDATE stored_events SET notification_id = ? WHERE originator_id = ? AND originator_version = ?",
            position,
            planted.training,
            version,
        )
    assert "contiguity" in {rule for _, rule in planted.found()}


def test_a_phase_without_its_last_event_is_found(planted: Planted) -> None:
    planted.execute(
        "DELETE FROM stored_events WHERE topic = 'PhaseOutputEvent' AND originator_id = ?", planted.training
    )
    completed = f"{planted.run}#2"
    with Workspace(planted.folder) as workspace:
        last = f"{planted.training}#{workspace.store.head(planted.training).rows}"
    assert {(completed, "phase"), (last, "phase")} <= planted.found() & planted.found(planted.run)


def test_a_phase_whose_stream_is_gone_is_found(planted: Planted) -> None:
    planted.execute("DELETE FROM stored_events WHERE originator_id = ?", planted.training)
    assert (f"{planted.run}#2", "phase") in planted.found(planted.run)


def test_bars_that_are_gone_are_found_and_so_are_bars_under_a_wrong_name(planted: Planted) -> None:
    planted.execute("UPDATE stored_events SET originator_id = 'bars-0' WHERE originator_id LIKE 'bars-%'")
    found = planted.found()
    assert ("bars-0#1", "feed") in found
    assert (f"{planted.run}#1", "feed") in found


def test_a_workflow_without_its_last_event_is_found_by_the_read_models_that_had_followed_it(
    planted: Planted,
) -> None:
    with Workspace(planted.folder) as workspace:
        workspace.read_models.catch_up()
    planted.execute("DELETE FROM stored_events WHERE topic = 'WorkflowCompleted'")
    assert planted.found() == {("read models", "read models")}


@pytest.mark.parametrize("state", ["x'93'", "zeroblob(0)", "'text'"])
def test_what_cannot_be_read_in_one_stream_hides_nothing_in_another(planted: Planted, state: str) -> None:
    other = f"{planted.run}/out_of_sample"
    address = planted.first_row(5)
    planted.execute(
        f"UPDATE stored_events SET state = {state} WHERE originator_id = ? AND originator_version = 5",
        planted.training,
    )
    planted.execute(
        "UPDATE stored_events SET topic = 'PhaseStopped' WHERE originator_id = ? AND originator_version = 1",
        other,
    )
    planted.execute(
        "DELETE FROM stored_events WHERE originator_id = ? AND originator_version = 2", planted.run
    )
    found = planted.found()
    assert {
        (address, "unreadable"),
        (f"{other}#1", "content hash"),
        (f"{planted.run}#3", "contiguity"),
    } <= found


def test_only_what_a_run_refers_to_is_verified_with_it(planted: Planted) -> None:
    with Coordinator(planted.folder) as coordinator:
        other = coordinator.execute_workflow("train_test", cache=False).run
    planted.execute(
        "DELETE FROM stored_events WHERE originator_id = ? AND originator_version = 5", planted.training
    )
    assert planted.found(other) == set()
    assert planted.found(planted.run)


def test_an_unknown_run_is_not_found(planted: Planted) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'nothing'"):
        planted.verify("nothing")


def test_a_run_that_is_under_way_verifies(
    coordinator: Coordinator, train_and_test: dict[str, object]
) -> None:
    found = []
    append = coordinator.workspace.store.append

    def watched(head: Head, events, **ids: str) -> Head:  # type: ignore[no-untyped-def]
        end = append(head, events, **ids)
        run = "" if head.stream.startswith("bars-") else head.stream.partition("/")[0]
        found.append(verify_workspace(coordinator.workspace).violations)
        found.append(verify_workspace(coordinator.workspace, run).violations)
        return end

    coordinator.workspace.store.append = watched  # type: ignore[method-assign]
    coordinator.execute_workflow(train_and_test)
    assert len(found) > 5
    assert set(found) == {()}
