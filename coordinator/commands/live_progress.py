"""The progress of a run, live in the terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import local
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from ...domain.compiled import is_compiling
from .console import console_for


class _Counts(ProgressColumn):
    """Trials done and planned, trials per second, and the time elapsed and left."""

    def render(self, task: Task) -> Text:
        elapsed = (task.finished_time if task.finished else task.elapsed) or 0.0
        rate = task.completed / elapsed if elapsed else 0.0
        if is_compiling():
            return Text(f"compiling, once for this machine  {_clock(elapsed)}")
        if task.total is None:
            return Text(f"preparing  {_clock(elapsed)}")
        counts = f"{task.completed:,.0f}/{task.total:,.0f}"
        left = f"  {_clock((task.total - task.completed) / rate)} left" if rate and not task.finished else ""
        return Text(f"{counts} trials  {rate:,.0f}/s  {_clock(elapsed)}{left}", justify="right")


class _Phase(local):
    """The phase of the thread that asks: phases that run at once have a thread each."""

    task = TaskID(0)
    planned = 0


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class LiveProgress:
    """Shows one line for each phase on standard error while it is entered, if that is a terminal.

    A line holds the phase and its number, the trials that were completed and planned, trials per second, and
    the time elapsed and remaining.
    """

    def __init__(self) -> None:
        self._lines = Progress(
            TextColumn("{task.fields[number]}", style="dim"),
            TextColumn("{task.description}"),
            BarColumn(
                bar_width=None,
                style="dim",
                pulse_style="cyan",
                complete_style="cyan",
                finished_style="green",
            ),
            _Counts(),
            console=console_for(sys.stderr),
            transient=True,
            expand=True,
            disable=not sys.stderr.isatty(),
        )
        self._phase = _Phase()

    def phase_started(self, phase: str, number: int, phases: int) -> None:
        """Add a line for the phase."""
        self._phase.planned = 0
        self._phase.task = self._lines.add_task(phase, total=None, number=f"{number}/{phases}")

    def trials_planned(self, count: int) -> None:
        """Raise the number of trials that the bar stands for."""
        self._phase.planned += count
        self._lines.update(self._phase.task, total=self._phase.planned)

    def trials_completed(self, count: int) -> None:
        """Move the bar."""
        self._lines.update(self._phase.task, advance=count)

    def phase_completed(self, phase: str, *, cached: bool = False) -> None:
        """Leave the bar full."""
        count = self._phase.planned
        shown = f"{phase} (cached)" if cached else phase
        self._lines.update(self._phase.task, description=shown, total=count, completed=count)

    def __enter__(self) -> Self:
        self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.stop()


@contextmanager
def rebuild_progress() -> Iterator[Callable[[int, int], None]]:
    """Show how far a rebuild has come on standard error, if that is a terminal; yields what it is to tell."""
    columns = (TextColumn("events"), BarColumn(bar_width=None, style="dim"), MofNCompleteColumn())
    console = console_for(sys.stderr)
    line = Progress(*columns, console=console, transient=True, expand=True, disable=not sys.stderr.isatty())
    with line:
        task = line.add_task("", total=None)
        yield lambda position, last: line.update(task, completed=position, total=last)
