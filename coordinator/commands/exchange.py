"""Commands that carry runs to other programs, and from one store to another."""

from pathlib import Path
from typing import Annotated

import typer

from .application import Json, Run, command


@command("export", "export last", "export last --format csv --to tables", "export ab12cd34 --to run.admf")
def export(
    context: typer.Context,
    run: Run,
    target: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="FOLDER|FILE", help="Where to. [default: the run's id]", show_default=False
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="parquet, csv, jsonl or archive. [default: by the file's ending, else parquet]",
            show_default=False,
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run to files.

    parquet and csv make a folder with a file for each table of the read models (equity and positions only of
    the containers that the phases chose), jsonl one file with an event in each line, archive one file (.admf)
    that `admf import` takes into another store. With --json, {"files": [...]}.
    """
    from ..monitoring.run_list import find_run
    from ..streams.export import export_run
    from .console import note, show, show_json

    with context.obj.workspace() as workspace:
        found = find_run(workspace, run)
        files = export_run(workspace.store, found, kind=kind, target=target, overwrite=force)
    if as_json:
        show_json({"files": [str(file) for file in files]})
    else:
        show(*map(str, files), note(found))


@command("import", "import run.admf", "import run.admf --store elsewhere")
def import_run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `admf export` made.")],
    as_json: Json = False,
) -> None:
    """Take a run out of an archive into the store, with all its hashes.

    Nothing is imported unless the whole archive is as it was written. What the store holds already is passed
    over. With --json, {"run", "streams", "events", "rows"}: the run, the number of its streams, and of the
    stored and logical events that were new.
    """
    from ..streams.archive import import_archive
    from ..streams.workspace import Workspace
    from .console import note, show, show_json

    with Workspace(context.obj.store) as workspace:
        done = import_archive(workspace.store, file)
        name = workspace.name
    if as_json:
        show_json(done)
        return
    new = f"{done.events:,} stored events with {done.rows:,} rows" if done.events else "nothing new"
    show(f"{done.run}  {new}", note(f"in {name}; `admf verify {done.run}` checks it."))
