import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from eventsourcing import sqlite as library
from eventsourcing.persistence import ConnectionPoolClosedError, Notification, OperationalError, StoredEvent
from eventsourcing.utils import Environment, EnvType

from .contiguity import check_contiguity
from .subscription import PollingSubscription


class Transaction(library.SQLiteTransaction):
    """Takes the write lock at the start of a write, so that what it reads can't change before it writes."""

    def __enter__(self) -> library.SQLiteCursor:
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        except sqlite3.OperationalError as error:
            raise OperationalError(error) from error
        return cursor


class Connection(library.SQLiteConnection):
    """A connection whose transactions are `Transaction`."""

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[library.SQLiteCursor]:
        """Begin, then commit or roll back."""
        with Transaction(self, commit=commit) as cursor, cursor:
            yield cursor


class ConnectionPool(library.SQLiteConnectionPool):
    """Opens connections that suit large events and that lose nothing that was committed."""

    _closing = False

    def _create_connection(self) -> Connection:
        patience = self.lock_timeout or library.SQLITE3_DEFAULT_LOCK_TIMEOUT
        try:
            connection = sqlite3.connect(
                self.db_name, uri=True, check_same_thread=False, isolation_level=None, timeout=patience
            )
            # The page size is fixed by the first write to a new file, which the change of journal mode is.
            for pragma in ("page_size=65536", "journal_mode=WAL", "synchronous=FULL"):
                _set(connection, pragma, patience)
        except sqlite3.Error as error:
            raise OperationalError(error) from error
        connection.row_factory = sqlite3.Row
        # A damaged name must not keep the events around it from being read.
        connection.text_factory = lambda text: text.decode(errors="replace")
        return Connection(connection, max_age=self.max_age)

    def _get_connection(self, timeout: float = 0.0) -> library.SQLiteConnection:
        with self._put_condition:
            if self._closing:
                raise ConnectionPoolClosedError
            return super()._get_connection(timeout)

    def close(self) -> None:
        """Wait until all connections are back, then close them: one closed in use would crash the process."""
        with self._put_condition:
            self._closing = True
            while self._in_use:
                self._put_condition.wait(0.1)
            super().close()


def _set(connection: sqlite3.Connection, pragma: str, patience: float) -> None:
    """Set a pragma, and wait for other processes, as a change of journal mode does not do by itself."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class ApplicationRecorder(library.SQLiteApplicationRecorder):
    """Keeps contiguous streams in a table whose positions are never used twice."""

    def __init__(self, datastore: library.SQLiteDatastore, events_table_name: str = "stored_events") -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.insert_events_statement = (
            f"INSERT INTO {events_table_name} (originator_id, originator_version, topic, state) "
            "VALUES (?,?,?,?)"
        )
        self.select_max_notification_id_statement = f"SELECT MAX(notification_id) FROM {events_table_name}"

    def construct_create_table_statements(self) -> list[str]:
        """Replace the library's events table, the first statement, by one that numbers events itself."""
        events_table = (
            f"CREATE TABLE IF NOT EXISTS {self.events_table_name} ("
            "notification_id INTEGER PRIMARY KEY AUTOINCREMENT, "
            "originator_id TEXT NOT NULL, "
            "originator_version INTEGER NOT NULL, "
            "topic TEXT NOT NULL, "
            "state BLOB NOT NULL, "
            "UNIQUE (originator_id, originator_version))"
        )
        return [events_table, *super().construct_create_table_statements()[1:]]

    def _insert_events(
        self, c: library.SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: object
    ) -> Sequence[int] | None:
        check_contiguity(stored_events, lambda stream: self._last_version(c, stream))
        return super()._insert_events(c, stored_events, **kwargs)

    def _last_version(self, c: library.SQLiteCursor, stream: UUID | str) -> int | None:
        c.execute(
            f"SELECT MAX(originator_version) FROM {self.events_table_name} WHERE originator_id=?",
            (_text(stream),),
        )
        version: int | None = c.fetchone()[0]
        return version

    def last_version(self, stream: str) -> int | None:
        """Version of a stream's last event, without reading the event; None if there is no such stream."""
        with self.datastore.transaction(commit=False) as c:
            return self._last_version(c, stream)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
        topics: Sequence[str] = (),
    ) -> Sequence[StoredEvent]:
        """Select events of one stream, of ``topics`` only if there are any."""
        rows = self._select(
            {
                "originator_id=?": (_text(originator_id),),
                "originator_version>?": () if gt is None else (gt,),
                "originator_version<=?": () if lte is None else (lte,),
                _any_of(topics): tuple(topics),
            },
            f"originator_version {'DESC' if desc else 'ASC'}",
            limit,
        )
        return [StoredEvent(**self._fields(row)) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Select events of the whole store in order of position."""
        rows = self._select(
            {
                f"notification_id{'>=' if inclusive_of_start else '>'}?": () if start is None else (start,),
                "notification_id<=?": () if stop is None else (stop,),
                _any_of(topics): tuple(topics),
            },
            "notification_id",
            limit,
        )
        return [Notification(id=row["notification_id"], **self._fields(row)) for row in rows]

    def _select(
        self, conditions: dict[str, tuple[str | int, ...]], order: str, limit: int | None
    ) -> Sequence[sqlite3.Row]:
        """Select the rows that meet each condition that has values."""
        chosen = {condition: values for condition, values in conditions.items() if values}
        where = f"WHERE {' AND '.join(chosen)} " if chosen else ""
        parameters = [value for values in chosen.values() for value in values]
        statement = f"SELECT * FROM {self.events_table_name} {where}ORDER BY {order} LIMIT ?"
        with self.datastore.transaction(commit=False) as c:
            c.execute(statement, [*parameters, -1 if limit is None else limit])
            rows: list[sqlite3.Row] = c.fetchall()
        return rows

    def _fields(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "originator_id": self.convert_originator_id(row["originator_id"]),
            "originator_version": row["originator_version"],
            "topic": row["topic"],
            "state": row["state"],
        }

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> PollingSubscription:
        """Follow the log from the position after ``gt``."""
        return PollingSubscription(self, gt, topics)


class ProcessRecorder(ApplicationRecorder, library.SQLiteProcessRecorder):
    """Records events and tracking in one transaction."""


class Factory(library.SQLiteFactory):
    """Makes recorders over one SQLite file."""

    application_recorder_class = ApplicationRecorder
    process_recorder_class = ProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        given = self.datastore.pool
        self.datastore.pool = ConnectionPool(db_name=given.db_name, lock_timeout=given.lock_timeout)


def _text(originator_id: UUID | str) -> str:
    return originator_id.hex if isinstance(originator_id, UUID) else originator_id


def _any_of(topics: Sequence[str]) -> str:
    return f"topic IN ({','.join('?' * len(topics))})"
