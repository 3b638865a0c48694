"""What is shown at the end of commands that carry a run out."""

from collections.abc import Mapping

import msgspec
import typer

from ..monitoring.run_list import run_entry
from ..result import WorkflowResult
from ..streams.workspace import MEMORY, Workspace
from .application import FAILED, Globals
from .console import note, show, show_json
from .run_report import hints, run_object, run_screen


def show_outcome(
    workspace: Workspace,
    result: WorkflowResult,
    given: Globals,
    *,
    as_json: bool,
    more: Mapping[str, object] | None = None,
) -> None:
    """Show what a run came to, its warnings, and what may be asked next; JSON has the keys in `more` too.

    Ends the command with exit code 1 if a phase failed and the workflow went on.
    """
    entry = run_entry(workspace, result.run)
    if as_json:
        show_json({**msgspec.structs.asdict(run_object(workspace, result, entry)), **(more or {})})
    else:
        for warning in result.warnings:
            show(note(f"warning: {warning}"), error=True)
        show(*run_screen(workspace, result, entry))
        if workspace.name != MEMORY:
            show(hints(result, workspace.name if given.store else ""))
    if result.failed:
        raise typer.Exit(FAILED)
