"""Read-only SQL over the read models."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from ..domain.errors import QueryError
from .answer import Answer
from .recorder import DuckDBRecorder

if TYPE_CHECKING:
    import pandas as pd

TEXTS = ("VARCHAR", "JSON")
READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
COLUMNS = """
SELECT table_name, string_agg(column_name, ', ' ORDER BY column_index) FROM duckdb_columns()
WHERE schema_name = 'main' AND NOT internal
GROUP BY table_name ORDER BY table_name
"""


def ask(recorder: DuckDBRecorder, sql: str, parameters: Sequence[object]) -> Answer:
    """Answer one statement that only reads; see `ReadModels.query`."""
    with _asked(recorder, sql, parameters) as cursor:
        columns = tuple(str(column[0]) for column in cursor.description or ())
        return Answer(columns, tuple(cursor.fetchall()))


def ask_for_frame(recorder: DuckDBRecorder, sql: str, parameters: Sequence[object]) -> "pd.DataFrame":
    """Answer one statement that only reads; see `ReadModels.frame`."""
    with _asked(recorder, sql, parameters) as cursor:
        texts = [place for place, column in enumerate(cursor.description or ()) if str(column[1]) in TEXTS]
        frame = cursor.df()
        # DuckDB leaves text without a value, or without rows, as objects.
        for place in texts:
            frame.isetitem(place, frame.iloc[:, place].astype("str").array)
        return frame


@contextmanager
def _asked(
    recorder: DuckDBRecorder, sql: str, parameters: Sequence[object]
) -> Iterator[duckdb.DuckDBPyConnection]:
    statement = _one_statement(sql)
    try:
        with recorder.transaction("READ ONLY"):
            yield recorder.connection.execute(statement, parameters)
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise QueryError(f"{error}\n\n{_names(recorder, sql)}") from error
    except duckdb.Error as error:
        raise QueryError(str(error)) from error


def _one_statement(sql: str) -> duckdb.Statement:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    kinds = [statement.type for statement in statements]
    if len(kinds) != 1 or kinds[0] not in READING:
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise QueryError(
            "the read models answer one statement that only reads (SELECT, WITH, FROM, DESCRIBE, SHOW, "
            f"SUMMARIZE or EXPLAIN), found {found}. They follow from the log: to change them, run a workflow."
        )
    return statements[0]


def _names(recorder: DuckDBRecorder, sql: str) -> str:
    """List the columns of the tables that the statement mentions, or else the tables."""
    tables = dict(recorder.connection.execute(COLUMNS).fetchall())
    words = sql.lower()
    mentioned = [f"{table} has the columns {columns}." for table, columns in tables.items() if table in words]
    return "\n".join([*mentioned, f"The tables are {', '.join(tables)}."])
