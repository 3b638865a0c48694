"""Commands that look at runs: how far they have come, and in what two of them differ."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from .application import FAILED, INTERRUPTED, Json, Run, command

if TYPE_CHECKING:
    from ..monitoring.status import RunStatus

INTERVAL = 0.5
"""Seconds between two looks at a run that is watched."""
CODES = {"running": 0, "completed": 0, "failed": FAILED, "stale": FAILED, "canceled": INTERRUPTED}
"""Exit codes of watching a run to its end."""


@command("status", "status", "status last --watch")
def status(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="One run; else all that are under way.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the run ends.")] = False,
    as_json: Json = False,
) -> None:
    """Show how far a run has come.

    When the phase ends is estimated from the time that its shards have taken. With --watch, the exit code is
    that of the run: 0 completed, 1 failed (also only in some phases) or stale, 130 canceled. With --json, an
    object for one run, else a list: {"run", "name", "status", "reason", "started_at", "elapsed", "completed",
    "phases", "skipped", "failed", "phase", "cached", "under_way": [{"phase", "elapsed", "shards", "trials",
    "planned", "ends_at", "retries"}], "shards", "trials", "planned", "phase_ends_at", "host", "process"}.
    """
    from ..monitoring.run_list import find_run, list_runs
    from ..monitoring.status import RunStatus, run_status
    from .console import show, show_json
    from .lifecycle_screens import status_screen

    with context.obj.workspace() as workspace:
        active = [entry.run for entry in list_runs(workspace) if entry.status in ("running", "stale")]
        runs = [find_run(workspace, run)] if run else active

        def ask() -> list[RunStatus]:
            return [run_status(workspace.store, each) for each in runs]

        found = _watched(ask, live=not as_json) if watch else ask()
    if as_json:
        show_json(found[0] if run else found)
    elif not (watch and sys.stdout.isatty()):
        show(*status_screen(found))
    if watch and (code := max((FAILED if each.failed else CODES[each.status] for each in found), default=0)):
        raise typer.Exit(code)


@command("compare", "compare last ab12cd34")
def compare(context: typer.Context, first: Run, second: Run, as_json: Json = False) -> None:
    """Show in what two runs differ: settings, metrics, events.

    Of two streams, the first difference after their start is shown. With --json, {"first", "second",
    "settings": [{"key", "first", "second"}], "phases": [{"phase", "first", "second": {"stream", "events",
    "rows", "head_hash"}, "identical", "divergence": {"event", "address", "type", "field", "first", "second"},
    "metrics": [{"name", "first", "second", "change"}]}]}.
    """
    from ..audit.run_comparison import compare_runs
    from ..monitoring.run_list import find_run
    from .console import show, show_json
    from .lifecycle_screens import comparison_screen

    with context.obj.workspace() as workspace:
        found = compare_runs(workspace.store, find_run(workspace, first), find_run(workspace, second))
    if as_json:
        show_json(found)
    else:
        show(*comparison_screen(found))


def _watched(ask: Callable[[], list["RunStatus"]], *, live: bool) -> list["RunStatus"]:
    """Ask until no run is under way any more; a terminal shows each answer in place of the one before."""
    from contextlib import nullcontext

    from rich.console import Group
    from rich.live import Live

    from .console import console_for
    from .lifecycle_screens import status_screen

    shown = live and sys.stdout.isatty()
    with Live(console=console_for(sys.stdout), auto_refresh=False) if shown else nullcontext() as screen:
        try:
            while True:
                found = ask()
                if screen:
                    screen.update(Group(*status_screen(found)), refresh=True)
                if all(each.status != "running" for each in found):
                    return found
                time.sleep(INTERVAL)
        except KeyboardInterrupt as interrupt:
            interrupt.add_note("nothing is watched any more; the run goes on.")
            raise
