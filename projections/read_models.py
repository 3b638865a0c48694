"""The read models: tables in DuckDB that follow the log, and can be thrown away."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import duckdb
from eventsourcing.persistence import Tracking

from ..domain.errors import CorruptionError
from ..eventstore.record import Recorded
from ..eventstore.store import EventStore
from .answer import Answer
from .database import Database
from .projection import apply
from .question import ask, ask_for_frame
from .recorder import DuckDBRecorder
from .schema import create, is_empty, is_outdated

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
"""Is told how far a rebuild has come: the position that it reached, and the last one in the log."""
LOG = "log"
GROUP = 1_000_000
"""Logical rows that are committed together; the events of one group are in memory at a time."""


class ReadModels:
    """Tables that answer questions about the log, kept in a DuckDB file.

    Tables of another version of this package are built anew at the first use.

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
        self._name = str(path or "memory")
        self._store = store
        self._database = Database(path, patience)

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

    def frame(self, sql: str, parameters: Sequence[object] = ()) -> "pd.DataFrame":
        """Answer like `query`, in a pandas frame.

        A column has the type that pandas has for that of the answer, whether or not there are rows: numbers
        that are missing make a column of integers or booleans a nullable one.
        """
        with self._open() as recorder:
            self._catch_up(recorder)
            return ask_for_frame(recorder, sql, parameters)

    def rebuild(self, progress: Progress | None = None) -> int:
        """Project the whole log into new tables that replace the old ones, and return the number of events.

        The old ones can be asked meanwhile; a process that is killed leaves them as they are.
        """
        with self._database.replacement() as recorder:
            create(recorder)
            return self._catch_up(recorder, progress)

    def close(self) -> None:
        """Free the tables that are kept in memory; a file is closed after each use anyway."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _catch_up(self, recorder: DuckDBRecorder, progress: Progress | None = None) -> int:
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
            if progress:
                progress(last.position or 0, self._store.last_position())
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
                f"the read models in {self._name} must follow the log, but the event that they "
                f"reached, at position {position}, is not in it, and the log ends at position "
                f"{self._store.last_position()}. They were made from another log, or this one was restored "
                "from a backup: delete the file, it is rebuilt."
            )
        return events

    @contextmanager
    def _open(self) -> Iterator[DuckDBRecorder]:
        while True:
            with self._database.open() as recorder:
                if is_empty(recorder):
                    create(recorder)
                if not is_outdated(recorder):
                    yield recorder
                    return
            self.rebuild()


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
