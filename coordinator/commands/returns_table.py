"""Returns of the containers that the phases of a run chose, by year and month."""

from calendar import month_abbr
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from ..result import PhaseResult, WorkflowResult
from .console import fitted, note


def returns_object(result: WorkflowResult) -> dict[str, dict[int, dict[str, float]]]:
    """Return fractions by phase and year: of each month with bars by its number, and of the ``year``."""
    return {
        phase.name: {
            year: {str(month): value for month, value in months.items() if value is not None}
            | {"year": total}
            for year, months, total in _years(phase)
        }
        for phase in _chosen(result)
    }


def returns_screen(result: WorkflowResult) -> list[RenderableType]:
    """Return a table for each phase that chose a container: a row per year."""
    screen: list[RenderableType] = []
    for phase in _chosen(result):
        rows = [
            [str(year), *(_percent(value) for value in months.values()), _percent(total)]
            for year, months, total in _years(phase)
        ]
        best = phase.output.best.container if phase.output.best else 0
        title = Text(f"{phase.name}, container {best}", style="bold")
        screen += [title, *fitted(["", *month_abbr[1:], "year"], rows)]
    return screen or [note("No phase chose a container whose fills are in the log.")]


def _chosen(result: WorkflowResult) -> list[PhaseResult]:
    return [
        phase
        for phase in result.phases.values()
        if phase.ended_well and phase.output.best is not None and not phase.equity().empty
    ]


def _years(phase: PhaseResult) -> Iterator[tuple[int, dict[int, float | None], float]]:
    """Yield each year with its months, None where there are no bars, and its return."""
    months, totals = phase.monthly_returns(), phase.yearly_returns()
    rows = zip(months.index.tolist(), months.to_numpy().tolist(), totals.tolist(), strict=True)
    for year, values, total in rows:
        yield (
            year,
            {number: value if value == value else None for number, value in enumerate(values, 1)},
            total,
        )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
