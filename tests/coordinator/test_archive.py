"""A run leaves its store as tables, as lines, or as an archive that another store takes in."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import duckdb
import msgspec
import pytest
import zstandard
from admf import Coordinator
from admf.coordinator.audit.verification import verify_workspace
from admf.coordinator.audit.violation import Violation
from admf.coordinator.cli import app
from admf.coordinator.result import WorkflowResult
from admf.coordinator.streams import archive
from admf.coordinator.streams.archive import FORMAT, Manifest, import_archive, write_archive
from admf.coordinator.streams.export import export_run
from admf.coordinator.streams.logical_events import logical_events
from admf.domain.errors import (
    ConfigurationError,
    ConflictError,
    CorruptionError,
    DataError,
    NotFoundError,
    UnknownNameError,
)
from admf.domain.events import WorkflowCanceled
from admf.eventstore.record import Head
from admf.eventstore.store import EventStore, open_store
from typer.testing import CliRunner

TABLES = ("runs", "phases", "feeds", "trials", "portfolio_metrics", "signals", "orders", "fills", "trades")
WORKFLOW: dict[str, object] = {
    "name": "small",
    "data": {"file": "sp500.csv", "start": "2000-01-01", "end": "2000-12-31"},
    "strategies": [{"name": "cross", "type": "sma_crossover"}],
    "shard_size": 2,
    "workflow": [
        {
            "name": "search",
            "type": "optimization",
            "optimization": {"parameters": {"cross.fast": [5, 10], "cross.slow": [20, 30]}},
        },
        {"name": "confirm", "type": "backtest", "inherit_best_from": "search"},
    ],
}


@pytest.fixture(scope="module")
def origin() -> Iterator[tuple[Coordinator, WorkflowResult, WorkflowResult]]:
    """A store with a run and a fork of it."""
    with Coordinator("memory://") as coordinator:
        result = coordinator.execute_workflow(WORKFLOW)
        fork = coordinator.fork_workflow(result.run, "confirm", ["confirm.capital=5000"])
        yield coordinator, result, fork


@pytest.fixture
def store(origin: tuple[Coordinator, WorkflowResult, WorkflowResult]) -> EventStore:
    return origin[0].workspace.store


@pytest.fixture
def run(origin: tuple[Coordinator, WorkflowResult, WorkflowResult]) -> str:
    return origin[1].run


@pytest.fixture
def file(store: EventStore, run: str, tmp_path: Path) -> Path:
    (written,) = export_run(store, run, target=tmp_path / "run.admf")
    return written


def streams(store: EventStore, run: str) -> list[str]:
    return [head.stream for head in _manifest(store, run).streams]


def _manifest(store: EventStore, run: str) -> Manifest:
    return write_archive(store, run, BytesIO())


def violations(coordinator: Coordinator) -> tuple[Violation, ...]:
    return verify_workspace(coordinator.workspace, progress=lambda _done, _total: None).violations


def tables(coordinator: Coordinator, run: str) -> dict[str, list[tuple[object, ...]]]:
    ask = coordinator.workspace.read_models.query
    return {name: list(ask(f"FROM {name} WHERE run = ? ORDER BY ALL", (run,)).rows) for name in TABLES}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "memory"])
def test_an_imported_run_has_the_same_hashes_and_tables_verifies_and_replays(
    origin: tuple[Coordinator, WorkflowResult, WorkflowResult],
    file: Path,
    tmp_path: Path,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere: dict[str, Callable[[], str]] = {
        "sqlite": lambda: str(tmp_path / "elsewhere"),
        "postgres": lambda: request.getfixturevalue("postgres_url"),
        "memory": lambda: "memory://",
    }
    coordinator, result, _ = origin
    with Coordinator(elsewhere[kind]()) as other:
        done = import_archive(other.workspace.store, file)
        before, after = coordinator.workspace.store, other.workspace.store
        assert done.run == result.run
        assert done.events == after.last_position() > 10
        for stream in streams(before, result.run):
            assert list(after.read(stream)) == list(before.read(stream))
        assert tables(other, result.run) == tables(coordinator, result.run)
        assert violations(other) == ()
        assert [phase.difference for phase in other.replay_workflow(result.run)] == [None, None]


def test_a_fork_brings_along_the_run_that_it_was_forked_from(
    origin: tuple[Coordinator, WorkflowResult, WorkflowResult], tmp_path: Path
) -> None:
    coordinator, result, fork = origin
    (file,) = export_run(coordinator.workspace.store, fork.run, target=tmp_path / "fork.admf")
    with Coordinator("memory://") as other:
        import_archive(other.workspace.store, file)
        names = streams(other.workspace.store, fork.run)
        assert names[-1] == fork.run
        assert {result.run, f"{result.run}/search", f"{fork.run}/confirm"} < set(names)
        assert tables(other, fork.run) == tables(coordinator, fork.run)
        assert violations(other) == ()


def test_streams_come_after_those_that_they_refer_to(store: EventStore, run: str) -> None:
    bars, *others = streams(store, run)
    assert bars.startswith("bars-")
    assert sorted(others[:2]) == [f"{run}/confirm", f"{run}/search"]
    assert others[2:] == [run]


def test_a_second_import_appends_nothing(file: Path) -> None:
    with open_store("memory://") as other:
        first = import_archive(other, file)
        again = import_archive(other, file)
        assert (again.events, again.rows) == (0, 0)
        assert other.last_position() == first.events


def test_bars_that_the_other_store_has_loaded_itself_are_kept(run: str, file: Path) -> None:
    with Coordinator("memory://") as other:
        own = other.execute_workflow(WORKFLOW)
        count = other.workspace.store.last_position()
        done = import_archive(other.workspace.store, file)
        assert other.workspace.store.last_position() == count + done.events
        assert {row[0] for row in other.workspace.read_models.query("SELECT run FROM runs").rows} == {
            own.run,
            run,
        }
        assert violations(other) == ()


def test_a_run_that_went_on_is_imported_again_from_where_it_was(
    origin: tuple[Coordinator, WorkflowResult, WorkflowResult], tmp_path: Path
) -> None:
    with Coordinator("memory://") as coordinator, open_store("memory://") as other:
        store = coordinator.workspace.store
        run = coordinator.execute_workflow(WORKFLOW).run
        early, late = tmp_path / "early.admf", tmp_path / "late.admf"
        export_run(store, run, target=early)
        canceled = WorkflowCanceled(reason="to have one more event")
        store.append(store.head(run), [canceled], correlation_id=run, causation_id="")
        export_run(store, run, target=late)
        import_archive(other, early)
        assert import_archive(other, late).events == 1
        assert import_archive(other, early).events == 0
        assert other.head(run) == store.head(run)


def test_another_stream_of_the_same_name_is_refused_and_nothing_appended(run: str, file: Path) -> None:
    event = WorkflowCanceled(reason="something else")
    for name in (run, f"{run}/confirm"):
        with open_store("memory://") as other:
            head = Head(name)
            for _ in range(3):
                head = other.append(head, [event], correlation_id="", causation_id="")
            with pytest.raises(ConflictError, match=f"must hold the stream {name} as the archive does"):
                import_archive(other, file)
            assert other.last_position() == 3
    with open_store("memory://") as other:
        head = Head(run)
        for _ in range(60):
            head = other.append(head, [event], correlation_id="", causation_id="")
        with pytest.raises(ConflictError, match=f"must hold the stream {run} as"):
            import_archive(other, file)


def test_an_archive_that_was_changed_or_cut_anywhere_is_refused_or_says_the_same(
    store: EventStore, run: str, file: Path, tmp_path: Path
) -> None:
    whole, chance = file.read_bytes(), random.Random(7)
    damaged = tmp_path / "damaged.admf"
    places = [*range(len(FORMAT) + 20), *(chance.randrange(len(whole)) for _ in range(60)), len(whole) - 1]
    accepted, refusals = 0, []
    for place in places:
        flipped = bytes([whole[place] ^ 1 << chance.randrange(8)])
        for content in (whole[:place] + flipped + whole[place + 1 :], whole[:place]):
            damaged.write_bytes(content)
            with open_store("memory://") as other:
                try:
                    import_archive(other, damaged)
                except (CorruptionError, DataError) as error:
                    refusals.append(str(error))
                    assert other.last_position() == 0
                else:
                    # Some bits in the frame's own header and at its end don't matter to what it holds.
                    accepted += 1
                    assert all(other.head(name) == store.head(name) for name in streams(store, run))
    assert accepted < 8
    assert all("damaged.admf: " in refusal for refusal in refusals)


def repacked(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Write an archive anew with other parts, in a frame whose checksum is right."""
    content = zstandard.ZstdDecompressor().stream_reader(file.read_bytes()[len(FORMAT) :]).read()
    parts = []
    while content:
        size = int.from_bytes(content[:4], "little")
        parts.append(content[4 : 4 + size])
        content = content[4 + size :]
    content = b"".join(len(part).to_bytes(4, "little") + part for part in change(parts))
    file.write_bytes(FORMAT + zstandard.ZstdCompressor().compress(content))


def forged(parts: list[bytes]) -> list[bytes]:
    """Replace what the last event says, and its hash in the manifest."""
    last = msgspec.msgpack.decode(parts[-1])
    last["payload"] = b"\x81\xa6reason\xa1x"
    return [*parts[:-1], msgspec.msgpack.encode(last)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (forged, "hash must be"),
        (lambda parts: parts[:-1], "end too early"),
        (lambda parts: [*parts, parts[-1]], "more than its streams"),
        (lambda parts: [parts[0], *parts[:0:-1]], "must come next"),
        (lambda parts: [b"\xc1", *parts[1:]], "malformed"),
        (lambda parts: [parts[0], b"\x80", *parts[2:]], "missing required field"),
        (
            lambda parts: [msgspec.msgpack.encode(Manifest("run", ())), *parts[1:]],
            "name each stream once, and its run last",
        ),
    ],
)
def test_an_archive_with_other_contents_is_refused(
    file: Path, change: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    repacked(file, change)
    with open_store("memory://") as other:
        with pytest.raises(CorruptionError, match=message):
            import_archive(other, file)
        assert other.last_position() == 0


def test_a_part_that_claims_to_be_huge_is_refused_unread(file: Path) -> None:
    huge = zstandard.ZstdCompressor().compress((2**32 - 1).to_bytes(4, "little"))
    file.write_bytes(FORMAT + huge)
    with open_store("memory://") as other, pytest.raises(CorruptionError, match="a part of 4,294,967,295"):
        import_archive(other, file)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 a zip file"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file.admf"
    if content is not None:
        path.write_bytes(content)
    with open_store("memory://") as other, pytest.raises(DataError, match=r"file\.admf: an archive must"):
        import_archive(other, path)


DIE = """
import os, signal, sys
from pathlib import Path
from admf.coordinator.streams import archive
from admf.eventstore.store import EventStore, open_store

restore, count = EventStore.restore, 0

def restore_or_die(*arguments):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return restore(*arguments)

EventStore.restore = restore_or_die
archive.BATCH = 1
archive.import_archive(open_store(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("fatal", [1, 2, 5, 9, 14])
def test_an_import_that_was_killed_is_resumed_by_importing_again(
    store: EventStore, run: str, file: Path, tmp_path: Path, fatal: int
) -> None:
    other = tmp_path / "other.sqlite"
    arguments = [sys.executable, "-c", DIE, str(other), str(file), str(fatal)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    with open_store(other) as opened:
        assert opened.last_position() == fatal - 1
        assert opened.head(run).version == 0, "the run appears last"
        done = import_archive(opened, file)
        assert done.events == opened.last_position() - (fatal - 1)
        for stream in streams(store, run):
            assert list(opened.read(stream)) == list(store.read(stream))


def test_a_run_in_large_events_is_appended_in_several_transactions(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BATCH", 1)
    with open_store("memory://") as one_by_one:
        done = import_archive(one_by_one, file)
        assert one_by_one.last_position() == done.events


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_tables_hold_what_the_read_models_say(
    origin: tuple[Coordinator, WorkflowResult, WorkflowResult], tmp_path: Path, suffix: str
) -> None:
    coordinator, result, fork = origin
    for each in (result.run, fork.run):
        folder = tmp_path / each
        files = export_run(coordinator.workspace.store, each, kind=suffix, target=folder)
        assert {path.name for path in files} == {path.name for path in folder.iterdir()}
        expected = tables(coordinator, each)
        for name, rows in expected.items():
            target = f"SELECT count(*) FROM '{folder / name}.{suffix}'"
            assert duckdb.sql(target).fetchall() == [(len(rows),)]
        if suffix == "parquet":
            for name, rows in expected.items():
                assert duckdb.sql(f"FROM '{folder / name}.parquet' ORDER BY ALL").fetchall() == rows


def test_tables_have_the_bars_of_the_run_and_the_equity_of_the_chosen_containers(
    origin: tuple[Coordinator, WorkflowResult, WorkflowResult], tmp_path: Path
) -> None:
    coordinator, result, _ = origin
    export_run(coordinator.workspace.store, result.run, target=tmp_path / "tables")
    best = {phase.name: phase.output.best.container for phase in result.phases.values() if phase.output.best}
    sql = f"SELECT DISTINCT phase, container FROM '{tmp_path}/tables/equity.parquet'"
    assert dict(duckdb.sql(sql).fetchall()) == best
    (count,) = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/tables/bars.parquet'").fetchall()
    assert count == (
        sum(
            1
            for _ in logical_events(
                coordinator.workspace.store, streams(coordinator.workspace.store, result.run)[0]
            )
        ),
    )


def test_lines_are_the_logical_events_of_the_run_and_its_phases(
    store: EventStore, run: str, tmp_path: Path
) -> None:
    (file,) = export_run(store, run, kind="jsonl", target=tmp_path / "events.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    expected = [
        json.loads(msgspec.json.encode(event))
        for stream in streams(store, run)[1:]
        for event in logical_events(store, stream)
    ]
    assert lines == expected
    assert {line["type"] for line in lines} > {"OrdersFilled", "WorkflowCompleted"}


def test_the_format_follows_from_the_ending_of_the_file(store: EventStore, run: str, tmp_path: Path) -> None:
    assert export_run(store, run, target=tmp_path / "a.admf")[0].read_bytes().startswith(FORMAT)
    assert export_run(store, run, target=tmp_path / "a.jsonl")[0].read_text().startswith('{"address"')
    assert export_run(store, run, target=tmp_path / "a")[0].suffix == ".parquet"


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "archive"])
def test_files_that_exist_are_replaced_only_if_told_so(
    store: EventStore, run: str, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "target"
    files = export_run(store, run, kind=kind, target=target)
    files[-1].write_text("mine")
    with pytest.raises(ConfigurationError, match=r"must not exist yet, and does\. .*--force"):
        export_run(store, run, kind=kind, target=target)
    assert files[-1].read_text() == "mine"
    export_run(store, run, kind=kind, target=target, overwrite=True)
    assert files[-1].read_bytes() != b"mine"
    assert not list(tmp_path.rglob(".export-*"))


def test_an_export_that_fails_leaves_no_file(
    store: EventStore, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="there is no run 'x'"):
        export_run(store, "x", target=tmp_path / "x.admf")
    with pytest.raises(UnknownNameError, match="Did you mean parquet"):
        export_run(store, run, kind="parket", target=tmp_path / "x")
    (tmp_path / "taken").write_text("")
    for kind in ("csv", "archive"):
        with pytest.raises(ConfigurationError, match="can't be written"):
            export_run(store, run, kind=kind, target=tmp_path / "taken" / "x")
    with pytest.raises(ConfigurationError, match="Name another file"):
        export_run(store, run, kind="archive", target=tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, env={"ADMF_STORE": ""})
    return result.exit_code, result.output


def test_the_commands_carry_a_run_to_another_folder(folder: Path) -> None:
    with Coordinator() as coordinator:
        run = coordinator.execute_workflow(WORKFLOW).run
    code, text = invoke("export", "last", "--to", "run.admf", "--json")
    assert (code, json.loads(text)) == (0, {"files": ["run.admf"]})
    assert invoke("export", "last", "--to", "run.admf")[0] == 2
    code, text = invoke("import", "run.admf", "--store", "elsewhere", "--json")
    assert (code, json.loads(text)["run"]) == (0, run)
    code, text = invoke("import", "run.admf", "--store", "elsewhere")
    assert (code, "nothing new" in text) == (0, True)
    assert run in invoke("runs", "--store", "elsewhere")[1]
    assert invoke("import", "walk.csv")[0] == 2
    code, text = invoke("export", "last", "--format", "csv", "--store", "elsewhere")
    assert code == 0
    assert (folder / run / "trades.csv").read_text().startswith("run,phase,container")


def test_the_command_rebuilds_all_tables_or_says_why_not_one(folder: Path) -> None:
    with Coordinator() as coordinator:
        coordinator.execute_workflow(WORKFLOW)
        count = coordinator.workspace.store.last_position()
        before = tables(coordinator, "")
    code, text = invoke("rebuild", "--json")
    assert (code, json.loads(text)) == (0, {"events": count})
    code, text = invoke("rebuild", "fills")
    assert code == 2
    assert "built together" in " ".join(text.split())
    with Coordinator() as coordinator:
        assert tables(coordinator, "") == before
