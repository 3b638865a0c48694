"""The command that verifies a store."""

from typing import TYPE_CHECKING, Annotated

import typer

from .application import FAILED, Json, command

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..audit.verification import Verification
    from ..streams.workspace import Workspace

SHOWN = 100
"""Violations that are shown to people; all of them are in the JSON."""


@command("verify", "verify", "verify last")
def verify(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Only this run and what it refers to.", show_default=False),
    ] = "",
    as_json: Json = False,
) -> None:
    """Check the log, its metrics, and the read models.

    Hash chains, contiguity, payloads, references between streams; metrics, measured anew from fills and bars;
    read models, compared row by row with a projection of the log. Each violation has its address and the rule
    that is broken, and the exit code is 1 if there is any. With --json, {"violations": [{"address", "rule",
    "message"}], "checked": {"streams", "events", "rows", "metrics", "read_model_rows"}}.
    """
    from ..audit.verification import verify_workspace
    from .console import show, show_json
    from .live_progress import rebuild_progress

    with context.obj.workspace() as workspace:
        chosen = _run_id(workspace, run)
        with rebuild_progress() as progress:
            verification = verify_workspace(workspace, chosen, progress)
    if as_json:
        show_json(verification)
    else:
        show(*_screen(verification))
    if verification.violations:
        raise typer.Exit(FAILED)


def _run_id(workspace: "Workspace", part: str) -> str:
    """Return the id of a run; as it is where read models that are damaged can't tell."""
    from ...domain.errors import StoreError
    from ..monitoring.run_list import find_run

    try:
        return find_run(workspace, part) if part else ""
    except StoreError:
        return part


def _screen(verification: "Verification") -> list["RenderableType"]:
    """Return the violations, or that there are none, with how much was checked."""
    from rich.text import Text

    from .console import note

    found, checked = verification.violations, verification.checked
    counts = (
        f"{checked.streams:,} streams, {checked.events:,} events, {checked.rows:,} rows, {checked.metrics:,} "
        f"metrics, {checked.read_model_rows:,} rows of read models"
    )
    if not found:
        return [Text.assemble(("no violation", "green"), f" in {counts}")]
    lines: list[RenderableType] = [
        Text.assemble((each.address, "bold"), "  ", (each.rule, "red"), f"  {each.message}")
        for each in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(note(f"and {len(found) - SHOWN:,} more; --json shows all."))
    plural = "violation" if len(found) == 1 else "violations"
    return [*lines, Text.assemble((f"{len(found):,} {plural}", "bold red"), f" in {counts}")]
