"""Building the read models anew, beside the old ones, by processes that may be killed at any moment."""

import os
import random
import signal
import subprocess
import sys
import time

import duckdb
import pytest
from admf.domain.errors import CorruptionError, StoreError
from admf.eventstore.store import open_store
from admf.projections import projection, schema
from admf.projections.read_models import ReadModels


def contents(models):
    """Every row of every table, as text; all in one query, since each opens the file anew."""
    tables = [table for (table,) in models.query("SHOW TABLES").rows]
    rows = models.query(
        " UNION ALL ".join(f"SELECT '{table}', t::TEXT FROM {table} t" for table in tables)
    ).rows
    return {table: sorted(row for name, row in rows if name == table) for table in tables}


def files(folder):
    return sorted(path.name for path in folder.iterdir() if "readmodels" in path.name)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "readmodels.duckdb"


@pytest.fixture
def log(append, log_groups, shared_url):
    """A log of the small run, in a store that several processes can read."""
    with open_store(shared_url) as store:
        for stream, events in log_groups:
            append(store, stream, events)
    return shared_url


@pytest.mark.parametrize("kept", ["in a file", "in memory"])
def test_a_rebuild_makes_the_same_rows_and_leaves_nothing_else(small_run, path, kept):
    with ReadModels(path if kept == "in a file" else None, small_run) as models:
        before = contents(models)
        assert models.rebuild() == 22
        assert contents(models) == before
        assert models.catch_up() == 0
    assert files(path.parent) == ([path.name] if kept == "in a file" else [])


def test_a_rebuild_tells_how_far_it_has_come(small_run, path, monkeypatch):
    monkeypatch.setattr(projection, "GROUP", 10)
    told = []
    ReadModels(path, small_run).rebuild(lambda position, last: told.append((position, last)))
    assert len(told) > 2
    assert told == sorted(set(told))
    assert told[-1] == (22, 22)


def test_readers_are_answered_during_a_rebuild_and_see_the_old_rows(small_run, path, monkeypatch):
    monkeypatch.setattr(projection, "GROUP", 5)
    models = ReadModels(path, small_run)
    before = contents(models)
    asked = []

    def ask(_position, _last):
        code = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('FROM runs').fetchall())"
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
        asked.append(done.returncode == 0 and contents(models) == before)

    models.rebuild(ask)
    assert asked == [True] * len(asked)
    assert len(asked) > 2


def test_rows_that_are_appended_during_a_rebuild_are_not_lost(store, append, log_groups, path, monkeypatch):
    monkeypatch.setattr(projection, "GROUP", 5)
    *groups, (stream, last) = log_groups
    for name, events in groups:
        append(store, name, events)
    models = ReadModels(path, store)
    models.catch_up()
    later = iter([lambda: append(store, stream, last)])

    def go_on(_position, _last):
        next(later, lambda: None)()
        models.catch_up()

    models.rebuild(go_on)
    assert models.query("SELECT status FROM runs").rows == (("failed",),)
    assert contents(models) == contents(ReadModels(None, store))


def test_a_rebuild_that_fails_leaves_the_old_rows_and_no_file(small_run, append, log_groups, path):
    models = ReadModels(path, small_run)
    before = contents(models)
    fills_of_no_phase = log_groups[3][1][3]
    append(small_run, "workflow_20261121_101500_ab12cd34/ghost", [fills_of_no_phase])
    with pytest.raises(CorruptionError, match="must come after the PhaseStarted"):
        models.rebuild()
    assert files(path.parent) == [path.name]
    with duckdb.connect(str(path), read_only=True) as connection:
        left = connection.execute("SELECT t::TEXT FROM fills t").fetchall()
        assert sorted(row for (row,) in left) == before["fills"]


@pytest.mark.parametrize("kept", ["in a file", "in memory"])
def test_tables_of_another_version_are_replaced_at_the_first_use(small_run, path, monkeypatch, kept):
    with ReadModels(path if kept == "in a file" else None, small_run) as models:
        before = contents(models)
        monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
        assert contents(models) == before
        assert models.query("FROM data.version").rows == ((schema.VERSION,),)


def test_tables_of_another_version_stay_until_their_successors_are_complete(small_run, path, monkeypatch):
    models = ReadModels(path, small_run)
    before = contents(models)
    with monkeypatch.context() as newer:
        newer.setattr(schema, "VERSION", schema.VERSION + 1)
        newer.setattr(schema, "VIEWS", "CREATE VIEW broken AS FROM nowhere")
        with pytest.raises(duckdb.Error):
            models.catch_up()
    assert models.catch_up() == 0
    assert contents(models) == before


DIE = """
import os, signal
from pathlib import Path
import duckdb, pandas, psycopg_pool
from admf.domain import events
from admf.eventstore import postgres, sqlite
from admf.eventstore.store import open_store
from admf.projections import projection, read_models, recorder

insert, replace, count = recorder.insert_rows, os.replace, 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def main(log, file, moment, method):
    def insert_or_die(*arguments):
        global count
        insert(*arguments)
        count += 1
        if moment.isdigit() and count > int(moment):
            die()

    def replace_or_die(*arguments):
        if moment == "before":
            die()
        replace(*arguments)
        if moment == "after":
            die()

    recorder.insert_rows = insert_or_die
    os.replace = replace_or_die
    projection.GROUP = 5
    models = read_models.ReadModels(Path(file), open_store(log))
    print("ready", flush=True)
    while True:
        getattr(models, method)()
        if moment != "any":
            break
        if method == "catch_up":
            Path(file).unlink()
"""


@pytest.fixture
def dying(warm_process):
    return warm_process(DIE)


@pytest.mark.parametrize("moment", ["0", "3", "7", "12", "before", "after"])
def test_a_rebuild_that_was_killed_leaves_the_old_rows_and_the_next_one_clears_up(log, path, dying, moment):
    with open_store(log) as store:
        models = ReadModels(path, store)
        before = contents(models)
        dying.start(log, path, moment, "rebuild")
        assert dying.wait() == -signal.SIGKILL
        assert ("readmodels.rebuilding.duckdb" in files(path.parent)) == (moment != "after")
        assert contents(models) == before
        assert models.rebuild() == 22
        assert contents(models) == before
    assert files(path.parent) == [path.name]


@pytest.mark.parametrize("method", ["catch_up", "rebuild"])
def test_after_a_kill_at_a_random_moment_the_next_query_is_right(log, path, dying, method):
    moments = random.Random(20261121)
    with open_store(log) as store, ReadModels(None, store) as whole:
        expected = contents(whole)
        for _ in range(20):
            process = dying.start(log, path, "any", method)
            assert dying.said() == "ready"
            time.sleep(moments.uniform(0.0, 0.25))
            os.kill(process, signal.SIGKILL)
            assert dying.wait() == -signal.SIGKILL
            assert contents(ReadModels(path, store)) == expected


@pytest.mark.parametrize("left", [b"", b"half of a header"])
def test_a_file_whose_maker_was_killed_at_once_is_made_again(small_run, path, left):
    path.write_bytes(left)
    path.with_suffix(".rebuilding.duckdb").write_bytes(left)
    models = ReadModels(path, small_run)
    assert models.catch_up() == 22
    assert models.rebuild() == 22
    assert files(path.parent) == [path.name]


def test_a_rebuild_waits_for_another_one_and_names_it(log, path):
    beside = path.with_suffix(".rebuilding.duckdb")
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with (
        open_store(log) as store,
        subprocess.Popen(
            [sys.executable, "-c", hold, str(beside)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other,
    ):
        other.stdout.readline()
        with pytest.raises(StoreError, match=rf"builds the read models .* anew: .*PID {other.pid}"):
            ReadModels(path, store, patience=0.2).rebuild()
        assert ReadModels(path, store).query("SELECT count(*) FROM runs").rows == ((1,),)
        other.communicate()
        assert ReadModels(path, store).rebuild() == 22
