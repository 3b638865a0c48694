"""Commands that carry runs on, stop them, and carry them out again."""

from typing import TYPE_CHECKING, Annotated

import typer

from ...domain.errors import ChangedError, ConfigurationError, StrategyError
from .application import FAILED, AcceptCode, Changes, Json, Parallel, Run, Workers, command

if TYPE_CHECKING:
    from ..audit.replay import RunReplay
    from ..coordinator import Coordinator


@command("resume", "resume last", "resume ab12cd34 --workers 4")
def resume(
    context: typer.Context,
    run: Run,
    accept_code: AcceptCode = False,
    workers: Workers = 1,
    parallel: Parallel = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="resources.KEY=VALUE", help="Change a limit; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Carry a run on where it was stopped, and show what it came to.

    What was completed is passed over: whole phases, and shards of the phase in which the run was stopped.
    With --json, the keys of `admf run`, and "passed_over": {"phases": [...], "phase", "shards", "trials"}.
    """
    from ..coordinator import Coordinator
    from ..monitoring.run_list import find_run
    from ..monitoring.status import passed_over
    from .console import note, show
    from .lifecycle_screens import passed_over_text
    from .live_progress import LiveProgress
    from .outcome import show_outcome

    progress = LiveProgress()
    with Coordinator(
        context.obj.store, workers=workers, progress=progress, create=False, parallel=parallel
    ) as coordinator:
        found = find_run(coordinator.workspace, run)
        before = passed_over(coordinator.workspace.store, found)
        if not as_json:
            show(note(passed_over_text(before)), "")
        with progress:
            result = coordinator.resume_workflow(found, accept_code=accept_code, changes=changes or ())
        more = {"passed_over": before}
        show_outcome(coordinator.workspace, result, context.obj, as_json=as_json, more=more)


@command("cancel", "cancel last")
def cancel(context: typer.Context, run: Run, as_json: Json = False) -> None:
    """Stop a run that is under way, in whatever process; all completed work is kept.

    Its process stops before it would append again. With --json, {"run", "canceled": whether it was under way,
    "status"}.
    """
    from ..coordinator import Coordinator
    from ..monitoring.run_list import find_run, list_runs
    from .console import note, show, show_json
    from .run_report import short

    with Coordinator(context.obj.store, create=False) as coordinator:
        found = find_run(coordinator.workspace, run)
        canceled = coordinator.cancel_workflow(found)
        status = list_runs(coordinator.workspace, found)[0].status
    if as_json:
        show_json({"run": found, "canceled": canceled, "status": status})
    elif canceled:
        show(f"{found} is canceled.", note(f"next  admf resume {short(found)}"))
    else:
        show(f"{found} had ended before: it is {status}.")


@command("fork", "fork last --from out_of_sample --set out_of_sample.data.start=2012-01-01")
def fork(
    context: typer.Context,
    run: Run,
    phase: Annotated[str, typer.Option("--from", metavar="PHASE", help="The first phase to execute.")],
    changes: Changes = None,
    workers: Workers = 1,
    parallel: Parallel = None,
    as_json: Json = False,
) -> None:
    """Start a new run from a phase of another one, with changes.

    The phases before it are not executed again: the new run refers to their streams. A change of what they
    have read is refused.
    """
    from ..coordinator import Coordinator
    from ..monitoring.run_list import find_run
    from .live_progress import LiveProgress
    from .outcome import show_outcome

    progress = LiveProgress()
    with Coordinator(
        context.obj.store, workers=workers, progress=progress, create=False, parallel=parallel
    ) as coordinator:
        found = find_run(coordinator.workspace, run)
        with progress:
            result = coordinator.fork_workflow(found, phase, changes or ())
        show_outcome(coordinator.workspace, result, context.obj, as_json=as_json)


@command("replay", "replay last", "replay ab12cd34 --phase training", "replay --all")
def replay(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="As for `admf show`.")] = "",
    phase: Annotated[str, typer.Option(help="Only this phase.", show_default=False)] = "",
    every: Annotated[bool, typer.Option("--all", help="Every run in the store.")] = False,
    accept_code: AcceptCode = False,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Execute a run again from the log alone, and compare event by event.

    Data files are not needed, and nothing is written. Exit code 1 means that something is different, or that
    a run can't be replayed. With --json, a list of {"run", "phases": [{"phase", "stream", "outcome",
    "events", "rows", "head_hash", "difference": {"address", "type", "field", "recorded", "replayed"}}],
    "error"}.
    """
    from ..coordinator import Coordinator
    from ..monitoring.run_list import find_run, list_runs
    from .console import show, show_json
    from .lifecycle_screens import replay_screen
    from .live_progress import LiveProgress

    if every == bool(run):
        raise ConfigurationError("name one run to replay, or give --all.")
    if every and phase:
        raise ConfigurationError("--phase needs one run; give its id instead of --all.")
    progress = LiveProgress()
    with Coordinator(context.obj.store, workers=workers, progress=progress, create=False) as coordinator:
        workspace = coordinator.workspace
        runs = [entry.run for entry in list_runs(workspace)] if every else [find_run(workspace, run)]
        with progress:
            replays = [
                _replayed(coordinator, found, phase, accept_code=accept_code, strict=not every)
                for found in runs
            ]
    if as_json:
        show_json(replays)
    else:
        show(*replay_screen(replays))
    if not all(each.identical for each in replays):
        raise typer.Exit(FAILED)


def _replayed(
    coordinator: "Coordinator", run: str, phase: str, *, accept_code: bool, strict: bool
) -> "RunReplay":
    """Replay a run; unless `strict`, what keeps it from being replayed is part of the answer."""
    from ..audit.replay import RunReplay

    try:
        return RunReplay(run, coordinator.replay_workflow(run, phase=phase, accept_code=accept_code))
    except (ChangedError, ConfigurationError, StrategyError) as error:
        if strict:
            raise
        return RunReplay(run, (), str(error))
