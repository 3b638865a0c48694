from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

import psycopg
from eventsourcing import postgres as library
from eventsourcing.persistence import InterfaceError, OperationalError, StoredEvent
from eventsourcing.utils import Environment, EnvType, retry
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from .contiguity import check_contiguity
from .subscription import PollingSubscription

_CONNECT_TIMEOUT = 5


class ApplicationRecorder(library.PostgresApplicationRecorder):
    """Keeps contiguous streams in a table whose order of positions is the order of commits."""

    def create_table(self) -> None:
        """Make the table, one process at a time: IF NOT EXISTS alone fails if two make it at once."""
        with self.datastore.transaction(commit=True) as curs:
            curs.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self.events_table_name,))
            super().create_table()

    def _insert_events(
        self, curs: psycopg.Cursor[DictRow], stored_events: Sequence[StoredEvent], **kwargs: object
    ) -> None:
        super()._insert_events(curs, stored_events, **kwargs)
        if stored_events:
            # Locked before it is read: no other writer can come between this look and the insert.
            self._lock_table(curs)
            last = self._last_versions(curs, {event.originator_id for event in stored_events})
            check_contiguity(stored_events, last.get)

    def _last_versions(
        self, curs: psycopg.Cursor[DictRow], streams: set[UUID | str]
    ) -> dict[UUID | str, int]:
        statement = SQL(
            "SELECT originator_id, MAX(originator_version) AS last FROM {}.{} "
            "WHERE originator_id = ANY(%s) GROUP BY originator_id"
        )
        curs.execute(statement.format(*self._table()), (list(streams),))
        return {row["originator_id"]: row["last"] for row in curs.fetchall()}

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
    def last_version(self, stream: str) -> int | None:
        """Version of a stream's last event, without reading the event; None if there is no such stream."""
        with self.datastore.get_connection() as connection, connection.cursor() as curs:
            return self._last_versions(curs, {stream}).get(stream)

    @retry((InterfaceError, OperationalError), max_attempts=10, wait=0.2)
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
        conditions: dict[str, Any] = {
            "originator_id = %s": originator_id,
            "originator_version > %s": gt,
            "originator_version <= %s": lte,
            "topic = ANY(%s)": list(topics) or None,
        }
        chosen = {condition: value for condition, value in conditions.items() if value is not None}
        statement = SQL("SELECT * FROM {}.{} WHERE {} ORDER BY originator_version {} LIMIT %s").format(
            *self._table(),
            SQL(" AND ").join(SQL(condition) for condition in chosen),
            SQL("DESC" if desc else "ASC"),
        )
        with self.datastore.get_connection() as connection, connection.cursor() as curs:
            curs.execute(statement, [*chosen.values(), limit], prepare=True)
            return [
                StoredEvent(
                    row["originator_id"], row["originator_version"], row["topic"], bytes(row["state"])
                )
                for row in curs.fetchall()
            ]

    def _table(self) -> tuple[Identifier, Identifier]:
        return Identifier(self.datastore.schema), Identifier(self.events_table_name)

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> PollingSubscription:
        """Follow the log from the position after ``gt``."""
        return PollingSubscription(self, gt, topics)


class ProcessRecorder(ApplicationRecorder, library.PostgresProcessRecorder):
    """Records events and tracking in one transaction."""


class Factory(library.PostgresFactory):
    """Makes recorders over one PostgreSQL database."""

    application_recorder_class = ApplicationRecorder
    process_recorder_class = ProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        if self.datastore.enable_db_functions:
            raise OperationalError(
                "the library's database functions insert without a lock, so that readers could miss events: "
                "unset POSTGRES_ENABLE_DB_FUNCTIONS"
            )
        self._connect()

    def _connect(self) -> None:
        """Connect once, so that a refusal comes at once and in the server's words, not as a timeout."""
        settings = cast(dict[str, Any], self.datastore.pool.kwargs)
        try:
            psycopg.connect(**settings, connect_timeout=_CONNECT_TIMEOUT).close()
        except psycopg.Error as error:
            raise OperationalError(str(error).strip()) from error
