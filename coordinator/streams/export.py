"""A run in files: tables for other programs, events line by line, or an archive for another store."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import msgspec

from ...domain.errors import ConfigurationError, UnknownNameError
from ...eventstore.store import EventStore
from ...projections.tables import OPTIONS, write_tables
from .archive import write_archive
from .logical_events import logical_events
from .run_streams import run_streams

SUFFIXES = {"archive": ".admf", "jsonl": ".jsonl"}
"""Endings of the formats that are one file; the others are a folder of tables."""
FORMATS = (*OPTIONS, *SUFFIXES)


def export_run(
    store: EventStore, run: str, *, kind: str = "", target: Path | None = None, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write a run to files and return them; a file appears once it is complete.

    Parameters
    ----------
    store, run
        The run.
    kind
        One of `FORMATS`; by default what the ending of the target says, else ``parquet``.
    target
        The folder for tables, which is made where there is none, or the file; by default it has the name of
        the run, and is in the current folder.
    overwrite
        Whether files that exist may be replaced.

    Raises
    ------
    NotFoundError
        There is no such run.
    UnknownNameError
        There is no such format.
    ConfigurationError
        A file exists, and may not be replaced; or it can't be written.
    """
    if not kind:
        kind = next((name for name, end in SUFFIXES.items() if target and target.suffix == end), "parquet")
    if kind not in FORMATS:
        raise UnknownNameError("format", kind, FORMATS)
    chosen = target or Path(f"{run}{SUFFIXES.get(kind, '')}")
    run_streams(store, run)
    try:
        if kind in OPTIONS:
            return _export_tables(store, run, kind, chosen, overwrite=overwrite)
        write = write_archive if kind == "archive" else _write_lines
        return (_export_file(store, run, chosen, write, overwrite=overwrite),)
    except OSError as error:
        raise ConfigurationError(f"{chosen} can't be written: {error.strerror or error}.") from error


def _export_tables(
    store: EventStore, run: str, kind: str, folder: Path, *, overwrite: bool
) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".export-") as scratch:
        events = (event for head in run_streams(store, run) for event in store.read(head.stream))
        names = write_tables(events, run, Path(scratch), kind)
        for name in names:
            _require_free(folder / name, overwrite=overwrite)
        for name in names:
            os.replace(Path(scratch) / name, folder / name)
    return tuple(folder / name for name in names)


def _export_file(
    store: EventStore,
    run: str,
    file: Path,
    write: Callable[[EventStore, str, BinaryIO], object],
    *,
    overwrite: bool,
) -> Path:
    _require_free(file, overwrite=overwrite)
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=file.parent, prefix=".export-") as scratch:
        part = Path(scratch) / file.name
        with part.open("wb") as output:
            write(store, run, output)
            output.flush()
            os.fsync(output.fileno())
        os.replace(part, file)
    return file


def _write_lines(store: EventStore, run: str, file: BinaryIO) -> None:
    """Write the logical events of a run and of its phases as JSON, one in each line."""
    for head in run_streams(store, run):
        if head.stream.partition("/")[0] == run:
            for event in logical_events(store, head.stream):
                file.write(msgspec.json.encode(event) + b"\n")


def _require_free(file: Path, *, overwrite: bool) -> None:
    if file.is_dir() or (file.exists() and not overwrite):
        remedy = "Name another file" + ("" if file.is_dir() else ", or give --force to replace it")
        raise ConfigurationError(f"{file} must not exist yet, and does. {remedy}.")
