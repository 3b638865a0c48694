"""Commands about the log itself."""

from typing import Annotated

import typer

from .application import Json, command

Since = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="Only from this date, or date and time in UTC, on.", show_default=False
    ),
]
Until = Annotated[
    str, typer.Option(metavar="TIME", help="Only until then; a date includes its day.", show_default=False)
]


@command(
    "events",
    "events last",
    "events last/training --type OrdersFilled --container 3",
    "events last/training --since 2008-09-15 --until 2008-10-15",
    "events last/training --follow",
)
def events(  # noqa: PLR0913 - each option is a parameter
    context: typer.Context,
    stream: Annotated[str, typer.Argument(metavar="RUN[/PHASE]", help="A run, or one of its phases.")],
    kind: Annotated[str, typer.Option("--type", help="Only events of this type.", show_default=False)] = "",
    container: Annotated[int | None, typer.Option(help="Only events of this container.")] = None,
    symbol: Annotated[str, typer.Option(help="Only events of this symbol.", show_default=False)] = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the last ones, then new ones until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what happened, event by event, from the log.

    The time is that of the event's bar, or of its recording where it has none; --since and --until mean the
    same time. With --json, {"events": [...], "more": the number of events beyond the limit}; with --follow
    too, one event in each line.
    """
    from ..monitoring.run_list import find_stream
    from ..streams.event_filter import EventFilter, moments
    from ..streams.logical_events import follow_events, select_events
    from .console import show, show_json, show_json_line
    from .screens import event_line, events_screen

    wanted = EventFilter(
        kind=kind,
        container=container,
        symbol=symbol,
        since=moments(since)[0] if since else None,
        until=moments(until)[1] if until else None,
    )
    with context.obj.workspace() as workspace:
        name = find_stream(workspace, stream)
        if follow:
            try:
                for event in follow_events(workspace.store, name, wanted, limit=limit):
                    show_json_line(event) if as_json else show(event_line(event))
            except KeyboardInterrupt:
                return
        selection = select_events(workspace.store, name, wanted, limit=limit)
    if as_json:
        show_json(selection)
    else:
        show(*events_screen(name, selection))


@command("rebuild", "rebuild")
def rebuild(
    context: typer.Context,
    projection: Annotated[
        str,
        typer.Argument(
            metavar="PROJECTION", help="'all': the tables are one projection.", show_default=False
        ),
    ] = "all",
    as_json: Json = False,
) -> None:
    """Build the read models anew from the log.

    The old tables can be asked until the new ones take their place, and stay if this is interrupted. Tables
    follow from one another (trades from fills, fills from orders), so that they are built together. With
    --json, {"events": the number of stored events that were applied}.
    """
    from ...domain.errors import ConfigurationError
    from .console import note, show, show_json
    from .live_progress import rebuild_progress

    if projection != "all":
        raise ConfigurationError(
            f"the tables follow from one another and are built together, not {projection!r}: `admf rebuild`."
        )
    with context.obj.workspace() as workspace:
        with rebuild_progress() as progress:
            count = workspace.read_models.rebuild(progress)
        name = workspace.name
    if as_json:
        show_json({"events": count})
    else:
        show(f"built from {count:,} stored events", note(f"in {name}"))
