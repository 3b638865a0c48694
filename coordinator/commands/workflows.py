"""Commands about workflows: running them, and what they can be made of."""

from typing import Annotated

import typer

from .application import Changes, Json, NoCache, Parallel, Source, Workers, command


@command("run", "run train_test", "run study.yaml --workers 4 --set training.data.start=2001-01-01")
def run(
    context: typer.Context,
    source: Source,
    workers: Workers = 1,
    parallel: Parallel = None,
    changes: Changes = None,
    no_cache: NoCache = False,
    as_json: Json = False,
) -> None:
    """Run a workflow, and show what it came to.

    Phases that a run in the store has completed with the same configuration, data and code are taken over.
    """
    from ..coordinator import Coordinator
    from .live_progress import LiveProgress
    from .outcome import show_outcome

    progress = LiveProgress()
    with Coordinator(context.obj.store, workers=workers, progress=progress, parallel=parallel) as coordinator:
        with progress:
            result = coordinator.execute_workflow(source, changes or (), cache=not no_cache)
        show_outcome(coordinator.workspace, result, context.obj, as_json=as_json)


@command("validate", "validate train_test", "validate study.yaml --set capital=50000")
def validate(context: typer.Context, source: Source, changes: Changes = None, as_json: Json = False) -> None:  # noqa: ARG001
    """Check a workflow, its data and strategies; run nothing."""
    from ..workflows.check import check_workflow
    from ..workflows.loading import load_workflow
    from .console import note, show, show_json
    from .screens import check_object, check_screen

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
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE.py", help="Print this one; list those of a Python file.")
    ] = "",
    as_json: Json = False,
) -> None:
    """List templates of workflows, or print one that ships with the package.

    Those that an installed package offers under the entry point `admf.workflows`, and `FILE.py:NAME`, are
    names for `admf run` and `admf graph`, too.
    """
    from . import catalog
    from .console import show, show_json
    from .screens import templates_screen

    if name and not name.endswith(".py"):
        one = catalog.template(name)
        if as_json:
            show_json(one)
        else:
            typer.echo(one.text, nl=False)
        return
    found = catalog.templates_of(name) if name else catalog.shipped_templates() + catalog.offered_templates()
    if as_json:
        show_json(found)
    else:
        show(templates_screen(found))
