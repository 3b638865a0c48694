import duckdb
import pytest
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
