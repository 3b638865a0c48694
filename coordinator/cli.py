"""The command line: what each command takes, and what its exit code means.

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | a violation was found, or the run failed while it was running |
| 2 | wrong usage or bad input: a configuration, data, a strategy, SQL |
| 3 | not found |
| 4 | conflict: another process writes the same stream |
| 130 | interrupted |

Nothing heavy is imported before a command needs it, so that help and completion are immediate.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn, ParamSpec

import typer
from typer.core import TyperGroup

from ..domain.errors import (
    AdmfError,
    ConfigurationError,
    ConflictError,
    DataError,
    NotFoundError,
    QueryError,
    StrategyError,
)

if TYPE_CHECKING:
    from typer._click import Context

    from .workspace import Workspace

P = ParamSpec("P")

EXIT_CODES: dict[type[AdmfError], int] = {
    ConfigurationError: 2,
    DataError: 2,
    StrategyError: 2,
    QueryError: 2,
    NotFoundError: 3,
    ConflictError: 4,
}
FAILED = 1
INTERRUPTED = 130


class Commands(TyperGroup):
    """Commands that take the global options before and after their name."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Move the global options to the front."""
        front: list[str] = []
        rest = list(args)
        place = 0
        while place < len(rest) and rest[place] != "--":
            if rest[place] == "--debug" or rest[place].startswith("--store="):
                front.append(rest.pop(place))
            elif rest[place] == "--store":
                front += rest[place : place + 2]
                del rest[place : place + 2]
            else:
                place += 1
        return super().parse_args(ctx, front + rest)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Its id, the beginning or end of it, or 'last'.")]
Source = Annotated[str, typer.Argument(metavar="FILE|TEMPLATE", help="A YAML file, or a template's name.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting; may be repeated."),
]


@contextmanager
def errors_reported(*, as_json: bool, debug: bool) -> Iterator[None]:
    """Turn an error into one paragraph, or one object, and an exit code."""
    try:
        yield
    except AdmfError as error:
        if debug:
            raise
        code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)
        _report(type(error).__name__, "error", error, as_json=as_json)
        raise typer.Exit(code) from None
    except KeyboardInterrupt as interrupt:
        if debug:
            raise
        _report("Interrupted", "interrupted", interrupt, as_json=as_json)
        raise typer.Exit(INTERRUPTED) from None


def _report(kind: str, word: str, error: BaseException, *, as_json: bool) -> None:
    from rich.text import Text

    from .console import show, show_json

    message = " ".join(filter(None, [str(error), *getattr(error, "__notes__", ())])) or "no run was begun."
    if as_json:
        show_json({"error": {"type": kind, "message": message}})
    else:
        show(Text.assemble((f"{word}:", "bold red"), " ", message), error=True)


def command(name: str, *examples: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Register a command under a name, with examples in its help, and report its errors."""

    def register(function: Callable[P, None]) -> Callable[P, None]:
        @wraps(function)
        def reporting(*args: P.args, **kwargs: P.kwargs) -> None:
            said = getattr(kwargs.get("context"), "obj", None)
            debug = isinstance(said, Globals) and said.debug
            with errors_reported(as_json=kwargs.get("as_json") is True, debug=debug):
                function(*args, **kwargs)

        lines = "".join(f"\n  admf {example}" for example in examples)
        app.command(name, epilog=f"\b\nExample{'s' if len(examples) > 1 else ''}:{lines}")(reporting)
        return reporting

    return register


class Globals:
    """What the global options said."""

    def __init__(self, store: str | None, *, debug: bool) -> None:
        self.store = store
        self.debug = debug

    def workspace(self) -> "Workspace":
        """Open the workspace for reading; where there is none, `NotFoundError` is raised."""
        from .workspace import Workspace

        return Workspace(self.store, create=False)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"admf {version('admf')}")
        raise typer.Exit


@app.callback()
def global_options(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option(
            help="Where runs are kept: a folder, an SQLite file or postgresql://... [default: .admf]",
            envvar="ADMF_STORE",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Multi-phase trading research in which every backtest is a ledger."""
    context.obj = Globals(store, debug=debug)


@command("run", "run train_test", "run study.yaml --workers 4 --set training.data.start=2001-01-01")
def run(
    context: typer.Context,
    source: Source,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes; the log is the same.")] = 1,
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Run a workflow, and show what it came to."""
    from .console import note, show, show_json
    from .coordinator import Coordinator
    from .live_progress import LiveProgress
    from .run_list import list_runs
    from .run_report import hints, run_object, run_screen

    progress = LiveProgress()
    with Coordinator(context.obj.store, workers=workers, progress=progress) as coordinator:
        with progress:
            result = coordinator.execute_workflow(source, changes or ())
        workspace = coordinator.workspace
        entry = list_runs(workspace, result.run)[0]
        if as_json:
            show_json(run_object(workspace, result, entry))
            return
        for warning in result.warnings:
            show(note(f"warning: {warning}"), error=True)
        show(*run_screen(workspace, result, entry))
        if workspace.name != "memory://":
            show(hints(result, workspace.name if context.obj.store else ""))


@command("runs", "runs")
def runs(context: typer.Context, as_json: Json = False) -> None:
    """List the runs, newest first."""
    from .console import show, show_json
    from .run_list import list_runs
    from .screens import runs_screen

    with context.obj.workspace() as workspace:
        entries = list_runs(workspace)
    if as_json:
        show_json(entries)
    else:
        show(*runs_screen(entries))


@command("show", "show last", "show ab12cd34 --json")
def show_run(context: typer.Context, run: Run, as_json: Json = False) -> None:
    """Show what a run came to, with top trials and folds."""
    from .console import show, show_json
    from .result import WorkflowResult
    from .run_list import find_run, list_runs
    from .run_report import detail_screen, run_object, run_screen

    with context.obj.workspace() as workspace:
        found = find_run(workspace, run)
        result, entry = WorkflowResult(workspace, found), list_runs(workspace, found)[0]
        if as_json:
            show_json(run_object(workspace, result, entry))
        else:
            show(*run_screen(workspace, result, entry), *detail_screen(workspace, result))


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
    from .console import show, show_json
    from .logical_events import select_events
    from .run_list import find_run
    from .screens import events_screen

    part, slash, phase = stream.partition("/")
    with context.obj.workspace() as workspace:
        name = part if part.startswith("bars-") else find_run(workspace, part) + slash + phase
        selection = select_events(workspace.store, name, kind=kind, container=container, limit=limit)
    if as_json:
        show_json(selection)
    else:
        show(*events_screen(name, selection))


@command("query", 'query "SELECT run, phase, status FROM phases"', 'query "FROM trades" --csv')
def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that only reads.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Ask the read models in SQL, read only."""
    from .console import show, show_csv, show_json
    from .screens import answer_screen

    with context.obj.workspace() as workspace:
        answer = workspace.read_models.query(sql)
    if as_json:
        show_json(answer.records())
    elif as_csv:
        show_csv(answer.columns, [row.values() for row in answer.records()])
    else:
        show(*answer_screen(answer))


@command("validate", "validate train_test", "validate study.yaml --set capital=50000")
def validate(context: typer.Context, source: Source, changes: Changes = None, as_json: Json = False) -> None:  # noqa: ARG001
    """Check a workflow, its data and strategies; run nothing."""
    from .console import note, show, show_json
    from .loading import load_workflow
    from .screens import check_object, check_screen
    from .workflow_check import check_workflow

    check = check_workflow(load_workflow(source, changes or ()))
    if as_json:
        show_json(check_object(check))
        return
    for warning in check.warnings:
        show(note(f"warning: {warning}"), error=True)
    show(*check_screen(check))


@command("components", "components", "components sharpe_ratio")
def components(
    context: typer.Context,  # noqa: ARG001
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only what has this name.")] = "",
    as_json: Json = False,
) -> None:
    """List what a workflow can name: strategies, metrics, ..."""
    from . import catalog
    from .console import show, show_json
    from .screens import component_screen, components_screen

    found = catalog.components_named(name) if name else catalog.components()
    if as_json:
        show_json(found)
    elif name:
        show(*(part for component in found for part in component_screen(component)))
    else:
        show(*components_screen(found))


@command("templates", "templates", "templates train_test > study.yaml")
def templates(
    context: typer.Context,  # noqa: ARG001
    name: Annotated[str, typer.Argument(metavar="NAME", help="Print this one.")] = "",
    as_json: Json = False,
) -> None:
    """List the workflows that ship with the package, or print one."""
    from . import catalog
    from .console import show, show_json
    from .screens import templates_screen

    found = (catalog.template(name),) if name else catalog.shipped_templates()
    if as_json:
        show_json(found[0] if name else found)
    elif name:
        typer.echo(found[0].text, nl=False)
    else:
        show(templates_screen(found))


def main() -> None:
    """Run the command line; a request to terminate counts as an interrupt."""
    signal.signal(signal.SIGTERM, _interrupt)
    app(prog_name="admf")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt
