"""Market data files: where they are found, and how they become bars."""

import csv
import glob
import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TextIO

import numpy as np
from arro3.core import RecordBatchReader

from ...configs import data as bundled_data
from ...domain.bars import Bars, checked_bars, more_rows, parse_timeframe
from ...domain.errors import DataError
from ...domain.events import BarsLoaded
from ...domain.features import SERIES
from ..configuration.data_section import NO_CALENDAR, Calendar
from .calendars import with_sessions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SUFFIXES = (".csv", ".csv.gz", ".parquet")
COLUMNS = {
    "time": ("date", "datetime", "timestamp", "time"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume", "vol"),
}
"""Columns of bars, and the names by which they are found."""
_PANDAS_INDEX = "__index_level_0__"


def find_data_file(name: str, folders: Sequence[Path] = ()) -> Path:
    """Find a data file by its name.

    It is looked for in ``folders`` (the one of the workflow's YAML file comes first), in the current folder,
    and among the bundled files; in each also as ``name.gz``.

    Raises
    ------
    DataError
        If it is in none of them: lists where it was looked for, similar names there, and the bundled files.
    """
    bundled = Path(str(resources.files(bundled_data)))
    places = list(dict.fromkeys(folder.resolve() for folder in (*folders, Path.cwd(), bundled)))
    for place in places:
        path = place / Path(name).expanduser()
        for candidate in (path, Path(f"{path}.gz")):
            if candidate.is_file():
                return candidate
    looked = list(dict.fromkeys((place / Path(name).expanduser()).parent for place in places))
    near = get_close_matches(Path(name).name, [file for folder in looked for file in _data_files(folder)])
    similar = f"Did you mean {' or '.join(dict.fromkeys(near))}? " if near else ""
    raise DataError(
        f"data file {name!r} must exist, found none in {', '.join(map(str, looked))}. "
        f"{similar}Bundled: {', '.join(_data_files(bundled))}."
    )


def _data_files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    names = sorted(file.name for file in folder.iterdir() if file.name.lower().endswith(_SUFFIXES))
    return [name.removesuffix(".gz") for name in names]


def load_bars(path: Path, symbol: str, timeframe: str, calendar: Calendar = NO_CALENDAR) -> Bars:
    """Read bars from a file, and refuse the file if anything in it is doubtful.

    A file is CSV (comma, UTF-8, may be compressed with gzip) or Parquet, with one row per bar, oldest first.

    - Columns are found by name in any case: ``Date`` (or datetime, timestamp, time; or a first column without
      a name), ``Open``, ``High``, ``Low``, ``Close``, and ``Volume`` (or vol), which is zero where there is
      none. Others, such as an adjusted close, are ignored.
    - Dates have one form, which the first bar decides for the whole file: ISO 8601, ``YYYYMMDD``, American
      ``m/d/yyyy``, or an epoch in whole seconds, milliseconds, microseconds or nanoseconds, told apart by
      their number of digits, so not before March 1973. A time without a zone is UTC, one with a zone becomes
      UTC; a file has zones everywhere or nowhere.
    - Numbers have a decimal point and no thousands separator.
    - Every bar lies in a session of ``calendar``, if one is named; see `session_numbers`.

    Raises
    ------
    DataError
        If the file can't be read, a cell is not what its column needs, `checked_bars` refuses a bar, or one
        lies in no session: names the file, the row as an editor numbers it (in Parquet the n-th row), the
        reason and the remedy.
    ConfigurationError
        If ``timeframe`` or ``calendar`` is unknown.
    """
    import duckdb

    parse_timeframe(timeframe)
    try:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            table = _open_table(connection, path)
            columns = _read_columns(table)
    except OSError as error:
        raise DataError(
            f"{path}: the file must be readable, found {error}. Check the path and the file."
        ) from error
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the file must be readable, found {reason}. Export it again.") from error
    bars = checked_bars(
        columns, symbol=symbol, timeframe=timeframe, source=str(path), first_row=table.first_row
    )
    return with_sessions(bars, calendar, str(path), table.first_row)


class _Table(NamedTuple):
    """A file as DuckDB sees it.

    ``source`` is a FROM clause that names the columns c0, c1, ... in order; their ``types`` are known where
    the file states them. It holds so many ``bars``, from the row ``first_row`` on.
    """

    path: Path
    connection: "DuckDBPyConnection"
    source: str
    header: list[str]
    first_row: int
    bars: int
    types: tuple[str, ...] = ()

    def select(self, what: str, rest: str = "") -> "DuckDBPyConnection":
        file = {"path": glob.escape(str(self.path))}
        return self.connection.execute(f"SELECT {what} FROM {self.source} {rest}", file)

    def batches(self, expressions: Mapping[str, str]) -> RecordBatchReader:
        """Read columns piece by piece: all at once, they would be copied once more."""
        what = ", ".join(f"{sql} AS {name}" for name, sql in expressions.items())
        file = {"path": glob.escape(str(self.path))}
        relation = self.connection.sql(f"SELECT {what} FROM {self.source}", params=file)
        return RecordBatchReader.from_stream(relation)


def _open_table(connection: "DuckDBPyConnection", path: Path) -> _Table:
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        header, bars = _checked_header(path)
        types = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(header)))
        compression = "gzip" if name.endswith(".gz") else "none"
        source = (
            "read_csv($path, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
            f"strict_mode = false, compression = '{compression}', columns = {{{types}}})"
        )
        return _Table(path, connection, source, header, first_row=2, bars=bars)
    if name.endswith(".parquet"):
        file = _Table(path, connection, "read_parquet($path)", [], first_row=1, bars=0)
        columns = file.select("*", "LIMIT 0").description
        aliases = ", ".join(f"c{index}" for index in range(len(columns)))
        return file._replace(
            source=f"{file.source} AS file({aliases})",
            header=[column[0] for column in columns],
            bars=int(file.select("count(*)").fetchall()[0][0]),
            types=tuple(str(column[1]) for column in columns),
        )
    raise DataError(f"{path}: a data file must be one of {', '.join(_SUFFIXES)}. Export it as one of them.")


def _checked_header(path: Path) -> tuple[list[str], int]:
    """Give the names in the first row of a CSV file, and the number of rows below it.

    All of these are known then to be lines with as many cells.

    DuckDB either skips blank lines and tolerates odd cells, or refuses mixed line ends without naming a row;
    this check is what makes row numbers exact.
    """
    row = 0
    try:
        with _open_text(path) as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            row, bars = 1, 0
            for row, cells in enumerate(reader, 2):
                if not cells and not any(reader):
                    break
                if len(cells) != len(header):
                    found = f"{len(cells)} cells" if cells else "a blank line"
                    raise DataError(
                        f"{path}, row {row}: each row must have as many cells as the header, {len(header)}, "
                        f"found {found}. Correct the row or remove it."
                    )
                if reader.line_num != row:
                    raise DataError(
                        f"{path}, row {row}: each row must be one line, found a line break inside a cell. "
                        "Join the lines."
                    )
                bars += 1
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, row {_first_undecodable_row(path)}: text must be UTF-8, found byte "
            f"0x{error.object[error.start]:02x}. Save the file as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{path}, row {row + 1}: rows must be CSV, found: {error}. Correct the row."
        ) from error
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the file must be whole, found: {error}. Copy or compress it again."
        ) from error
    return header, bars


def _open_text(path: Path) -> TextIO:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _first_undecodable_row(path: Path) -> int:
    with _open_text(path) as file:
        for row, line in enumerate(file.buffer, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return row
    return 1


class _DateForm(NamedTuple):
    """A way to write dates: ``nanoseconds`` is the SQL that reads a ``{cell}`` which matches ``pattern``."""

    name: str
    pattern: str
    nanoseconds: str


_TIMES = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"}
"""Types of columns that hold times, not texts that have to be read."""
_DAY = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_US_FORMATS = "['%m/%d/%Y', '%m/%d/%Y %H:%M', '%m/%d/%Y %H:%M:%S']"
_DATE_FORMS = (
    _DateForm("ISO 8601", f"{_DAY}({_CLOCK})?", "epoch_ns(TRY_CAST({cell} AS TIMESTAMP_NS))"),
    _DateForm(
        "ISO 8601 with a time zone",
        rf"{_DAY}{_CLOCK}(Z|[+-]\d{{2}}(:?\d{{2}})?)",
        "epoch_ns(TRY_CAST({cell} AS TIMESTAMPTZ))",
    ),
    _DateForm(
        "m/d/yyyy",
        r"\d{1,2}/\d{1,2}/\d{4}( \d{1,2}:\d{2}(:\d{2})?)?",
        f"epoch_ns(try_strptime({{cell}}, {_US_FORMATS}))",
    ),
    _DateForm("YYYYMMDD", r"\d{8}", "epoch_ns(try_strptime({cell}, '%Y%m%d'))"),
    _DateForm("epoch seconds", r"\d{9,10}", "TRY_CAST({cell} || '000000000' AS BIGINT)"),
    _DateForm("epoch milliseconds", r"\d{12,13}", "TRY_CAST({cell} || '000000' AS BIGINT)"),
    _DateForm("epoch microseconds", r"\d{15,16}", "TRY_CAST({cell} || '000' AS BIGINT)"),
    _DateForm("epoch nanoseconds", r"\d{18,19}", "TRY_CAST({cell} AS BIGINT)"),
)


def _read_columns(table: _Table) -> BarsLoaded:
    positions = _column_positions(table)
    date = f"c{positions['time']}::VARCHAR"
    first = table.select(date, "LIMIT 1").fetchall()
    if not first:
        raise DataError(f"{table.path}: there must be at least one bar, found only a header. Add data rows.")
    form = _date_form(table, positions["time"], first[0][0])
    if table.types and table.types[positions["time"]] in _TIMES:
        time = f"epoch_ns(c{positions['time']})"
    else:
        read = form.nanoseconds.format(cell=date)
        time = f"CASE WHEN regexp_full_match({date}, '{form.pattern}') THEN {read} END"
    expressions = {"time": time}
    for name in SERIES:
        expressions[name] = f"TRY_CAST(c{positions[name]} AS DOUBLE)" if name in positions else "0::DOUBLE"
    times, numbers = np.empty(table.bars, np.int64), {name: np.empty(table.bars) for name in SERIES}
    row, unread = 0, 0
    for batch in table.batches(expressions):
        for name, column in {"time": times, **numbers}.items():
            cells = batch.column(name)
            unread += cells.null_count
            if not unread:
                column[row : row + batch.num_rows] = np.asarray(cells)
        row += batch.num_rows
    if unread:
        _refuse_cell(table, positions, form, expressions)
    return BarsLoaded(time=times, **numbers)


def _column_positions(table: _Table) -> dict[str, int]:
    header = [name.strip().lower() for name in table.header]
    positions = {}
    for column, synonyms in COLUMNS.items():
        found = [index for index, name in enumerate(header) if name in synonyms]
        if not found and column == "time":
            found = [
                index
                for index, name in enumerate(header)
                if (index, name) == (0, "") or name == _PANDAS_INDEX
            ]
        if len(found) > 1:
            names = " and ".join(table.header[index] for index in found)
            raise DataError(
                f"{table.path}, row 1: one column must hold the {column}, found {names}. Keep one."
            )
        if found:
            positions[column] = found[0]
        elif column != "volume":
            near = get_close_matches(synonyms[0], header, n=1)
            raise DataError(
                f"{table.path}, row 1: there must be a column {' or '.join(synonyms)}, found "
                f"{', '.join(map(repr, table.header)) or 'an empty file'}. "
                + (
                    f"Rename {near[0]!r}?"
                    if near
                    else "Name the columns in the first row, separated by commas."
                )
            )
    return positions


def _date_form(table: _Table, position: int, first: str | None) -> _DateForm:
    for form in _DATE_FORMS:
        if first is not None and re.fullmatch(form.pattern, first, re.ASCII):
            return form
    raise DataError(
        f"{table.path}, row {table.first_row}: {table.header[position] or 'the first column'} must be a date "
        f"in one of the forms {', '.join(form.name for form in _DATE_FORMS)}, found {_shown(first)}. "
        "Convert the column."
    )


def _refuse_cell(
    table: _Table, positions: dict[str, int], form: _DateForm, expressions: dict[str, str]
) -> NoReturn:
    """Raise for the first row that has a cell which could not be read."""
    what = ", ".join(f"({sql}) IS NULL AS {name}" for name, sql in expressions.items())
    cells = {name: np.asarray(column) for name, column in table.select(what).fetchnumpy().items()}
    unread = {name: column for name, column in cells.items() if column.any()}
    row, name = min((int(np.argmax(broken)), name) for name, broken in unread.items())
    position = positions[name]
    cell = table.select(f"c{position}::VARCHAR", f"LIMIT 1 OFFSET {row}").fetchone()
    expected = f"a date in the form of the first bar, {form.name}" if name == "time" else "a number"
    raise DataError(
        f"{table.path}, row {table.first_row + row}: {table.header[position] or 'the first column'} must be "
        f"{expected}, found {_shown(cell[0] if cell else None)}"
        f"{more_rows(np.logical_or.reduce(list(unread.values())))}. Correct the cell or remove the row."
    )


def _shown(cell: str | None) -> str:
    return "an empty cell" if cell is None else repr(cell)
