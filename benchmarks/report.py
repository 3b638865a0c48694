"""Tables of what was measured, as Markdown. No ratio is printed between engines that did not do the same."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from .measuring import Measured, ratio

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


class Table(NamedTuple):
    """A table with a heading and a sentence below it."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        """Write it as Markdown; cells to the right of the first are aligned to the right."""
        lines = [f"### {self.title}", ""]
        lines.append(f"| {' | '.join(self.header)} |")
        lines.append(f"| --- |{' ---: |' * (len(self.header) - 1)}")
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


class Bar(NamedTuple):
    """A goal, and how near we came; ``met`` is None where it was not measured."""

    work: str
    goal: str
    measured: str
    met: bool | None


def shown_seconds(value: float) -> str:
    """Write seconds with three digits."""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def spread(seconds: Sequence[float]) -> str:
    """Write the median, the least and the greatest of some seconds, and how many there were."""
    middle = shown_seconds(statistics.median(seconds))
    if len(seconds) == 1:
        return f"{middle} [1 run]"
    return f"{middle} [{min(seconds):.3g} to {max(seconds):.3g}, {len(seconds)} runs]"


def times(value: float | None) -> str:
    """Write a ratio with two or three digits."""
    if value is None:
        return "differs"
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def timing_table(title: str, measured: dict[str, Measured], base: str, note: str = "") -> Table:
    """Compare all engines with ``base``: how many times as long each one takes."""
    rows = []
    for one in measured.values():
        if one.difference:
            rows.append((one.name, "-", "-", "-", "-", one.difference.splitlines()[-1]))
            continue
        rows.append(
            (
                one.name,
                spread(one.seconds),
                shown_seconds(one.answer.seconds),
                f"{one.peak_mb:,.0f}",
                times(ratio(measured[base], one)),
                agreement(one, base),
            )
        )
    header = ("engine", "warm", "first run", "peak MB", f"of {base}", "agrees")
    return Table(title, header, rows, note)


def agreement_table(title: str, measured: dict[str, Measured], base: str) -> Table:
    """Say of all engines whether they agree, and nothing of time."""
    rows = [
        (one.name, f"{one.answer.trades:,}", f"{one.answer.final_equity:,.6f}", agreement(one, base))
        for one in measured.values()
    ]
    return Table(title, ("engine", "trades closed", "last final equity", "agrees"), rows)


def agreement(one: Measured, base: str) -> str:
    """Say what an engine agrees in."""
    if one.difference:
        return f"no: {one.difference.splitlines()[-1]}"
    if one.name == base:
        return f"{one.answer.trades:,} trades, {one.answer.fills:,} fills"
    if not one.answer.combinations:
        return "not compared"
    return "equity, trades, fills" if one.answer.fills else "equity, trades"


def bars_table(bars: Sequence[Bar]) -> Table:
    """Say of each goal how near we came."""
    verdict = {True: "yes", False: "no", None: "not measured"}
    rows = [(bar.work, bar.goal, bar.measured, verdict[bar.met]) for bar in bars]
    return Table("Goals", ("work", "goal", "measured", "met"), rows)


def replaced(document: str, measured: str) -> str:
    """Put a new measured part between the two marks of a document.

    Raises
    ------
    ValueError
        The document does not have both marks, in order, once each.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise ValueError(f"the document must have the marks {BEGIN} and {END} once each, in this order.")
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"
