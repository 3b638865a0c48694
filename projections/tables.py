from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from ..eventstore.record import Recorded
from .fold import Fold
from .projection import apply
from .recorder import DuckDBRecorder
from .schema import create, quoted

OPTIONS = {"parquet": "FORMAT parquet, COMPRESSION zstd", "csv": "FORMAT csv, HEADER"}
"""How DuckDB writes each format."""
CHOSEN = """
(phase, container) IN (SELECT phase, (output ->> '$.best.container')::INTEGER FROM phases WHERE run = {run})
"""

CURVES = frozenset({"equity", "positions"})
"""Tables with a row for every bar of a container."""


def write_tables(events: Iterable[Recorded], run: str, folder: Path, suffix: str) -> list[str]:
    """Write the read models of one run into a folder, each table into a file of its name.

    They are projected anew, into a database of their own, so that nobody waits for it. The tables `CURVES`
    have the containers that the phases chose; there may be very many others.

    Parameters
    ----------
    events
        Those that the run consists of, each after those that it refers to.
    run
        Its id.
    folder
        Where the files are written; it must exist.
    suffix
        ``parquet`` or ``csv``.

    Returns
    -------
    list[str]
        The names of the files.
    """
    with TemporaryDirectory(dir=folder) as scratch, duckdb.connect(f"{scratch}/tables.duckdb") as connection:
        recorder = DuckDBRecorder(connection)
        create(recorder)
        fold = Fold(recorder)
        with recorder.transaction():
            for recorded in events:
                apply(recorded.event, recorded, fold)
        tables = [str(name) for (name,) in connection.execute("SHOW TABLES").fetchall()]
        for table in tables:
            target = _text(str(folder / f"{table}.{suffix}"))
            connection.execute(f"COPY ({_rows(table, run)}) TO {target} ({OPTIONS[suffix]})")
    return [f"{table}.{suffix}" for table in tables]


def _rows(table: str, run: str) -> str:
    if table == "bars":
        return f"FROM bars WHERE stream IN (SELECT stream FROM feeds WHERE run = {_text(run)}) ORDER BY ALL"
    chosen = f" AND {CHOSEN.format(run=_text(run))}" if table in CURVES else ""
    return f"FROM {quoted(table)} WHERE run = {_text(run)}{chosen} ORDER BY ALL"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
