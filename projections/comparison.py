"""Comparing read models with what the log says, table by table and row by row."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import duckdb
import msgspec

from ..domain.errors import AdmfError
from ..eventstore.record import Recorded
from .fold import Fold
from .projection import apply, grouped
from .recorder import DuckDBRecorder
from .schema import create, quoted

KEYS = {
    "runs": ("run",),
    "phases": ("stream",),
    "reused_phases": ("run", "phase"),
    "strategies": ("phase", "strategy"),
    "feeds": ("phase", "symbol"),
    "timeline": ("phase", "symbol", "bar"),
    "streams": ("stream",),
    "bars": ("bars", "bar"),
    "regime_names": ("phase", "regime"),
    "regimes": ("phase", "n"),
    "patterns": ("phase", "n"),
    "members": ("phase", "container"),
    "weights": ("phase", "n"),
    "signals": ("phase", "n"),
    "orders": ("phase", "n"),
    "denials": ("phase", "n"),
    "cancellations": ("phase", "n"),
    "interest": ("phase", "n"),
    "fills": ("phase", "n"),
    "balances": ("phase", "container", "bar"),
    "trials": ("phase", "n"),
    "trades": ("phase", "container", "number"),
    "portfolio_metrics": ("phase", "container"),
}
"""The columns that tell the rows of a table apart; ``phase`` and ``bars`` stand for the streams of those."""
FRESH = "verification_of_the_log"
COLUMNS = """
SELECT column_name, data_type FROM duckdb_columns()
WHERE database_name = ? AND schema_name = 'data' AND table_name = ? ORDER BY column_index
"""


class Difference(msgspec.Struct, frozen=True):
    """The first row of a table that is not what the log says, or an event that can't be projected.

    Attributes
    ----------
    address
        The table and its row, such as ``fills phase=run/search, n=7``; or the event.
    message
        What the log says, and what the read models say.
    """

    address: str
    message: str


class Comparison(msgspec.Struct, frozen=True):
    """What came of a comparison.

    Attributes
    ----------
    differences
        At most one for each table, and one for each event that can't be projected.
    rows
        Number of rows that follow from the log.
    """

    differences: tuple[Difference, ...]
    rows: int


def compare(recorder: DuckDBRecorder, events: Iterable[Recorded], run: str = "") -> Comparison:
    """Project events into empty tables beside those of the read models, and compare both.

    Parameters
    ----------
    recorder
        The read models, open.
    events
        What the read models follow from.
    run
        The only run whose rows are compared; every row where it is empty.
    """
    tables = _Tables(recorder, run)
    differences: list[Difference] = []
    with tables.fresh():
        for group in grouped(events):
            differences += tables.project(group)
        for table, key in KEYS.items():
            differences += tables.compare(table, key)
    return Comparison(tuple(differences), tables.rows)


class _Tables:
    """The tables of the read models, and fresh ones beside them."""

    def __init__(self, recorder: DuckDBRecorder, run: str) -> None:
        self._recorder = recorder
        self._fold = Fold(recorder)
        self._run = run
        self._kept = str(recorder.connection.execute("SELECT current_database()").fetchall()[0][0])
        self.rows = 0

    @contextmanager
    def fresh(self) -> Iterator[None]:
        connection = self._recorder.connection
        connection.execute(f"ATTACH ':memory:' AS {FRESH}")
        try:
            connection.execute(f"USE {FRESH}")
            create(DuckDBRecorder(connection))
            yield
        finally:
            connection.execute(f"USE {quoted(self._kept)}")
            connection.execute(f"DETACH {FRESH}")

    def project(self, group: list[Recorded]) -> Iterator[Difference]:
        """Project events in one transaction; where that fails, each in its own, and name those that fail."""
        try:
            with self._recorder.transaction():
                for recorded in group:
                    apply(recorded.event, recorded, self._fold)
        except (AdmfError, duckdb.Error) as error:
            self._fold = Fold(self._recorder)
            if len(group) == 1:
                yield Difference(group[0].address, f"{group[0].topic} can't be projected: {error}")
                return
            for recorded in group:
                yield from self.project([recorded])

    def compare(self, table: str, key: tuple[str, ...]) -> Iterator[Difference]:
        connection = self._recorder.connection
        columns = connection.execute(COLUMNS, (FRESH, table)).fetchall()
        doubles = {name for name, kind in columns if kind == "DOUBLE"}
        fresh, kept = (self._rows(database, table, columns) for database in (FRESH, quoted(self._kept)))
        sql = f"""
            SELECT sum(side) AS surplus, count(*) OVER () AS differing, * EXCLUDE side
            FROM (SELECT 1 AS side, * FROM ({fresh}) UNION ALL SELECT -1 AS side, * FROM ({kept}))
            GROUP BY ALL HAVING sum(side) <> 0 ORDER BY {", ".join(key)}, surplus DESC LIMIT 2
        """
        self.rows += self._recorder.integer(f"SELECT count(*) FROM ({fresh})") or 0
        try:
            cursor = connection.execute(sql)
        except duckdb.Error as error:
            yield Difference(table, f"the table can't be read: {error}")
            return
        names = [str(column[0]) for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        if found:
            yield _difference(table, key, [_with_doubles(row, doubles) for row in found])

    def _rows(self, database: str, table: str, columns: list[tuple[str, str]]) -> str:
        """Select a table with doubles as their bits, and streams in place of the keys that stand for them."""
        chosen = [_expression(table, name, kind) for name, kind in columns]
        source = f"FROM {database}.data.{table} x"
        names = {name for name, _ in columns}
        owner = "x"
        if "phase_key" in names and table != "phases":
            source += f" LEFT JOIN {database}.data.phases p ON p.phase_key = x.phase_key"
            owner = "p"
        if "stream_key" in names and table != "streams":
            source += f" LEFT JOIN {database}.data.streams s ON s.stream_key = x.stream_key"
        if self._run and owner == "x" and "run" not in names:
            stream = "x.stream" if table == "streams" else "s.stream"
            source += f" WHERE {stream} IN (SELECT stream FROM {FRESH}.data.streams)"
        elif self._run:
            source += f" WHERE {owner}.run = {_literal(self._run)}"
        return f"SELECT {', '.join(filter(None, chosen))} {source}"


def _expression(table: str, name: str, kind: str) -> str:
    match name:
        case "phase_key":
            return "" if table == "phases" else "p.stream AS phase"
        case "stream_key":
            return "" if table == "streams" else "s.stream AS bars"
    column = f"x.{quoted(name)}"
    return f"{column}::BIT::BIGINT AS {quoted(name)}" if kind == "DOUBLE" else column


def _difference(table: str, key: tuple[str, ...], found: list[dict[str, object]]) -> Difference:
    first = found[0]
    address = f"{table} {', '.join(f'{name}={first[name]}' for name in key)}"
    surplus, differing = int(str(first.pop("surplus"))), first.pop("differing")
    if len(found) == 2 and all(found[1][name] == first[name] for name in key):
        other = {name: value for name, value in found[1].items() if repr(value) != repr(first.get(name))}
        wrong = [name for name in first if name in other]
        said = "; ".join(f"{name} is {first[name]!r} by the log, {other[name]!r} here" for name in wrong)
    elif surplus > 0:
        said = "the row follows from the log and is not here"
    else:
        said = "the row is here and does not follow from the log"
    return Difference(address, f"{said} (rows that differ in this table: {differing})")


def _with_doubles(row: dict[str, object], doubles: set[str]) -> dict[str, object]:
    """Turn bits back into numbers."""
    return {
        name: struct.unpack("<d", struct.pack("<q", value))[0]
        if name in doubles and isinstance(value, int)
        else value
        for name, value in row.items()
    }


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
