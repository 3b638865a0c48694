import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psycopg
import pytest
from admf.coordinator.workflows.templates import WORKFLOW_TEMPLATES

START_TIMEOUT = 30
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 8 * 2**30
COPIES = """
import gc, json, os, sys, threading, traceback

def note(number):
    os.write(int(sys.argv[2]), b"%d\\n" % number)

names = {"__name__": "copies"}
exec(sys.argv[1], names)
assert threading.active_count() == 1, threading.enumerate()
gc.freeze()
note(0)
for line in sys.stdin:
    copy = os.fork()
    if copy == 0:
        try:
            folder, *arguments = json.loads(line)
            os.chdir(folder)
            names["main"](*arguments)
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    note(copy)
    note(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))
"""


class WarmProcess:
    """A process with everything imported and compiled, whose copies start at once, and may be killed.

    The script defines ``main``, which a copy calls with its arguments, and starts no thread before. One copy
    runs at a time.
    """

    def __init__(self, script: str) -> None:
        reads, writes = os.pipe()
        command = [sys.executable, "-c", COPIES, script, str(writes)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(writes,), text=True
        )
        os.close(writes)
        self._notes = open(reads)  # noqa: SIM115
        self._copy = 0

    def start(self, *arguments: object) -> int:
        """Start a copy in the current folder and return its process id."""
        assert self._process.stdin is not None
        words = [os.getcwd(), *(str(argument) for argument in arguments)]
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        self._copy = int(self._notes.readline())
        return self._copy

    def said(self) -> str:
        """Return the next line that the copy prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def wait(self) -> int:
        """Wait until the copy has ended and return its exit code, less than zero for a signal."""
        ended = int(self._notes.readline())
        self._copy = 0
        return ended

    def __enter__(self) -> Self:
        assert self._notes.readline() == "0\n", "the script failed"
        return self

    def __exit__(self, *error: object) -> None:
        if self._copy:
            os.kill(self._copy, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()
        self._notes.close()


def pytest_configure() -> None:
    """Have temporary folders in memory, where there is enough: stores wait for the disk at each append."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test with no template registered."""
    monkeypatch.setattr(WORKFLOW_TEMPLATES, "_templates", {})


@pytest.fixture(scope="session")
def warm_process() -> Iterator[Callable[[str], WarmProcess]]:
    """Start a process that lives as long as the tests do, once for each script."""
    with ExitStack() as processes:
        known: dict[str, WarmProcess] = {}

        def started(script: str) -> WarmProcess:
            if script not in known:
                known[script] = processes.enter_context(WarmProcess(script))
            return known[script]

        yield started


@pytest.fixture(params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty store that several processes can open, on each back end."""
    if request.param == "sqlite":
        return str(tmp_path / "events.sqlite")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server: the one that ADMF_TEST_POSTGRES names, or one of our own."""
    given = os.environ.get("ADMF_TEST_POSTGRES")
    if given:
        yield given
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        reason = "no PostgreSQL server: run .ci/postgres, or name one in ADMF_TEST_POSTGRES"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="admf-postgres-"))
    try:
        yield from _serve(binaries[-1], folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database of the test's own."""
    name = f"admf_{secrets.token_hex(8)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{postgres_server.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _serve(binaries: Path, folder: Path) -> Iterator[str]:
    # The server refuses to run as root.
    owner = "postgres" if os.geteuid() == 0 else None
    password = secrets.token_hex(8)
    secret = folder / "password"
    secret.write_text(password)
    if owner:
        for path in (folder, secret):
            shutil.chown(path, owner)
    data, log = folder / "data", folder / "log"
    initdb = [binaries / "initdb", "--pgdata", data, "--username", "admf", "--pwfile", secret]
    subprocess.run(
        [*initdb, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"],
        cwd=folder,
        user=owner,
        check=True,
        capture_output=True,
    )
    port = _free_port()
    settings = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *(word for setting in settings for word in ("-c", setting))],
            cwd=folder,
            user=owner,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"postgresql://admf:{password}@127.0.0.1:{port}/postgres"
        _wait_until_ready(url, server, log)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(START_TIMEOUT)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
