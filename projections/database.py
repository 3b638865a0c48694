import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ..domain.errors import CorruptionError, StoreError
from .recorder import DuckDBRecorder

SETTINGS: dict[str, bool | int] = {
    "enable_external_access": False,
    "lock_configuration": True,
    # Else DuckDB joins `equity` with its cash by comparing every pair of bars, if it expects few of them.
    "asof_loop_join_threshold": 0,
}
FOR_REBUILDING = SETTINGS | {"preserve_insertion_order": False}
"""Rows that don't wait for those before them are written in half the time."""
HEADERS = 12_288
"""Bytes that DuckDB writes into a new file before anything else."""
UNWRITABLE = ("Cannot open file", "Could not write", "No space left")
"""What DuckDB says where a folder may not be written, or the disk is full."""
_opening = threading.RLock()
_replacing = threading.RLock()


class Database:
    """A DuckDB database that processes and threads use in turn.

    DuckDB lets one process at a time open a file that anybody writes to. So the file is opened briefly at
    each use; a use waits while another process has it open. Threads of one process take turns.

    Parameters
    ----------
    path
        The file, made when missing; None keeps the database in memory.
    patience
        Seconds to wait for other processes.

    Raises
    ------
    StoreError
        By every method: another process kept the file open for longer than that, or it can't be written.
    CorruptionError
        By every method: the file is not one of DuckDB.
    """

    def __init__(self, path: Path | None, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._memory = None if path else _connect_to_memory()

    @contextmanager
    def open(self) -> Iterator[DuckDBRecorder]:
        """Open it, alone, for the block."""
        with _opening, _explained(self._path):
            connection = self._connect(self._path) if self._path else self._cursor()
            try:
                yield DuckDBRecorder(connection)
            finally:
                connection.close()

    @contextmanager
    def replacement(self) -> Iterator[DuckDBRecorder]:
        """Open an empty database for the block, which takes the place of this one at its end.

        Others use the old one meanwhile. It stays if the block raises, or its process is killed: what the
        process had written by then is removed by the next replacement.
        """
        with _replacing, _explained(self._path):
            if self._path is None:
                yield from self._replace_memory()
            else:
                yield from self._replace_file(self._path)

    def close(self) -> None:
        """Free what is kept in memory; a file is closed after each use anyway."""
        if self._memory:
            self._memory.close()

    def _replace_memory(self) -> Iterator[DuckDBRecorder]:
        fresh = _connect_to_memory()
        yield DuckDBRecorder(fresh)
        with _opening:
            self.close()
            self._memory = fresh

    def _replace_file(self, path: Path) -> Iterator[DuckDBRecorder]:
        beside = path.with_suffix(f".rebuilding{path.suffix}")
        fresh = self._connect_to_empty(beside)
        try:
            yield DuckDBRecorder(fresh)
            with self.open() as old:
                # What is left in the old file's write-ahead log would be taken for that of the new file.
                old.execute("FORCE CHECKPOINT")
                fresh.close()
                os.replace(beside, path)
        except BaseException:
            fresh.close()
            _remove(beside)
            raise

    def _connect_to_empty(self, path: Path) -> duckdb.DuckDBPyConnection:
        """Make an empty file, in place of what another process left there when it was killed.

        Only who has the database itself open makes or removes such a file, so that no two do at once.
        """
        deadline = time.monotonic() + self._patience
        while True:
            with self.open():
                try:
                    if path.exists():
                        _connect_to(path).close()
                    _remove(path)
                    return _connect_to(path, FOR_REBUILDING)
                except duckdb.Error as error:
                    if not _is_held(error):
                        _remove(path)
                    elif time.monotonic() > deadline:
                        raise StoreError(
                            f"another process builds the read models in {path} anew: {error}. Wait until it "
                            "is done, or end it."
                        ) from error
            time.sleep(0.05)

    def _connect(self, path: Path) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self._patience
        while True:
            found = _identity(path)
            try:
                connection = _connect_to(path)
            except duckdb.Error as error:
                if _is_held(error):
                    self._require_time_before(deadline, error)
                elif _is_unwritable(error):
                    raise
                elif path.exists() and path.stat().st_size < HEADERS:
                    # Its maker was killed before it was made.
                    _remove(path)
                else:
                    raise CorruptionError(
                        f"the read models in {path} can't be opened: {error}. Delete the file, it is rebuilt."
                    ) from error
            else:
                if found in (None, _identity(path)):
                    return connection
                # It was replaced between being opened and being locked.
                connection.close()
            time.sleep(0.05)

    def _require_time_before(self, deadline: float, error: duckdb.Error) -> None:
        if time.monotonic() > deadline:
            raise StoreError(
                f"the read models in {self._path} must be free within {self._patience:g} seconds: {error}. "
                "Wait for that process, or end it, and try again."
            ) from error

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        if self._memory is None:
            raise StoreError("read models in a file have no connection of their own.")
        return self._memory.cursor()


def _connect_to(path: Path, settings: Mapping[str, bool | int] = SETTINGS) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), config=dict(settings))


def _connect_to_memory() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config=dict(SETTINGS))


@contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    """Name the file and the remedy where DuckDB can't write."""
    try:
        yield
    except duckdb.Error as error:
        if not _is_unwritable(error):
            raise
        raise StoreError(
            f"the read models in {path} must be writable: {error}. Make the file and its folder writable, or "
            "free some space. Nothing is lost: the next use goes on where this one stopped."
        ) from error


def _is_unwritable(error: duckdb.Error) -> bool:
    return any(symptom in str(error) for symptom in UNWRITABLE)


def _is_held(error: duckdb.Error) -> bool:
    return "Could not set lock" in str(error)


def _identity(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _remove(path: Path) -> None:
    """Remove a file of DuckDB with its write-ahead log."""
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
