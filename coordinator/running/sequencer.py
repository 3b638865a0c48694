"""Running workflows: from the start, from where a run was stopped, or from a phase of another run."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from os import getpid

from ...domain.errors import (
    CanceledError,
    ChangedError,
    ConfigurationError,
    ConflictError,
    DataError,
    LimitError,
    StoreError,
    StrategyError,
)
from ...domain.events import (
    Event,
    Feed,
    PhaseFailed,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
)
from ...eventstore.record import Head
from ...eventstore.store import EventStore
from ..market.data_files import DataFiles
from ..market.market_log import MarketLog
from ..simulation.executors import Executor
from ..simulation.leftovers import remove_leftovers
from ..streams.run_history import RunHistory, run_history
from ..streams.stream_writer import Journal, Outbox
from ..streams.trace_query import TraceQuery
from ..workflows.loading import Workflow, changed_workflow, resolved_workflow
from .fork import Fork, record_fork
from .limits import Limits, require_workers
from .phase_cache import PhaseCache
from .phase_execution import PhaseExecution, package_version
from .phase_run import PhaseError, PhaseRun, Stop
from .progress import Progress

RESUME = "admf resume {run}"
_remove_leftovers_once = cache(remove_leftovers)


class Sequencer:
    """Runs workflows: each phase after those that it depends on, one after the other or several at once.

    It keeps the journal of a run; what passes from phase to phase passes through their streams.

    Parameters
    ----------
    store
        Where everything that happens is appended.
    executor
        Where shards are simulated.
    progress
        Follows the run.
    resume
        The command that carries a run on, for messages; empty where there is none.
    parallel
        How many phases may be carried out at once; as many as the workflow says, if None.
    """

    def __init__(
        self,
        store: EventStore,
        executor: Executor,
        progress: Progress,
        resume: str = RESUME,
        parallel: int | None = None,
    ) -> None:
        self._store = store
        self._resume = resume
        self._executor = executor
        self._progress = progress
        self._parallel = parallel

    def run(self, workflow: Workflow, workflow_id: str, files: DataFiles | None = None) -> None:
        """Run a workflow from its beginning, as the run called `workflow_id`; `files` may be open already.

        Raises
        ------
        AdmfError
            A phase failed; the failure is in the log too, and so is all that was completed before it. Any
            other exception is a defect of this package, and is logged in the same way.
        KeyboardInterrupt
            The run was interrupted, which is in the log too.
        """
        require_workers(workflow.resources, self._executor.workers)
        market, files = MarketLog(self._store), files or DataFiles(workflow.folder)
        phases = resolved_workflow(workflow).phases
        feeds = {section.name: market.keep(files.panel(section)[0]) for section in phases}
        journal = Journal(self._store, Head(workflow_id))
        journal.append([_workflow_started(workflow, feeds)])
        self._go_on(workflow, journal, self._execution(workflow, market), feeds)

    def fork(self, plan: Fork, workflow_id: str) -> None:
        """Run a fork from its first phase that is not reused, as the run called `workflow_id`.

        Raises
        ------
        AdmfError
            As `run`.
        """
        require_workers(plan.workflow.resources, self._executor.workers)
        market = MarketLog(self._store)
        feeds = plan.kept_feeds(market)
        journal = Journal(self._store, Head(workflow_id))
        started = _workflow_started(plan.workflow, feeds, forked_from=plan.address)
        journal.append([started, *plan.reused.values()])
        record_fork(self._store, plan.address, workflow_id)
        outcomes = dict.fromkeys(plan.reused, "reused")
        execution = self._execution(plan.workflow, market)
        self._go_on(plan.workflow, journal, execution, feeds, outcomes, is_fork=True)

    def resume(self, workflow_id: str, *, accept_code: bool = False, changes: Iterable[str] = ()) -> None:
        """Carry a run on where it was stopped; a run whose phases all ended well stays as it is.

        Phases that were completed, and shards that were appended, are not executed again. Those that failed
        are, if the run came to its end, and so may be those that were skipped. A process that still carries
        the run on finds out, and stops. The `changes` must be of its limits, as ``resources.max_seconds=60``.

        Raises
        ------
        NotFoundError
            There is no such run.
        ConfigurationError
            Something else would be changed.
        ChangedError
            The code has changed since an interrupted phase began, and that is not accepted.
        ConflictError
            Another process resumed the run at the same time.
        AdmfError
            As `run`.
        """
        history = run_history(self._store, workflow_id)
        if history.status == "completed" and not history.failed:
            return
        changes = tuple(changes)
        workflow = _with_limits(history, changes)
        require_workers(workflow.resources, self._executor.workers)
        journal = Journal(self._store, history.head)
        resumed = WorkflowResumed(
            package_version=package_version(),
            host=platform.node(),
            process=getpid(),
            accepted_code=accept_code,
            changes=changes,
        )
        journal.append([resumed])
        if history.started.forked_from:
            record_fork(self._store, history.started.forked_from, workflow_id)
        execution = self._execution(workflow, MarketLog(self._store), accept_code=accept_code)
        self._go_on(
            workflow,
            journal,
            execution,
            history.started.feeds,
            history.settled,
            history.turns,
            is_fork=bool(history.started.forked_from),
        )

    def _execution(
        self, workflow: Workflow, market: MarketLog, *, accept_code: bool = False
    ) -> PhaseExecution:
        return PhaseExecution(
            market, TraceQuery(self._store), self._executor, self._progress, workflow.folder, accept_code
        )

    def _go_on(
        self,
        workflow: Workflow,
        journal: Journal,
        execution: PhaseExecution,
        feeds: Mapping[str, tuple[Feed, ...]],
        outcomes: Mapping[str, str] | None = None,
        turns: Mapping[str, int] | None = None,
        *,
        is_fork: bool = False,
    ) -> None:
        """Carry out the phases that have not ended, and write the journal of the run to its end.

        A fork executes them, whatever other runs have completed.
        """
        _remove_leftovers_once()
        workflow_id, ended = journal.head.stream, dict(outcomes or {})
        outbox = Outbox(journal, [node.name for node in workflow.graph.nodes if node.name not in ended])
        phases = PhaseRun(
            workflow=workflow,
            feeds=feeds,
            store=self._store,
            journal=journal,
            outbox=outbox,
            execution=execution,
            limits=Limits(workflow.resources, self._begun(workflow, workflow_id)),
            cache=PhaseCache(self._store) if workflow.cache and not is_fork else None,
            outcomes=ended,
            turns=dict(turns or {}),
            stop=Stop(),
        )
        try:
            phases.carry_out(self._parallel or workflow.parallel)
        except CanceledError as error:
            # The journal belongs to somebody else now.
            self._advise(error, workflow_id)
            raise
        except ConflictError:
            raise
        except PhaseError as failure:
            name, cause = failure.phase, failure.error
            cause.add_note(
                f"The phase {name} of the run {workflow_id} failed; all that was logged stays valid."
            )
            self._advise(cause, workflow_id)
            failed = PhaseFailed(phase=name, error=type(cause).__name__, message=str(cause))
            _log_end(journal, outbox, cause, failed, WorkflowFailed(phase=name, message=str(cause)))
            raise cause from cause.__cause__
        except KeyboardInterrupt as interrupt:
            name = ", ".join(phases.under_way)
            interrupt.add_note(
                f"The run {workflow_id} was canceled in the phase {name}; all that was logged is kept."
            )
            self._advise(interrupt, workflow_id)
            canceled = WorkflowCanceled(reason=f"interrupted during the phase {name}")
            _log_end(journal, outbox, interrupt, canceled)
            raise
        outbox.close(WorkflowCompleted())

    def _begun(self, workflow: Workflow, workflow_id: str) -> Iterator[Head]:
        """Return where the streams end of the phases that a run itself has begun."""
        trace = TraceQuery(self._store)
        for node in workflow.graph.nodes:
            for stream in trace.turns(workflow_id, node.name):
                if stream.startswith(f"{workflow_id}/"):
                    yield self._store.head(stream)

    def _advise(self, error: BaseException, workflow_id: str) -> None:
        """Add to an error how the run that it ended is carried on, where that can help."""
        command = self._resume.format(run=workflow_id)
        match error:
            case _ if not command:
                pass
            case LimitError(key=key):
                error.add_note(f"`{command} --set resources.{key}=...` carries it on with another limit.")
            case StrategyError():
                error.add_note(f"When the strategy is corrected, `{command} --accept-code` carries it on.")
            case ConfigurationError() | DataError() | ChangedError():
                pass
            case _:
                error.add_note(f"`{command}` carries it on.")


def cancel_run(store: EventStore, workflow_id: str) -> bool:
    """Append to a run that it is canceled; whoever carries it on stops before its next append.

    Returns False, and appends nothing, if the run has ended.
    """
    history = run_history(store, workflow_id)
    if history.status != "running":
        return False
    reason = f"asked for by process {getpid()} on {platform.node()}"
    try:
        Journal(store, history.head).append([WorkflowCanceled(reason=reason)])
    except ConflictError:
        # The run went on in between.
        return cancel_run(store, workflow_id)
    return True


def _with_limits(history: RunHistory, changes: tuple[str, ...]) -> Workflow:
    """Return the workflow of a run, with what was changed of its limits; nothing else may be."""
    for change in changes:
        if not change.strip().startswith("resources."):
            raise ConfigurationError(
                f"--set {change}: a run that is resumed can change nothing but `resources`; fork it instead."
            )
    workflow = Workflow.from_json(history.started.configuration, history.started.folder)
    changes = history.changes + changes
    return changed_workflow(workflow, changes) if changes else workflow


def _log_end(journal: Journal, outbox: Outbox, cause: BaseException, *events: Event) -> None:
    """Append how a run ended; if that fails too, it is what `cause` has led to, and must not hide it."""
    try:
        outbox.flush()
        journal.append(events)
    except (CanceledError, StoreError) as error:
        cause.add_note(f"This could not be logged: {error}")


def _workflow_started(
    workflow: Workflow, feeds: dict[str, tuple[Feed, ...]], forked_from: str = ""
) -> WorkflowStarted:
    return WorkflowStarted(
        name=workflow.name,
        configuration=workflow.to_json(),
        folder=str(workflow.folder.resolve()),
        phases=tuple(feeds),
        feeds=feeds,
        seed=workflow.seed,
        forked_from=forked_from,
        package_version=package_version(),
        python_version=platform.python_version(),
        host=platform.node(),
        process=getpid(),
    )
