import duckdb
import numpy as np
import pytest
from admf.domain.errors import CorruptionError
from admf.projections import recorder
from admf.projections.recorder import DuckDBRecorder
from eventsourcing.persistence import IntegrityError, Tracking
from eventsourcing.tests.persistence import TrackingRecorderTestCase


class TestDuckDBRecorder(TrackingRecorderTestCase):
    def create_recorder(self) -> DuckDBRecorder:
        connection = duckdb.connect()
        self.addCleanup(connection.close)
        return DuckDBRecorder(connection)


del TrackingRecorderTestCase


def write_number_and_track(recorder, position):
    with recorder.transaction():
        recorder.execute("INSERT INTO numbers VALUES (1)")
        recorder.insert_tracking(Tracking("log", position))
        recorder.execute("INSERT INTO numbers SELECT 1 / n FROM numbers WHERE error('no more room')")


def test_rows_and_tracking_are_rolled_back_together():
    with duckdb.connect() as connection:
        recorder = DuckDBRecorder(connection)
        recorder.execute("CREATE TABLE numbers (n INTEGER)")

        with pytest.raises(duckdb.InvalidInputException, match="no more room"):
            write_number_and_track(recorder, 5)

        assert recorder.max_tracking_id("log") is None
        assert recorder.one("SELECT count(*) FROM numbers") == (0,)


def test_a_position_that_does_not_grow_undoes_the_rows_written_with_it():
    with duckdb.connect() as connection:
        recorder = DuckDBRecorder(connection)
        recorder.execute("CREATE TABLE numbers (n INTEGER)")
        recorder.insert_tracking(Tracking("log", 5))

        with pytest.raises(IntegrityError, match="must grow; found 5, given 5"):
            write_number_and_track(recorder, 5)

        assert recorder.one("SELECT count(*) FROM numbers") == (0,)


def numbers(*values):
    return {"n": np.array(values, np.int32)}


def test_gathered_rows_of_every_kind_are_inserted_at_the_end_of_the_transaction(monkeypatch):
    monkeypatch.setattr(recorder, "CAPACITY", 3)
    with duckdb.connect() as connection:
        tables = DuckDBRecorder(connection)
        tables.execute("CREATE TABLE numbers (n INTEGER); CREATE TABLE words (word TEXT)")
        with tables.transaction():
            tables.gather("numbers", numbers(1, 2))
            tables.gather("words", {"word": np.array(["a", "bc"])})
            tables.gather("numbers", numbers(3, 4, 5, 6, 7, 8))
            tables.gather("numbers", numbers())
            tables.gather("numbers", numbers(1, 2), "SELECT 100 * n AS n FROM columns")
            tables.gather("words", {"word": np.array(["defg"])})
            assert tables.one("SELECT list(n ORDER BY n) FROM numbers") == ([1, 2, 3, 4, 5, 6, 7, 8],)
        assert tables.one("SELECT list(n ORDER BY n) FROM numbers") == ([1, 2, 3, 4, 5, 6, 7, 8, 100, 200],)
        assert tables.one("SELECT list(word ORDER BY word) FROM words") == (["a", "bc", "defg"],)


def gather_and_fail(tables):
    with tables.transaction():
        tables.gather("numbers", numbers(1))
        tables.execute("FROM nowhere")


def test_gathered_rows_are_forgotten_when_the_transaction_is_rolled_back():
    with duckdb.connect() as connection:
        tables = DuckDBRecorder(connection)
        tables.execute("CREATE TABLE numbers (n INTEGER)")
        with pytest.raises(duckdb.CatalogException, match="nowhere"):
            gather_and_fail(tables)
        with tables.transaction():
            tables.gather("numbers", numbers(2))
        assert tables.one("SELECT list(n) FROM numbers") == ([2],)


def test_columns_of_different_length_are_refused():
    with (
        duckdb.connect() as connection,
        pytest.raises(CorruptionError, match=r"rows of pairs must have all columns.*'n': 3, 'm': 2"),
    ):
        DuckDBRecorder(connection).gather("pairs", numbers(1, 2, 3) | {"m": np.arange(2)})
