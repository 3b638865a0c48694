import duckdb
import pytest
from admf.projections.recorder import DuckDBRecorder
from eventsourcing.persistence import Tracking
from eventsourcing.tests.persistence import TrackingRecorderTestCase


class TestDuckDBRecorder(TrackingRecorderTestCase):
    def create_recorder(self) -> DuckDBRecorder:
        connection = duckdb.connect()
        self.addCleanup(connection.close)
        return DuckDBRecorder(connection)


del TrackingRecorderTestCase


def test_rows_and_tracking_are_rolled_back_together():
    with duckdb.connect() as connection:
        recorder = DuckDBRecorder(connection)
        recorder.execute("CREATE TABLE numbers (n INTEGER)")

        with pytest.raises(ZeroDivisionError), recorder.transaction():
            recorder.execute("INSERT INTO numbers VALUES (1)")
            recorder.insert_tracking(Tracking("log", 5))
            raise ZeroDivisionError

        assert recorder.max_tracking_id("log") is None
        assert recorder.one("SELECT count(*) FROM numbers") == (0,)


def test_a_position_that_does_not_grow_undoes_the_rows_written_with_it():
    with duckdb.connect() as connection:
        recorder = DuckDBRecorder(connection)
        recorder.execute("CREATE TABLE numbers (n INTEGER)")
        recorder.insert_tracking(Tracking("log", 5))

        with pytest.raises(Exception, match="must grow; found 5, given 5"), recorder.transaction():
            recorder.execute("INSERT INTO numbers VALUES (1)")
            recorder.insert_tracking(Tracking("log", 5))

        assert recorder.one("SELECT count(*) FROM numbers") == (0,)
