"""Commands about the log itself."""

from typing import Annotated

import typer

from .application import Json, command


@command("events", "events last", "events last/training --type OrdersFilled --container 3")
def events(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(metavar="RUN[/PHASE]", help="A run, or one of its phases.")],
    kind: Annotated[str, typer.Option("--type", help="Only events of this type.")] = "",
    container: Annotated[int | None, typer.Option(help="Only events of this container.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what happened, event by event, from the log.

    The time is that of the event's bar, or of its recording where it has none. With --json, {"events": [...],
    "more": the number of events beyond the limit}.
    """
    from ..logical_events import select_events
    from ..run_list import find_run
    from .console import show, show_json
    from .screens import events_screen

    part, slash, phase = stream.partition("/")
    with context.obj.workspace() as workspace:
        name = part if part.startswith("bars-") else find_run(workspace, part) + slash + phase
        selection = select_events(workspace.store, name, kind=kind, container=container, limit=limit)
    if as_json:
        show_json(selection)
    else:
        show(*events_screen(name, selection))
