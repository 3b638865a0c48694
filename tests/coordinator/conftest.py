import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from admf import AdmfError, Coordinator
from admf.coordinator.result import WorkflowResult
from admf.coordinator.streams.workspace import Workspace
from admf.eventstore.record import Head, verify
from admf.eventstore.store import EventStore

WriteWalk = Callable[..., Path]
KILLED_AT_AN_APPEND = """
import itertools, os, signal, sys, tempfile
import hmmlearn.hmm
import msgspec
import psycopg_pool
from admf.coordinator import coordinator
from admf.eventstore import postgres, sqlite
from admf.eventstore.store import EventStore

count, numbers = 0, itertools.count(1)

def kill_at(fatal, moment):
    append = EventStore.append

    def counted(self, head, events, **ids):
        global count
        # Phases in other threads may append meanwhile.
        count = number = next(numbers)
        if number == fatal and moment == "before":
            die()
        end = append(self, head, events, **ids)
        if number == fatal:
            die()
        return end

    def inserting(insert):
        def inserted(*arguments, **options):
            done = insert(*arguments, **options)
            if count == fatal:
                die()
            return done

        return inserted

    EventStore.append = counted
    if moment == "within":
        for recorder in (postgres.ApplicationRecorder, sqlite.ApplicationRecorder):
            recorder._insert_events = inserting(recorder._insert_events)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def main(store, fatal, moment, run, method, *arguments):
    kill_at(int(fatal), moment)
    coordinator.new_run_id = lambda: run
    with coordinator.Coordinator(store) as running:
        getattr(running, method)(*(msgspec.json.decode(argument) for argument in arguments))
    print(count)

search = {"algorithm": "tpe", "trials": 1, "parameters": {"cross.fast": [5, 10]}}
with tempfile.TemporaryDirectory() as folder, coordinator.Coordinator(folder) as warming:
    warming.execute_workflow({
        "data": {"file": "sp500.csv", "end": "2000-12-31"},
        "strategies": [{"name": "cross", "type": "sma_crossover"}],
        "workflow": [{"name": "search", "type": "optimization", "optimization": search}],
    })
"""


def write_walk_to(path: Path, bars: int = 300, seed: int = 1) -> Path:
    """A random walk of daily bars from 2000-01-03 on, weekends included."""
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.015, bars)))
    opens = np.concatenate(([100.0], closes[:-1])) * 1.001
    days = np.datetime64("2000-01-03") + np.arange(bars)
    rows = [
        f"{day},{open_!r},{max(open_, close) * 1.01!r},{min(open_, close) * 0.99!r},{close!r},1000"
        for day, open_, close in zip(days, opens.tolist(), closes.tolist(), strict=True)
    ]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows, ""]))
    return path


@pytest.fixture
def write_walk() -> WriteWalk:
    return write_walk_to


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty but for the 300 daily bars of walk.csv."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADMF_STORE", raising=False)
    write_walk_to(tmp_path / "walk.csv")
    return tmp_path


@pytest.fixture
def coordinator(folder: Path) -> Iterator[Coordinator]:
    with Coordinator("memory://") as opened:
        yield opened


@pytest.fixture(scope="session")
def pooled() -> Iterator[Coordinator]:
    """A coordinator with two workers, which all tests share: name files by their absolute paths."""
    with Coordinator("memory://", workers=2) as opened:
        yield opened


@pytest.fixture
def train_and_test(folder: Path) -> dict[str, object]:
    """A search in several shards, and its best parameters on the bars after it."""
    return {
        "name": "small",
        "data": {"file": str(folder / "walk.csv")},
        "execution": {"commission": {"percent": 0.1}, "slippage": {"bps": 2}},
        "workflow": [
            {
                "name": "training",
                "type": "optimization",
                "shard_size": 2,
                "data": {"end": "2000-07-31"},
                "strategies": [{"name": "cross", "type": "sma_crossover"}],
                "optimization": {"parameters": {"cross.fast": [3, 5, 8], "cross.slow": [13, 21, 5]}},
            },
            {
                "name": "out_of_sample",
                "type": "validation",
                "inherit_best_from": "training",
                "data": {"start": "2000-08-01"},
            },
        ],
    }


@pytest.fixture
def heads() -> Callable[[WorkflowResult], dict[str, str]]:
    return lambda result: {name: phase.head_hash for name, phase in result.phases.items()}


@pytest.fixture
def rows_by_run() -> Callable[[Workspace], dict[str, dict[str, list[tuple[object, ...]]]]]:
    """Read the rows of all runs in the read models, without what differs from run to run, by table."""

    def read(workspace: Workspace) -> dict[str, dict[str, list[tuple[object, ...]]]]:
        found: dict[str, dict[str, list[tuple[object, ...]]]] = {}
        for name in ("phases", "trials", "portfolio_metrics", "signals", "orders", "fills", "trades"):
            left_out = "run, stream, started_at, finished_at" if name == "phases" else "run"
            sql = f"SELECT run, * EXCLUDE ({left_out}) FROM {name} ORDER BY ALL"
            for run, *row in workspace.read_models.query(sql).rows:
                found.setdefault(str(run), {}).setdefault(name, []).append(tuple(row))
        return found

    return read


@pytest.fixture
def verified() -> Callable[[EventStore, str], Head]:
    """Check every event of a stream against both hash chains, and return where the stream ends."""

    def checked(store: EventStore, stream: str) -> Head:
        head = Head(stream)
        for recorded in store.read(stream):
            head = verify(head, recorded)
        return head

    return checked


@pytest.fixture
def killed(warm_process) -> Callable[..., int | None]:  # type: ignore[no-untyped-def]
    """Call a method of a coordinator in a process of its own, which is killed at one of its appends.

    The moment is ``before`` the append, ``within`` its transaction, when all is inserted and nothing is
    committed, or ``after`` it. Returns the number of appends of a call that came to its end, and None for
    one that was killed. Workflows simulate what other runs have completed unless they say otherwise.
    """
    process = warm_process(KILLED_AT_AN_APPEND)

    def called(
        store: str | Path, method: str, *arguments: object, at: int, moment: str = "after", run: str = ""
    ) -> int | None:
        given = [{"cache": False, **each} if isinstance(each, dict) else each for each in arguments]
        process.start(store, at, moment, run, method, *(msgspec.json.encode(a).decode() for a in given))
        ended = process.wait()
        assert ended in (0, -signal.SIGKILL)
        return int(process.said()) if ended == 0 else None

    return called


@pytest.fixture
def killed_at_each_append(tmp_path, killed, heads) -> Callable[..., int]:  # type: ignore[no-untyped-def]
    """Kill a workflow after each of its appends in turn, but not before it has reached a phase.

    Every run is resumed and must end with the hashes of one that was not stopped. Returns their number.
    """

    def checked(workflow: dict[str, object], phase: str) -> int:
        store, kills = tmp_path / "events.sqlite", 0
        with Coordinator("memory://") as coordinator:
            expected = heads(coordinator.execute_workflow(workflow))
        # This leaves the bars, so that the first append of each other run is that of its start.
        killed(store, "execute_workflow", workflow, at=1)
        appends = killed(store, "execute_workflow", workflow, at=0, run="whole")
        for fatal in range(appends, 0, -1):
            run = f"killed_{fatal}"
            assert killed(store, "execute_workflow", workflow, at=fatal, run=run) is None
            with Coordinator(store) as coordinator:
                if coordinator.workspace.store.head(f"{run}/{phase}").version == 0:
                    break
                assert heads(coordinator.resume_workflow(run)) == expected, f"killed at append {fatal}"
            kills += 1
        return kills

    return checked


@pytest.fixture
def refusal(coordinator: Coordinator) -> Callable[..., str]:
    """Run a workflow that must fail with exactly this error, and return the message."""

    def message_of(source: object, error: type[AdmfError], changes: Sequence[str] = ()) -> str:
        with pytest.raises(error) as caught:
            coordinator.execute_workflow(source, changes)
        assert type(caught.value) is error
        return str(caught.value)

    return message_of
