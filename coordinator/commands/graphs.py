"""The command that shows the graph of a workflow or a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .application import Json, command

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from ..monitoring.graph_diagram import GraphPicture, PhasePicture


@command("graph", "graph train_test", "graph last", "graph study.yaml --format mermaid")
def graph(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="FILE|TEMPLATE|RUN", help="A YAML file, a template's name, or a run.")
    ],
    form: Annotated[
        Literal["tree", "mermaid"], typer.Option("--format", help="For the terminal, or for documents.")
    ] = "tree",
    as_json: Json = False,
) -> None:
    """Show the phases of a workflow or a run, and what each depends on.

    With --json, {"name", "phases": [{"name", "type", "after", "when", "notes", "status", "turns",
    "reason"}]}.
    """
    from ..configuration.sources import templates
    from ..monitoring.graph_diagram import mermaid, run_picture, workflow_picture
    from ..monitoring.run_list import find_run
    from ..workflows.loading import load_workflow
    from ..workflows.templates import find_template
    from .console import show, show_json

    if Path(source).is_file() or source in templates() or find_template(source):
        picture = workflow_picture(load_workflow(source))
    else:
        with context.obj.workspace() as workspace:
            picture = run_picture(workspace.store, find_run(workspace, source))
    if as_json:
        show_json(picture)
    elif form == "mermaid":
        typer.echo(mermaid(picture), nl=False)
    else:
        show(graph_screen(picture))


def graph_screen(picture: "GraphPicture") -> "Tree":
    """Return a tree in which each phase stands below the last one that it depends on."""
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text(picture.name, style="bold"), guide_style="dim")
    branches: dict[str, Tree] = {}
    for phase in picture.phases:
        above = max(phase.after, key=list(branches).index) if phase.after else ""
        parent = branches[above] if above else root
        branches[phase.name] = parent.add(Text("\n").join(_lines(phase, above)))
    return root


def _lines(phase: "PhasePicture", above: str) -> "list[Text]":
    from rich.text import Text

    from .console import note, status_text

    head = Text.assemble((phase.name, "bold"), f"  {phase.type}")
    if phase.status:
        head.append("  ").append_text(status_text(phase.status))
    if phase.turns > 1:
        head.append(f", {phase.turns} turns")
    others = [name for name in phase.after if name != above]
    notes = [
        *([f"also after {', '.join(others)}"] if others else []),
        *([f"when {phase.when}"] if phase.when and phase.when not in phase.reason else []),
        *phase.notes,
        *([phase.reason] if phase.reason else []),
    ]
    return [head, *map(note, notes)]
