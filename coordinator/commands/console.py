"""Writing to the terminal, or to whatever stands in its place: tables, JSON, and errors."""

import csv
import sys
from collections.abc import Collection, Iterable, Sequence
from io import StringIO
from typing import TextIO

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

UNBOUNDED = 100_000
"""Width of what is not a terminal: nothing is wrapped or cut."""
STATUS = {
    "completed": "green",
    "reused": "green",
    "cached": "green",
    "identical": "green",
    "different": "red",
    "failed": "red",
    "stale": "red",
    "canceled": "yellow",
    "skipped": "yellow",
    "running": "cyan",
}
GAP = 2


def console_for(stream: TextIO) -> Console:
    """Return a console that takes text as it is, and writes without limits where there is no terminal."""
    width = None if stream.isatty() else UNBOUNDED
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def show(*parts: RenderableType, error: bool = False) -> None:
    """Print parts one below the other to standard output, or to standard error."""
    stream = sys.stderr if error else sys.stdout
    if stream.isatty():
        console_for(stream).print(*parts, sep="\n")
        return
    text = StringIO()
    console_for(text).print(*parts, sep="\n")
    # Cells are padded to the width of their column, also at the end of a line.
    stream.write("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))
    stream.flush()


def show_json(value: object) -> None:
    """Print a value as JSON; what JSON lacks, such as NaN, is null."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
    sys.stdout.flush()


def show_json_line(value: object) -> None:
    """Print a value as JSON in one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def show_csv(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows as CSV."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    sys.stdout.flush()


def width() -> int:
    """Return how many characters fit into a line."""
    return console_for(sys.stdout).width


def status_text(status: str) -> Text:
    """Return a status in its colour."""
    return Text(status, style=STATUS.get(status, ""))


def note(text: str) -> Text:
    """Return a remark that stands behind what matters."""
    return Text(text, style="dim")


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, left: Collection[str] = ()
) -> Table:
    """Return a table whose cells are never wrapped; columns other than those in `left` are aligned right."""
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column, justify="left" if column in left else "right", no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        made.add_row(*row)
    return made


def grid(rows: Sequence[tuple[Text, Text]]) -> Table:
    """Return terms with what there is to say about each, wrapped where a line is too short."""
    made = Table.grid(padding=(0, GAP, 0, 0))
    made.add_column(no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, left: Collection[str] = ()
) -> list[RenderableType]:
    """Return a table of the columns that fit into a line, and the names of the others."""
    kept = _fitting([max(map(len, column)) for column in zip(columns, *rows, strict=True)], width())
    hidden = [name for place, name in enumerate(columns) if place not in kept]
    shown = table(
        [columns[place] for place in kept], [[row[place] for place in kept] for row in rows], left=left
    )
    remark = f"no room for {', '.join(hidden)}; a wider window or --json shows all."
    return [shown, *([note(remark)] if hidden else ())]


def cut(text: str, room: int) -> str:
    """Return a text that fits."""
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"


def _fitting(widths: Sequence[int], limit: int) -> list[int]:
    """Return the places of the columns to show; where room is wanting, those in the middle give way."""
    order = sorted(range(len(widths)), key=lambda place: min(place, len(widths) - 1 - place))
    room = limit + GAP
    kept: list[int] = []
    for place in order:
        room -= widths[place] + GAP
        if room < 0:
            break
        kept.append(place)
    return sorted(kept) or [0]
