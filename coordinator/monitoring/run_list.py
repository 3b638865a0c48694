"""The runs that a workspace keeps, and finding one by part of its id."""

from datetime import UTC, datetime

import msgspec

from ...domain.errors import NotFoundError
from ..streams.run_history import run_history
from ..streams.trace_query import TraceQuery
from ..streams.workspace import Workspace
from .process_state import shown_status

LAST = "last"
"""What stands for the id of the newest run."""

RUNS = """
SELECT r.run, r.name, r.status, r.started_at,
    epoch_ms(coalesce(r.finished_at, last.finished_at) - r.started_at) / 1000.0 AS elapsed,
    coalesce(last.completed, 0) AS completed, r.phases, last.sharpe_ratio, r.forked_from, r.error
FROM runs r LEFT JOIN (
    SELECT run, count(*) AS completed, max(finished_at) FILTER (status = 'completed') AS finished_at,
        arg_max((output ->> '$.metrics.sharpe_ratio')::DOUBLE, finished_at) AS sharpe_ratio
    FROM phases WHERE status IN ('completed', 'reused', 'cached') GROUP BY run
) last USING (run)
WHERE ? IN ('', r.run) ORDER BY r.started_at DESC, r.run DESC
"""
MATCHES = """
SELECT run FROM runs WHERE starts_with(run, $1) OR ends_with(run, $1) ORDER BY started_at DESC, run DESC
"""


class RunEntry(msgspec.Struct, frozen=True):
    """One line in the list of runs.

    Attributes
    ----------
    run, name, status
        Id of the run, name of its workflow, and ``running``, ``stale`` (its process is gone), ``completed``,
        ``failed`` or ``canceled``.
    started_at
        In UTC.
    elapsed
        Seconds from there to its end, or to the end of its last completed phase; None before the first.
    completed, phases
        Number of phases that were completed or taken over, and of those that it has.
    sharpe_ratio
        Of the phase that was completed last.
    forked_from
        Address at which it parts from the run that it was forked from; None if it is no fork.
    error
        Why it failed or was canceled.
    """

    run: str
    name: str
    status: str
    started_at: datetime
    elapsed: float | None
    completed: int
    phases: int
    sharpe_ratio: float | None
    forked_from: str | None
    error: str | None


def list_runs(workspace: Workspace, run: str = "") -> list[RunEntry]:
    """Return the runs, newest first; only the given one if one is given."""
    entries = msgspec.convert(workspace.read_models.query(RUNS, (run,)).records(), list[RunEntry])
    return [
        msgspec.structs.replace(entry, status=shown_status(run_history(workspace.store, entry.run)))
        if entry.status == "running"
        else entry
        for entry in entries
    ]


def run_entry(workspace: Workspace, run: str) -> RunEntry:
    """Return what `list_runs` says of one run, from its own streams alone."""
    history = run_history(workspace.store, run)
    outputs = TraceQuery(workspace.store)
    done = [name for name in history.started.phases if name in history.done]
    ended = history.ended_at if history.status != "running" or done else None
    sharpe = outputs.get_phase_output(run, done[-1]).metrics.get("sharpe_ratio") if done else None
    return RunEntry(
        run=run,
        name=history.started.name,
        status=shown_status(history),
        started_at=datetime.fromtimestamp(history.began_at / 1e9, UTC).replace(tzinfo=None),
        elapsed=(ended - history.began_at) / 1e9 if ended else None,
        completed=len(done),
        phases=len(history.started.phases),
        sharpe_ratio=sharpe,
        forked_from=history.started.forked_from or None,
        error=f"phase {', '.join(history.failed)}: {history.reason}"
        if history.status == "failed"
        else history.reason or None,
    )


def find_run(workspace: Workspace, part: str) -> str:
    """Return the id of the run that begins or ends with `part`, or of the newest one for ``last``.

    Raises
    ------
    NotFoundError
        There is no such run, or more than one.
    """
    wanted = "" if part == LAST else part
    found = [str(run) for (run,) in workspace.read_models.query(MATCHES, (wanted,)).rows]
    if part in found or (part == LAST and found):
        return part if part in found else found[0]
    if not found:
        raise NotFoundError(f"there is no run {part!r} in {workspace.name}; `admf runs` lists the runs.")
    if len(found) > 1:
        raise NotFoundError(
            f"{part!r} must be the beginning or the end of one run's id, and is that of {len(found)}: "
            f"{', '.join(found[:3])}{' ...' if len(found) > 3 else ''}. Give more of it."
        )
    return found[0]


def find_stream(workspace: Workspace, part: str) -> str:
    """Return the name of the stream ``RUN``, ``RUN/PHASE`` or ``bars-...``, in which RUN is part of an id.

    For a phase that a fork reused, it is the stream of the run that executed it.

    Raises
    ------
    NotFoundError
        There is no such run, or more than one.
    """
    if part.startswith("bars-"):
        return part
    name, _, phase = part.partition("/")
    run = find_run(workspace, name)
    stream = f"{run}/{phase}" if phase else run
    if workspace.store.head(stream).version:
        return stream
    return TraceQuery(workspace.store).stream(run, phase)
