"""How stores are opened, and what is said when that fails."""

import importlib.util
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from admf.domain.errors import CorruptionError, StoreError
from admf.domain.events import PhaseSkipped
from admf.eventstore import postgres, sqlite
from admf.eventstore.location import locate
from admf.eventstore.record import Head
from admf.eventstore.store import EventStore, open_store
from eventsourcing.persistence import OperationalError

EVENT = PhaseSkipped(phase="search", reason="done")


def append(store: EventStore, stream: str = "run") -> Head:
    return store.append(store.head(stream), [EVENT], correlation_id="run", causation_id="")


def test_a_sqlite_store_is_made_with_its_folder_and_found_again(tmp_path):
    path = tmp_path / "new" / "folder" / "events.sqlite"
    for url in (path, str(path), f"sqlite:///{path}"):
        with open_store(url) as store:
            append(store)
    with open_store(path) as store:
        assert store.head("run").version == 3


def test_a_relative_path_is_taken_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("events.sqlite", "sqlite:///events.sqlite"):
        with open_store(url) as store:
            append(store)
    assert (tmp_path / "events.sqlite").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.sqlite"]


def test_a_memory_store_ends_with_its_process():
    with open_store("memory://") as one, open_store("memory://") as other:
        append(one)
        assert other.last_position() == 0


def test_sqlite_files_suit_large_events_and_survive_power_loss(tmp_path):
    factory = sqlite.Factory(locate(tmp_path / "events.sqlite").environment)
    with EventStore(factory, "the store") as store:
        append(store)
        with factory.datastore.transaction(commit=False) as cursor:
            found = {}
            for pragma in ("page_size", "journal_mode", "synchronous"):
                cursor.execute(f"PRAGMA {pragma}")
                found[pragma] = cursor.fetchone()[0]
    assert found == {"page_size": 65536, "journal_mode": "wal", "synchronous": 2}


def test_the_head_of_a_stream_is_one_look_up_in_an_index(tmp_path):
    with open_store(tmp_path / "events.sqlite") as store:
        append(store)
    connection = sqlite3.connect(tmp_path / "events.sqlite")
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT * FROM stored_events WHERE originator_id='run' "
        "ORDER BY originator_version DESC LIMIT 1"
    ).fetchall()
    connection.close()
    (step,) = plan
    assert step[-1].startswith("SEARCH stored_events USING INDEX")


def test_positions_are_never_used_twice(tmp_path):
    with open_store(tmp_path / "events.sqlite") as store:
        append(store, "one")
        append(store, "two")
    connection = sqlite3.connect(tmp_path / "events.sqlite")
    connection.execute("DELETE FROM stored_events WHERE originator_id = 'two'")
    connection.commit()
    connection.close()
    with open_store(tmp_path / "events.sqlite") as store:
        append(store, "three")
        assert store.last_position() == 3


def test_an_envelope_that_cannot_be_read_is_named(tmp_path):
    with open_store(tmp_path / "events.sqlite") as store:
        append(store)
    connection = sqlite3.connect(tmp_path / "events.sqlite")
    connection.execute("UPDATE stored_events SET state = x'00'")
    connection.commit()
    connection.close()
    with (
        open_store(tmp_path / "events.sqlite") as store,
        pytest.raises(CorruptionError, match="event 1 of stream run can't be read"),
    ):
        list(store.read("run"))


def test_a_folder_is_not_a_store(tmp_path):
    with pytest.raises(
        StoreError, match=rf"{tmp_path}: unable to open database file\. Check that its folder"
    ):
        open_store(tmp_path)


def test_a_file_of_another_kind_is_not_a_store(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database\. That file is something else"):
        open_store(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"events\.sqlite: its folder can't be made: .*Name another store"):
        open_store(tmp_path / "file" / "events.sqlite")


def test_a_store_that_another_process_holds_is_named(tmp_path):
    path = tmp_path / "events.sqlite"
    factory = sqlite.Factory(locate(path).environment | {"SQLITE_LOCK_TIMEOUT": "1"})
    with EventStore(factory, str(path)) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreError, match=r"events\.sqlite: database is locked\. Another process is writing"
        ):
            append(store)
        holder.close()
        append(store)


def test_a_store_that_may_not_be_written_is_named(tmp_path):
    path = tmp_path / "events.sqlite"
    open_store(path).close()
    read_only = locate(path).environment | {"SQLITE_DBNAME": f"file:{path}?mode=ro", "CREATE_TABLE": "no"}
    with (
        EventStore(sqlite.Factory(read_only), str(path)) as store,
        pytest.raises(
            StoreError, match=r"events\.sqlite: attempt to write a readonly database\. Make the file"
        ),
    ):
        append(store)


def test_a_full_disk_is_named_and_what_was_stored_is_kept(tmp_path):
    path = tmp_path / "events.sqlite"
    factory = sqlite.Factory(locate(path).environment)
    with EventStore(factory, str(path)) as store:
        append(store)
        with factory.datastore.transaction(commit=False) as cursor:
            cursor.execute("PRAGMA max_page_count=1")
        large = PhaseSkipped(phase="search", reason="x" * 1_000_000)
        with pytest.raises(StoreError, match=r"database or disk is full\. Free some space"):
            store.append(store.head("run"), [large], correlation_id="", causation_id="")
        assert store.head("run").version == 1


def test_a_closed_store_says_so(tmp_path):
    store = open_store(tmp_path / "events.sqlite")
    store.close()
    with pytest.raises(StoreError, match=r"must be open, and was closed\. Open it again"):
        store.last_position()


def test_closing_a_store_waits_for_the_reads_of_other_threads(tmp_path):
    def read(store: EventStore) -> None:
        while True:
            list(store.read_all())

    for number in range(20):
        store = open_store(tmp_path / f"{number}.sqlite")
        append(store)
        with ThreadPoolExecutor() as threads:
            readers = [threads.submit(read, store) for _ in range(3)]
            time.sleep(0.01)
            store.close()
        for reader in readers:
            with pytest.raises(StoreError, match="was closed"):
                reader.result()


@pytest.mark.parametrize("url", ["mysql://localhost/events", "http://localhost", "redis://"])
def test_a_scheme_that_no_store_has_is_refused(url):
    with pytest.raises(StoreError, match=r"an event store is memory://, a path, .* found scheme"):
        open_store(url)


def test_a_postgres_url_is_taken_apart(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "from-environment")
    full = locate("postgresql://me:p%40ss%2Fword@db.example:6543/events")
    assert full.name == "postgresql://me@db.example:6543/events"
    assert full.environment["POSTGRES_PASSWORD"] == "p@ss/word"
    assert full.environment["POSTGRES_HOST"] == "db.example"
    assert full.environment["POSTGRES_PORT"] == "6543"
    assert full.environment["POSTGRES_USER"] == "me"
    assert full.environment["POSTGRES_DBNAME"] == "events"
    short = locate("postgresql://me@/events").environment
    assert (short["POSTGRES_HOST"], short["POSTGRES_PORT"]) == ("localhost", "5432")
    assert short["POSTGRES_PASSWORD"] == "from-environment"


def test_a_postgres_url_that_cannot_be_parsed_is_not_repeated():
    with pytest.raises(StoreError, match="can't be read") as caught:
        open_store("postgresql://me:pass/secret@localhost/events")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_postgres_client_is_named(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "psycopg" else find_spec(name)
    )
    with pytest.raises(StoreError, match=r"pip install admf\[postgres\]"):
        open_store("postgresql://me:secret@localhost/events")


def test_a_postgres_server_that_is_not_there_is_named_at_once():
    started = time.monotonic()
    with pytest.raises(
        StoreError, match=r"event store postgresql://me@127\.0\.0\.1:1/events: .*refused"
    ) as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/events")
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < 6


def test_a_refused_password_is_not_repeated(postgres_server):
    address = postgres_server.rpartition("@")[2]
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        open_store(f"postgresql://admf:wrong-secret@{address}")
    assert "wrong-secret" not in str(caught.value)


def test_the_librarys_database_functions_are_refused(postgres_url):
    settings = locate(postgres_url).environment | {"POSTGRES_ENABLE_DB_FUNCTIONS": "yes"}
    with pytest.raises(OperationalError, match="unset POSTGRES_ENABLE_DB_FUNCTIONS"):
        postgres.Factory(settings)
