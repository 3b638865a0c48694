"""Commands about runs and what came of them."""

from pathlib import Path
from typing import Annotated

import typer

from .application import Json, Run, command


@command("runs", "runs")
def runs(context: typer.Context, as_json: Json = False) -> None:
    """List the runs, newest first."""
    from ..monitoring.run_list import list_runs
    from .console import show, show_json
    from .screens import runs_screen

    with context.obj.workspace() as workspace:
        entries = list_runs(workspace)
    if as_json:
        show_json(entries)
    else:
        show(*runs_screen(entries))


@command("show", "show last", "show ab12cd34 --returns", "show ab12cd34 --json")
def show_run(
    context: typer.Context,
    run: Run,
    returns: Annotated[bool, typer.Option("--returns", help="Show returns by month and year.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a run came to, with top trials and folds."""
    from ..monitoring.run_list import find_run, list_runs
    from ..result import WorkflowResult
    from .console import show, show_json
    from .run_report import detail_screen, run_object, run_screen

    with context.obj.workspace() as workspace:
        found = find_run(workspace, run)
        result, entry = WorkflowResult(workspace, found), list_runs(workspace, found)[0]
        if returns:
            from .returns_table import returns_object, returns_screen

            if as_json:
                show_json(returns_object(result))
            else:
                show(*returns_screen(result))
        elif as_json:
            show_json(run_object(workspace, result, entry))
        else:
            show(*run_screen(workspace, result, entry), *detail_screen(workspace, result))


@command("report", "report last", "report ab12cd34 --to study.html --open")
def report(
    context: typer.Context,
    run: Run,
    target: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FILE", help="Where to. [default: the run's id .html]", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    opened: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write a page with charts of what a run came to.

    Equity, returns, trades, trials, folds and regimes, in one HTML file that needs no network. Charts are
    drawn with plotly: pip install 'admf[report]'. With --json, {"file": ...}.
    """
    from ..monitoring.run_list import find_run
    from ..reporting.report import write_report
    from .console import note, show, show_json

    with context.obj.workspace() as workspace:
        found = find_run(workspace, run)
        file = write_report(workspace, found, target or Path(f"{found}.html"), overwrite=force)
    if as_json:
        show_json({"file": str(file)})
    else:
        show(str(file), note(found))
    if opened:
        typer.launch(str(file))


@command("query", 'query "SELECT run, phase, status FROM phases"', 'query "FROM trades" --csv')
def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that only reads.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Ask the read models in SQL, read only."""
    from .answer_table import answer_screen
    from .console import show, show_csv, show_json

    with context.obj.workspace() as workspace:
        answer = workspace.read_models.query(sql)
    if as_json:
        show_json(answer.records())
    elif as_csv:
        show_csv(answer.columns, [row.values() for row in answer.records()])
    else:
        show(*answer_screen(answer))
