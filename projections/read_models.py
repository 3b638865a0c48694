"""The read models: tables in DuckDB that follow the log, and can be thrown away."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import duckdb
from eventsourcing.persistence import Tracking

from ..domain.errors import CorruptionError
from ..domain.events import Event
from ..eventstore.record import Recorded
from ..eventstore.store import EventStore
from .answer import Answer
from .comparison import Comparison, compare
from .database import Database
from .fold import Fold
from .projection import apply, grouped
from .question import ask, ask_for_frame
from .recorder import DuckDBRecorder
from .schema import create, is_empty, is_outdated

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
"""Is told how far a rebuild has come: the position that it reached, and the last one in the log."""
LOG = "log"
Group = list[tuple[Event, Recorded]]
"""Events that are committed together; those of two groups are in memory at a time."""


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

    def compare(
        self, run: str = "", streams: Sequence[str] = (), progress: Callable[[int], None] | None = None
    ) -> Comparison:
        """Catch up, then compare every row with what follows from the log as it is now.

        That takes as much memory as the rows that are compared, and keeps other processes waiting.

        Parameters
        ----------
        run, streams
            The only run whose rows are compared, and the streams that they follow from: those of bars first,
            then those of phases, then the run's own. Everything is compared where they are empty.
        progress
            Is told the number of events that were projected.
        """
        with self._open() as recorder:
            ends = self._settled(recorder, streams)
            return compare(recorder, _told(self._events_up_to(ends), progress), run)

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
        fold = Fold(recorder)
        for group in _ahead(_decoded(self._new_events(recorder))):
            with recorder.transaction():
                for event, recorded in group:
                    _apply(event, recorded, fold)
                _, last = group[-1]
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

    def _settled(self, recorder: DuckDBRecorder, streams: Sequence[str]) -> dict[str, int]:
        """Catch up until nothing is appended meanwhile, and return the ends of the streams, or of the log."""
        ends: dict[str, int] = {}
        try:
            while ends != (ends := self._ends(streams)):
                self._catch_up(recorder)
        except duckdb.Error as error:
            raise CorruptionError(f"the read models can't follow the log: {error}") from error
        return ends

    def _events_up_to(self, ends: dict[str, int]) -> Iterator[Recorded]:
        for stream, end in ends.items():
            # What can't be read is left out: rows that followed from it differ.
            for stored in self._store.scan(stream):
                if isinstance(stored, Recorded):
                    if (stored.version if stream else stored.position or 0) > end:
                        break
                    yield stored

    def _ends(self, streams: Sequence[str]) -> dict[str, int]:
        if streams:
            return {stream: self._store.head(stream).version for stream in streams}
        return {"": self._store.last_position()}

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


def _told(events: Iterable[Recorded], progress: Callable[[int], None] | None) -> Iterator[Recorded]:
    for count, recorded in enumerate(events, start=1):
        yield recorded
        if progress:
            progress(count)


def _ahead(groups: Iterator[Group]) -> Iterator[Group]:
    """Read the next group while the one before it is applied: DuckDB leaves Python to other threads."""
    with ThreadPoolExecutor(1) as thread:
        following: Future[Group] = thread.submit(next, groups, [])
        while group := following.result():
            following = thread.submit(next, groups, [])
            yield group


def _decoded(events: Iterable[Recorded]) -> Iterator[Group]:
    for group in grouped(events):
        yield [(recorded.event, recorded) for recorded in group]


def _apply(event: Event, recorded: Recorded, fold: Fold) -> None:
    try:
        apply(event, recorded, fold)
    except duckdb.Error as error:
        error.add_note(f"while applying {recorded.topic} {recorded.address} to the read models")
        raise
