"""What all commands share: the application, its global options, and what its exit codes mean.

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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from typer.core import TyperGroup

from ...domain.errors import (
    AdmfError,
    CanceledError,
    ConfigurationError,
    ConflictError,
    DataError,
    NotFoundError,
    QueryError,
    StrategyError,
)

if TYPE_CHECKING:
    from typer._click import Context

    from ..streams.workspace import Workspace

P = ParamSpec("P")

FAILED = 1
INTERRUPTED = 130
EXIT_CODES: dict[type[AdmfError], int] = {
    ConfigurationError: 2,
    DataError: 2,
    StrategyError: 2,
    QueryError: 2,
    NotFoundError: 3,
    ConflictError: 4,
    CanceledError: INTERRUPTED,
}


ORDER = (
    *("run", "resume", "cancel", "fork", "status", "runs", "show", "report", "compare"),
    *("query", "events", "explain", "replay", "verify", "rebuild", "export", "import"),
    *("validate", "graph", "check", "components", "templates"),
)
"""The order in which the help lists the commands."""


class Commands(TyperGroup):
    """Commands in a given order, that take the global options before and after their name."""

    def list_commands(self, ctx: "Context") -> list[str]:
        """Return the names of the commands in the order in which people meet them."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

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

Workers = Annotated[int, typer.Option(min=1, help="Worker processes; the log is the same.")]
Parallel = Annotated[
    int | None, typer.Option(min=1, help="Phases at once, if not as many as the workflow says.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Simulate also what another run has completed.")]
AcceptCode = Annotated[bool, typer.Option("--accept-code", help="Go on with code that has changed.")]


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
        from ..streams.workspace import Workspace

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
