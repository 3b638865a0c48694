"""The read models: tables in DuckDB that follow the log, and can be thrown away."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
from eventsourcing.persistence import Tracking

from ..domain.errors import CorruptionError, StoreError
from ..eventstore.record import Recorded
from ..eventstore.store import EventStore
from .answer import Answer
from .projection import apply
from .question import ask
from .recorder import DuckDBRecorder
from .schema import prepare, reset

LOG = "log"
GROUP = 1_000_000
"""Logical rows that are committed together; the events of one group are in memory at a time."""
SETTINGS = {"enable_external_access": False, "lock_configuration": True}
_opening = threading.RLock()


class ReadModels:
    """Tables that answer questions about the log, kept in a DuckDB file.

    DuckDB lets one process at a time open a file that anybody writes to. So the file is opened briefly at
    each use; a use waits while another process has it open. Threads of one process take turns.

    Parameters
    ----------
    path
        The file, made when missing and safe to delete at any time; None keeps the tables in memory.
    store
        The log to follow.
    patience
        Seconds to wait for other processes.

    Raises
    ------
    StoreError
        By every method: another process kept the file open for longer than that.
    CorruptionError
        By every method: the file is not one of DuckDB, or holds what is not in the log.
    """

    def __init__(self, path: Path | None, store: EventStore, patience: float = 10.0) -> None:
        self._path = path
        self._store = store
        self._patience = patience
        self._memory = None if path else duckdb.connect(config=dict(SETTINGS))

    def catch_up(self) -> int:
        """Apply the events that were appended since the last time and return how many there were.

        They are applied in groups, and each group is committed with the position that it reaches: a process
        that is killed meanwhile loses at most one group, and repeats none.
        """
        with self._open() as recorder:
            return self._catch_up(recorder)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> Answer:
        """Catch up, then answer one SQL statement that only reads.

        Parameters
        ----------
        sql
            A SELECT, WITH, FROM, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement over the tables listed in
            docs/read_models.md. It can't reach files or the network.
        parameters
            Values for its ``?``.

        Raises
        ------
        QueryError
            It is another kind of statement or not a single one, or DuckDB can't execute it. Where a name was
            not found, the message of DuckDB is followed by those that exist.
        """
        with self._open() as recorder:
            self._catch_up(recorder)
            return ask(recorder, sql, parameters)

    def rebuild(self) -> int:
        """Drop everything, project the whole log anew, and return the number of events."""
        with self._open() as recorder:
            reset(recorder)
            return self._catch_up(recorder)

    def close(self) -> None:
        """Free the tables that are kept in memory; a file is closed after each use anyway."""
        if self._memory:
            self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _catch_up(self, recorder: DuckDBRecorder) -> int:
        count = 0
        for group in _groups(self._new_events(recorder)):
            with recorder.transaction():
                for recorded in group:
                    _apply(recorded, recorder)
                last = group[-1]
                recorder.execute("DELETE FROM data.head")
                recorder.execute("INSERT INTO data.head VALUES (?, ?)", (last.position, last.record_hash))
                recorder.insert_tracking(Tracking(LOG, last.position or 0))
            count += len(group)
        return count

    def _new_events(self, recorder: DuckDBRecorder) -> Iterator[Recorded]:
        """Events after the tracked one, which must be in the log as it was when it was applied."""
        head = recorder.one("SELECT position, record_hash FROM data.head")
        if head is None:
            return self._store.read_all()
        position = int(str(head[0]))
        events = self._store.read_all(after=position - 1)
        found = next(events, None)
        if found is None or (found.position, found.record_hash) != head:
            raise CorruptionError(
                f"the read models in {self._path or 'memory'} must follow the log, but the event that they "
                f"reached, at position {position}, is not in it, and the log ends at position "
                f"{self._store.last_position()}. They were made from another log, or this one was restored "
                "from a backup: delete the file, it is rebuilt."
            )
        return events

    @contextmanager
    def _open(self) -> Iterator[DuckDBRecorder]:
        with _opening:
            connection = self._memory.cursor() if self._memory else self._connect()
            try:
                recorder = DuckDBRecorder(connection)
                prepare(recorder)
                yield recorder
            finally:
                connection.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return duckdb.connect(str(self._path), config=dict(SETTINGS))
            except duckdb.Error as error:
                if "Could not set lock" not in str(error):
                    raise CorruptionError(
                        f"the read models in {self._path} can't be opened: {error}. Delete the file, it is "
                        "rebuilt."
                    ) from error
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"the read models in {self._path} must be free within {self._patience:g} seconds: "
                        f"{error}. Wait for that process, or end it, and try again."
                    ) from error
            time.sleep(0.05)


def _groups(events: Iterable[Recorded]) -> Iterator[list[Recorded]]:
    group: list[Recorded] = []
    rows = 0
    for recorded in events:
        group.append(recorded)
        rows += recorded.rows
        if rows >= GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _apply(recorded: Recorded, recorder: DuckDBRecorder) -> None:
    try:
        apply(recorded.event, recorded, recorder)
    except duckdb.Error as error:
        error.add_note(f"while applying {recorded.topic} {recorded.address} to the read models")
        raise
