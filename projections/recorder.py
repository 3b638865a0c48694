"""Rows and the position up to which they follow the log, committed together in DuckDB."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import duckdb
import numpy as np
from arro3.core import Array, RecordBatch, Table
from eventsourcing.persistence import IntegrityError, Tracking, TrackingRecorder

from ..domain.errors import CorruptionError
from ..domain.events import Column

TRACKING = """
CREATE SCHEMA IF NOT EXISTS data;
CREATE TABLE IF NOT EXISTS data.tracking (application_name TEXT PRIMARY KEY, notification_id BIGINT NOT NULL);
"""
ADVANCE = """
INSERT INTO data.tracking AS tracking VALUES (?, ?)
ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id
WHERE tracking.notification_id < excluded.notification_id
RETURNING notification_id
"""
AS_GIVEN = "SELECT * FROM columns"
CAPACITY = 16 * 122_880
"""Rows from which on they are inserted: 16 row groups of DuckDB, of which few are left unfilled."""
Kind = tuple[str, str, tuple[tuple[str, str], ...]]
"""Table, source, and names and types of columns."""


class DuckDBRecorder(TrackingRecorder):
    """Tracking recorder of the `eventsourcing` library on a DuckDB connection.

    What is written inside `transaction`, tracking included, is committed as one or not at all, so that a
    projection that was killed at any moment resumes without losing or repeating a row. Gathered rows are
    inserted by another thread, while the next ones are derived.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._gathered: dict[Kind, list[RecordBatch]] = {}
        self._inserting: Future[None] | None = None
        connection.execute(TRACKING)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, once it has inserted what it was given."""
        inserting, self._inserting = self._inserting, None
        if inserting:
            inserting.result()
        return self._connection

    @contextmanager
    def transaction(self, mode: str = "") -> Iterator[None]:
        """Commit what is done in the block, or roll it back if the block raises.

        ``mode`` is empty or ``"READ ONLY"``, under which DuckDB refuses every change.
        """
        self.connection.execute(f"BEGIN TRANSACTION {mode}")
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="admf-insert") as self._thread:
                yield
                self.flush()
        except BaseException:
            self._gathered.clear()
            self._inserting = None
            self._connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def insert_tracking(self, tracking: Tracking) -> None:
        """Record that events up to ``tracking.notification_id`` have been applied.

        Raises
        ------
        IntegrityError
            An equal or later position is recorded already.
        """
        advanced = self.one(ADVANCE, (tracking.application_name, tracking.notification_id))
        if advanced is None:
            raise IntegrityError(
                f"the tracked position of {tracking.application_name!r} must grow; found "
                f"{self.max_tracking_id(tracking.application_name)}, given {tracking.notification_id}"
            )

    def max_tracking_id(self, application_name: str) -> int | None:
        """Return the last recorded position, None if there is none."""
        sql = "SELECT notification_id FROM data.tracking WHERE application_name = ?"
        return self.integer(sql, (application_name,))

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """Execute one statement for its effect."""
        self.connection.execute(sql, parameters)

    def one(self, sql: str, parameters: Sequence[object] = ()) -> tuple[object, ...] | None:
        """Return the first row of a short answer, None if it has no rows."""
        rows = self.connection.execute(sql, parameters).fetchall()
        return rows[0] if rows else None

    def integer(self, sql: str, parameters: Sequence[object] = ()) -> int | None:
        """Return the first value of an answer, which must be an integer, and None if it has no rows."""
        row = self.one(sql, parameters)
        return None if row is None else int(str(row[0]))

    def columns(self, sql: str, parameters: Sequence[object] = ()) -> dict[str, np.ndarray]:
        """Return an answer of numbers, without nulls, as one array per column."""
        answer = self.connection.execute(sql, parameters).fetchnumpy()
        return {name: np.asarray(values) for name, values in answer.items()}

    def gather(self, table: str, columns: Mapping[str, Column], source: str = AS_GIVEN) -> None:
        """Insert like `insert`, but later, with other rows: when they are many, or the transaction ends.

        DuckDB takes a million rows at a time, on all cores, several times faster than some thousands.

        Raises
        ------
        CorruptionError
            The columns differ in length.
        """
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise CorruptionError(
                f"rows of {table} must have all columns, found columns of different length: {lengths}. "
                "Check the log with `admf verify`."
            )
        kind = (table, source, tuple((name, values.dtype.str) for name, values in columns.items()))
        batches = self._gathered.setdefault(kind, [])
        batches.append(record_batch(columns))
        if sum(batch.num_rows for batch in batches) >= CAPACITY:
            self._empty(kind)

    def flush(self) -> None:
        """Insert what was gathered, so that it can be asked by way of `connection`."""
        for kind in list(self._gathered):
            self._empty(kind)

    def insert(self, table: str, batches: Sequence[RecordBatch], source: str = AS_GIVEN) -> None:
        """Insert rows into the columns of ``table`` that have the same names.

        ``source`` is a query that makes the rows from the given ones, which are its table ``columns``.
        """
        insert_rows(self.connection, table, batches, source)

    def _empty(self, kind: Kind) -> None:
        table, source, _ = kind
        batches = self._gathered.pop(kind)
        self._inserting = self._thread.submit(insert_rows, self.connection, table, batches, source)


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, batches: Sequence[RecordBatch], source: str
) -> None:
    """Insert rows; see `DuckDBRecorder.insert`."""
    connection.register("columns", Table.from_batches(batches))
    try:
        connection.execute(f"INSERT INTO {table} BY NAME {source}")
    finally:
        connection.unregister("columns")


def record_batch(columns: Mapping[str, Column]) -> RecordBatch:
    """Hand columns of equal length to Arrow, where possible without copying them."""
    arrays = [Array.from_numpy(np.ascontiguousarray(values)) for values in columns.values()]
    return RecordBatch.from_arrays(arrays, names=list(columns))
