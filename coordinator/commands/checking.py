"""The command that checks strategies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .application import FAILED, Json, command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from ..audit.strategy_check import PointCheck, StrategyCheck


@command("check", "check mine.py", "check mine.py:trend --data eurusd.csv --timeframe 1h", "check momentum")
def check(
    context: typer.Context,  # noqa: ARG001
    source: Annotated[
        str, typer.Argument(metavar="STRATEGY", help="FILE.py, FILE.py:FUNCTION, or a registered type.")
    ],
    data: Annotated[str, typer.Option("--data", metavar="FILE", help="Bars to run over.")] = "sp500.csv",
    timeframe: Annotated[str, typer.Option(help="Of these bars.")] = "1d",
    bars: Annotated[int, typer.Option("--bars", min=1, help="How many of them, from the first on.")] = 2000,
    points: Annotated[int, typer.Option(min=1, help="Choices of parameters to try, at most.")] = 5,
    as_json: Json = False,
) -> None:
    """Look for look-ahead, chance and hidden state in strategies.

    Each strategy runs with its defaults and other points of its space: over bars that differ after bar t, or
    lack the first ones; twice; and, where nothing was found, in processes with other hash seeds. Found are:
    look-ahead, with the bar and the later one that it depends on; nondeterminism; history, which is targets
    that depend for good on where the bars begin; mutation of what it is handed; targets that are all NaN or
    outside [-1, 1]; errors. The exit code is 1 if there is any. What is not found may still be there, at
    other bars or parameters.
    """
    from ..audit.strategy_check import check_strategies
    from ..market.market_data import find_data_file, load_bars
    from .console import show, show_json

    path = find_data_file(data)
    loaded = load_bars(path, path.name.partition(".")[0].upper(), timeframe)
    loaded = loaded.head(min(bars, len(loaded)))
    found = check_strategies(source, loaded, (Path.cwd(),), points)
    if as_json:
        show_json({"symbol": loaded.symbol, "bars": len(loaded), "strategies": found})
    else:
        show(*(part for each in found for part in _screen(each)))
    if not all(each.clean for each in found):
        raise typer.Exit(FAILED)


def _screen(found: "StrategyCheck") -> "Iterator[RenderableType]":
    """Return the verdict on a strategy, and below it what was found, once for all points that share it."""
    from rich.text import Text

    count = len(found.points)
    tried = f"{count} point{'s' if count > 1 else ''} tried"
    if found.clean:
        yield Text.assemble(
            (found.strategy, "bold"), "  ", ("clean", "green"), f", {tried}; {_memory(found)}"
        )
        return
    bad = sum(bool(point.findings) for point in found.points)
    yield Text.assemble((found.strategy, "bold"), "  ", (f"found at {bad}", "bold red"), f" of {tried}")
    at: dict[tuple[str, str], list[PointCheck]] = {}
    for point in found.points:
        for finding in point.findings:
            at.setdefault((finding.kind, finding.message), []).append(point)
    for (kind, message), points in at.items():
        yield Text.assemble("  ", (kind, "red"), f"  {message}", (_said(points), "dim"))


def _memory(found: "StrategyCheck") -> str:
    known = [point.settles_after for point in found.points if point.settles_after is not None]
    if len(known) < len(found.points):
        return "what came before fades, as in recursive averages"
    return f"what came before matters for {max(known):,} bar{'' if max(known) == 1 else 's'} at most"


def _said(points: "Sequence[PointCheck]") -> str:
    given = [f"{name}={value}" for name, value in points[0].parameters.items()]
    more = f" and {len(points) - 1} more" if len(points) > 1 else ""
    return f"  with {', '.join(given)}{more}" if given else ""
