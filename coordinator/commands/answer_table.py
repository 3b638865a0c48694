"""The answer to a question in SQL, as a table; alone here, so that a query needs no more than it."""

from datetime import datetime, time
from decimal import Decimal

from rich.console import RenderableType

from ...projections.answer import Answer
from .console import fitted, note


def answer_screen(answer: Answer) -> list[RenderableType]:
    """Return the answer to a query."""
    numbers = {
        name
        for place, name in enumerate(answer.columns)
        if any(isinstance(row[place], int | float | Decimal) for row in answer.rows)
    }
    rows = [[_cell(value) for value in row] for row in answer.rows]
    count = note(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}")
    return [*fitted(answer.columns, rows, left=set(answer.columns) - numbers), count]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.10g}"
        case datetime():
            return f"{value:%Y-%m-%d}" if value.time() == time.min else f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)
