"""Disks fill up, folders are closed, connections are lost: what was acknowledged stays, and a run goes on."""

import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from admf import Coordinator
from admf.coordinator.result import WorkflowResult
from admf.domain.errors import StoreError
from admf.domain.events import PhaseSkipped
from admf.eventstore import sqlite
from admf.eventstore.location import locate
from admf.eventstore.record import Head, verify
from admf.eventstore.store import EventStore, open_store
from admf.projections.read_models import ReadModels

WORKFLOW: dict[str, object] = {
    "data": {"file": "sp500.csv", "end": "2002-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "shard_size": 1,
    "workflow": [
        {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": [3, 5, 8, 10], "cross.slow": [20, 30, 40, 50]}},
        },
        {"name": "confirm", "type": "backtest", "inherit_best_from": "search"},
    ],
}


def append(store: EventStore, head: Head, reason: str = "done") -> Head:
    event = PhaseSkipped(phase="search", reason=reason)
    return store.append(head, [event], correlation_id="run", causation_id="")


def verified(store: EventStore, stream: str = "run") -> Head:
    """Check both hash chains of a stream, and return where it ends."""
    head = Head(stream)
    for recorded in store.read(stream):
        head = verify(head, recorded)
    return head


def heads(result: WorkflowResult) -> dict[str, str]:
    return {name: phase.head_hash for name, phase in result.phases.items()}


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """The head hashes of a run that nothing happened to."""
    with Coordinator("memory://") as coordinator:
        return heads(coordinator.execute_workflow(WORKFLOW))


RUN_UNTIL_IT_FAILS = """
import resource, sys
import msgspec
from admf import AdmfError, Coordinator

store, limit = sys.argv[1], int(sys.argv[2])
with Coordinator(store) as coordinator:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        coordinator.execute_workflow(msgspec.json.decode(sys.stdin.read()))
    except AdmfError as error:
        print(type(error).__name__, error)
        sys.exit(1)
"""


@pytest.mark.parametrize("limit", [1_000_000, 1_500_000, 2_000_000, 2_500_000])
def test_a_run_that_met_a_full_disk_is_resumed_to_the_same_hashes(
    tmp_path: Path, expected: dict[str, str], limit: int
) -> None:
    failed = subprocess.run(
        [sys.executable, "-c", RUN_UNTIL_IT_FAILS, str(tmp_path), str(limit)],
        input=msgspec.json.encode(WORKFLOW).decode(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1, failed.stderr
    assert failed.stdout.startswith(f"StoreError event store {tmp_path / 'events.sqlite'}: disk I/O error. ")
    assert "make room, then resume the run" in failed.stdout
    with Coordinator(tmp_path) as coordinator:
        (run,) = [r.stream for r in coordinator.workspace.store.read_all() if r.topic == "WorkflowStarted"]
        verified(coordinator.workspace.store, run)
        assert heads(coordinator.resume_workflow(run)) == expected


CATCH_UP_IN_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from admf import AdmfError
from admf.eventstore.store import open_store
from admf.projections.read_models import ReadModels

with open_store(sys.argv[1]) as store:
    models = ReadModels(Path(sys.argv[2]), store)
    if sys.argv[3] == "rebuild":
        models.catch_up()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        getattr(models, sys.argv[3])()
    except AdmfError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize("method", ["catch_up", "rebuild"])
def test_read_models_that_met_a_full_disk_say_so_and_catch_up_later(tmp_path: Path, method: str) -> None:
    with Coordinator(tmp_path) as coordinator:
        result = coordinator.execute_workflow(WORKFLOW)
        whole = coordinator.workspace.read_models.query("FROM fills ORDER BY ALL").rows
    file = tmp_path / "small.duckdb"
    arguments = [sys.executable, "-c", CATCH_UP_IN_LITTLE_ROOM, str(tmp_path / "events.sqlite"), str(file)]
    failed = subprocess.run([*arguments, method], capture_output=True, text=True, check=False)
    assert failed.returncode == 0, failed.stderr
    assert failed.stdout.startswith("StoreError the read models in "), failed.stdout
    assert "free some space. Nothing is lost" in failed.stdout
    with open_store(tmp_path / "events.sqlite") as store:
        assert ReadModels(file, store).query("FROM fills ORDER BY ALL").rows == whole
    assert result.status == "completed"


AS_NOBODY = """
import os, sys, tempfile
from pathlib import Path
from admf import Coordinator
from admf.coordinator.streams.workspace import Workspace
from admf.domain.errors import AdmfError
from admf.domain.events import PhaseSkipped
from admf.eventstore.store import open_store

# Nobody may not reach the files of the interpreter: what is imported at its first use is used before.
with Coordinator(tempfile.mkdtemp()) as warm:
    warm.execute_workflow({"workflow": "backtest", "strategy": "momentum", "data_file": "sp500.csv"})
    warm.workspace.read_models.query("FROM fills")
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    with Workspace(sys.argv[1]) as workspace:
        workspace.read_models.query("FROM runs")
except AdmfError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that the user 'nobody' may read, but not write; so may its owner, unless it is root."""
    folder = Path(tempfile.mkdtemp(prefix="admf-closed-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def said_by_nobody(location: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(location)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_folder_that_may_not_be_written_is_named(closed_folder: Path) -> None:
    closed_folder.chmod(0o555)
    said = said_by_nobody(closed_folder)
    assert said.startswith(f"StoreError event store {closed_folder / 'events.sqlite'}: unable to open")
    assert "Check that its folder may be read and written" in said
    said = said_by_nobody(closed_folder / "new")
    assert "its folder can't be made: Permission denied. Name another store." in said


def test_a_store_in_a_folder_that_may_not_be_written_is_named_and_unharmed(closed_folder: Path) -> None:
    file = closed_folder / "events.sqlite"
    with open_store(file) as store:
        head = append(store, Head("run"))
    before = file.read_bytes()
    for mode in (0o444, 0o666):
        file.chmod(mode)
        closed_folder.chmod(0o555)
        said = said_by_nobody(closed_folder)
        assert "attempt to write a readonly database. Make the file and its folder writable" in said
        closed_folder.chmod(0o755)
    assert file.read_bytes() == before
    with open_store(file) as store:
        assert verified(store) == head


def test_read_models_that_may_not_be_written_are_named(closed_folder: Path, tmp_path: Path) -> None:
    log = closed_folder / "log"
    log.mkdir(mode=0o777)
    log.chmod(0o777)
    with Coordinator(log) as coordinator:
        coordinator.execute_workflow(
            {"workflow": "backtest", "strategy": "momentum", "data_file": "sp500.csv"}
        )
        coordinator.workspace.read_models.catch_up()
    for path in log.iterdir():
        path.chmod(0o444 if path.suffix == ".duckdb" else 0o666)
    said = said_by_nobody(log)
    (file,) = log.glob("*.duckdb")
    assert said.startswith(f"StoreError the read models in {file} must be writable: ")
    assert "Make the file and its folder writable" in said


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that has the database for itself."""
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield holder
    finally:
        holder.close()


@pytest.mark.parametrize("opened", ["before", "while"])
def test_a_write_waits_until_the_lock_is_released(tmp_path: Path, opened: str) -> None:
    path = tmp_path / "events.sqlite"
    open_store(path).close()
    early = open_store(path) if opened == "before" else None
    with locked(path) as holder:
        later = threading.Timer(0.5, lambda: holder.execute("COMMIT"))
        later.start()
        started = time.monotonic()
        with early or open_store(path) as store:
            append(store, Head("run"))
            assert time.monotonic() - started > 0.4
            assert store.head("run").version == 1
        later.join()


@pytest.mark.parametrize("opened", ["before", "while"])
def test_a_lock_that_is_kept_is_named_after_the_timeout_and_nothing_is_stored(
    tmp_path: Path, opened: str
) -> None:
    path = tmp_path / "events.sqlite"
    open_store(path).close()
    settings = locate(path).environment | {"SQLITE_LOCK_TIMEOUT": "1"}

    def opened_store() -> EventStore:
        return EventStore(sqlite.Factory(settings), str(path))

    if opened == "before":
        with opened_store() as store:
            with locked(path):
                assert store.head("run") == Head("run"), "readers are not kept waiting"
                started = time.monotonic()
                with pytest.raises(
                    StoreError, match=r"database is locked\. Another process is writing to it"
                ):
                    append(store, Head("run"))
                assert 0.5 < time.monotonic() - started < 5
            assert append(store, Head("run")).version == 1
    else:
        with locked(path), pytest.raises(StoreError, match=r"database is locked\. Another process"):
            open_store(path)
        with open_store(path) as store:
            assert store.last_position() == 0


def test_a_write_ahead_log_cut_at_any_byte_leaves_a_prefix_of_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    page = 512
    with sqlite3.connect(path) as small:
        small.execute(f"PRAGMA page_size={page}")
        small.execute("CREATE TABLE fixes_the_page_size (i INTEGER)")
    small.close()
    with open_store(path) as store:
        acknowledged = [Head("run")]
        for number in range(8):
            acknowledged.append(append(store, acknowledged[-1], str(number)))
        content, log = path.read_bytes(), path.with_name("events.sqlite-wal").read_bytes()
    frame = page + 24
    assert (len(log) - 32) % frame == 0
    found = []
    for size in range(len(log) - 6 * frame, len(log) + 1):
        copy = tmp_path / "copy.sqlite"
        copy.write_bytes(content)
        copy.with_name("copy.sqlite-wal").write_bytes(log[:size])
        found.append(head_of_copy(copy))
        for rest in tmp_path.glob("copy.sqlite*"):
            rest.unlink()
    places = [acknowledged.index(head) for head in found]
    assert places == sorted(places)
    assert places[-1] == len(acknowledged) - 1
    assert len(set(places)) > 2


def head_of_copy(path: Path) -> Head:
    """Where the stream ends by reading each event; opened without the cost of the library's set-up."""
    factory = sqlite.Factory(locate(path).environment)
    with EventStore(factory, str(path)) as store:
        head = verified(store)
        assert store.head("run") == head
        return head


@pytest.mark.parametrize("place", range(0, 65_560 * 2, 9_973))
def test_a_cut_log_can_be_written_again(tmp_path: Path, place: int) -> None:
    path, copy = tmp_path / "events.sqlite", tmp_path / "copy.sqlite"
    with open_store(path) as store:
        head = Head("run")
        for number in range(4):
            head = append(store, head, str(number))
        log = path.with_name("events.sqlite-wal").read_bytes()
        copy.write_bytes(path.read_bytes())
        copy.with_name("copy.sqlite-wal").write_bytes(log[: len(log) - place])
    with open_store(copy) as store:
        left = verified(store)
        assert left.version <= 4
        after = append(store, left, "again")
    with open_store(copy) as store:
        assert verified(store) == after


def test_events_keep_their_order_when_the_clock_jumps_backwards(
    tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    ticks = iter(range(10_000))
    monkeypatch.setattr(time, "time_ns", lambda: now - next(ticks) * 3_600_000_000_000)
    with Coordinator(tmp_path) as coordinator:
        result = coordinator.execute_workflow(WORKFLOW)
        assert heads(result) == expected
        assert list(result.phases) == ["search", "confirm"]
        assert result.metrics == result.phase("confirm").output.metrics
        store = coordinator.workspace.store
        recorded = list(store.read_all())
        times = [each.recorded_at for each in recorded if each.stream == result.run]
        assert times == sorted(times, reverse=True)
        positions = [each.position for each in recorded]
        assert positions == sorted(positions)
        for stream in {each.stream for each in recorded}:
            assert verified(store, stream) == store.head(stream)
        assert coordinator.result(result.run).status == "completed"
        assert heads(coordinator.resume_workflow(result.run)) == expected


WRITE = """
import sys
from admf.domain.events import PhaseSkipped
from admf.eventstore.store import open_store

with open_store(sys.argv[1]) as store:
    head, number = store.head("run"), 0
    while True:
        number += 1
        events = [PhaseSkipped(phase="search", reason="x" * (number % 50) * 1000)] * 3
        head = store.append(head, events, correlation_id="", causation_id="")
        print(head.version, flush=True)
"""


def test_a_store_may_be_opened_while_another_process_writes_and_is_killed(shared_url: str) -> None:
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, shared_url], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = int(writer.stdout.readline())
            for _ in range(5):
                with open_store(shared_url) as store:
                    head = verified(store)
                    assert head.version >= acknowledged
                    assert head.version % 3 == 0, "three events are appended in one transaction"
                acknowledged = int(writer.stdout.readline())
            writer.kill()
        with open_store(shared_url) as store:
            assert verified(store).version >= acknowledged


def terminate_connections(url: str) -> int:
    """End every connection to a database but the one that asks for it, and return their number."""
    with psycopg.connect(url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(ended)


def test_a_lost_connection_is_replaced_at_the_next_use(postgres_url: str) -> None:
    with open_store(postgres_url) as store:
        head = append(store, Head("run"))
        assert terminate_connections(postgres_url) >= 1
        head = append(store, head)
        assert terminate_connections(postgres_url) >= 1
        assert store.head("run") == head
        assert terminate_connections(postgres_url) >= 1
        assert verified(store) == head
        assert terminate_connections(postgres_url) >= 1
        assert store.last_position() > 0
        assert len(list(store.read_all())) == 2


def test_a_run_whose_connections_are_lost_again_and_again_ends_with_the_same_hashes(
    postgres_url: str, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Coordinator(postgres_url) as coordinator:
        map_shards = coordinator._executor.map
        lost = 0

        def interrupted(simulation, shards):  # type: ignore[no-untyped-def]
            nonlocal lost
            for events in map_shards(simulation, shards):
                lost += terminate_connections(postgres_url)
                yield events

        coordinator._executor.map = interrupted  # type: ignore[method-assign]
        assert heads(coordinator.execute_workflow(WORKFLOW)) == expected
        assert lost > 10


class LossyProxy:
    """Passes on what a client and a PostgreSQL server say; cuts the line before the answer to a commit."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.armed = threading.Event()
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                lost = threading.Event()
                for source, target, listens in ((client, server, True), (server, client, False)):
                    arguments = (source, target, listens, lost)
                    threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, listens: bool, lost: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if listens and self.armed.is_set() and b"COMMIT" in data:
                    self.armed.clear()
                    lost.set()
                if not listens and lost.is_set():
                    # The server has answered, so it has committed.
                    self.cut += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def lossy(postgres_url: str) -> Iterator[tuple[str, LossyProxy]]:
    parts = urlsplit(postgres_url)
    proxy = LossyProxy(parts.hostname or "localhost", parts.port or 5432)
    yield parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl(), proxy
    proxy.close()


def test_a_connection_that_is_lost_after_the_commit_stores_the_events_once(
    lossy: tuple[str, LossyProxy], postgres_url: str
) -> None:
    url, proxy = lossy
    with open_store(url) as store:
        head = append(store, Head("run"), "before")
        proxy.armed.set()
        head = append(store, head, "lost")
        assert proxy.cut == 1
        head = append(store, head, "after")
    with open_store(postgres_url) as store:
        assert verified(store) == head
        assert [recorded.event.reason for recorded in store.read("run")] == ["before", "lost", "after"]  # type: ignore[union-attr]
