"""Running the phases of a workflow in order, and what passes from one to the next."""

import platform
from collections.abc import Collection
from importlib.metadata import version
from os import getpid

from ..domain.errors import (
    CanceledError,
    ChangedError,
    ConfigurationError,
    ConflictError,
    DataError,
    StoreError,
    StrategyError,
)
from ..domain.events import (
    Event,
    Feed,
    PhaseCompleted,
    PhaseFailed,
    Scalar,
    WorkflowCanceled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowResumed,
    WorkflowStarted,
)
from ..eventstore.record import Head
from ..eventstore.store import EventStore
from .configuration import PhaseSection
from .data_files import DataFiles
from .executors import Executor
from .fork import Fork, record_fork
from .loading import Workflow, ordered_phases, resolved_phase, resolved_workflow
from .market_log import MarketLog
from .phase_execution import PhaseExecution
from .progress import Progress
from .run_history import run_history
from .sources import Raw
from .stream_writer import Journal, Tracer
from .trace_query import TraceQuery, phase_stream

RESUME = "admf resume {run}"


class Sequencer:
    """Runs workflows: one phase after the other, in the order of their dependencies.

    It owns what passes from phase to phase, and lets nothing pass but through the streams.

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
    """

    def __init__(
        self, store: EventStore, executor: Executor, progress: Progress, resume: str = RESUME
    ) -> None:
        self._store = store
        self._resume = resume
        self._executor = executor
        self._progress = progress
        self._trace = TraceQuery(store)

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
        market = MarketLog(self._store)
        feeds = plan.kept_feeds(market)
        journal = Journal(self._store, Head(workflow_id))
        started = _workflow_started(plan.workflow, feeds, forked_from=plan.address)
        journal.append([started, *plan.reused.values()])
        record_fork(self._store, plan.address, workflow_id)
        self._go_on(plan.workflow, journal, self._execution(plan.workflow, market), feeds, plan.reused)

    def resume(self, workflow_id: str, *, accept_code: bool = False) -> None:
        """Carry a run on where it was stopped; a run that is completed stays as it is.

        Phases that were completed, and shards that were appended, are not executed again. A process that
        still carries the run on finds out, and stops.

        Raises
        ------
        NotFoundError
            There is no such run.
        ChangedError
            The code has changed since an interrupted phase began, and that is not accepted.
        ConflictError
            Another process resumed the run at the same time.
        AdmfError
            As `run`.
        """
        history = run_history(self._store, workflow_id)
        if history.status == "completed":
            return
        workflow = Workflow.from_json(history.started.configuration, history.started.folder)
        journal = Journal(self._store, history.head)
        resumed = WorkflowResumed(
            package_version=version("admf"),
            host=platform.node(),
            process=getpid(),
            accepted_code=accept_code,
        )
        journal.append([resumed])
        if history.started.forked_from:
            record_fork(self._store, history.started.forked_from, workflow_id)
        execution = self._execution(workflow, MarketLog(self._store), accept_code=accept_code)
        self._go_on(workflow, journal, execution, history.started.feeds, history.done)

    def _execution(
        self, workflow: Workflow, market: MarketLog, *, accept_code: bool = False
    ) -> PhaseExecution:
        return PhaseExecution(
            market, self._trace, self._executor, self._progress, workflow.folder, accept_code
        )

    def _go_on(
        self,
        workflow: Workflow,
        journal: Journal,
        execution: PhaseExecution,
        feeds: dict[str, tuple[Feed, ...]],
        done: Collection[str] = (),
    ) -> None:
        """Execute the phases that are not done, and write the journal of the run to its end."""
        phases = ordered_phases(workflow)
        workflow_id, name = journal.head.stream, ""
        try:
            for number, (raw, where) in enumerate(phases, start=1):
                name = str(raw["name"])
                if name in done:
                    continue
                self._progress.phase_started(name, number, len(phases))
                section = self._section(workflow, workflow_id, raw, where)
                stream, cause = phase_stream(workflow_id, name), self._cause(workflow_id, section)
                tracer = Tracer(self._store, stream, cause)
                execution.run(section, feeds[name], tracer, journal)
                journal.append([_phase_completed(name, tracer.head)], cause=f"{stream}#{tracer.head.rows}")
                self._progress.phase_completed(name)
        except CanceledError as error:
            # The journal belongs to somebody else now.
            self._advise(error, workflow_id)
            raise
        except ConflictError:
            raise
        except Exception as error:
            error.add_note(
                f"The phase {name} of the run {workflow_id} failed; all that was logged stays valid."
            )
            self._advise(error, workflow_id)
            failed = PhaseFailed(phase=name, error=type(error).__name__, message=str(error))
            _log_end(journal, error, failed, WorkflowFailed(phase=name, message=str(error)))
            raise
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(
                f"The run {workflow_id} was canceled in the phase {name}; all that was logged is kept."
            )
            self._advise(interrupt, workflow_id)
            canceled = WorkflowCanceled(reason=f"interrupted during the phase {name}")
            _log_end(journal, interrupt, canceled)
            raise
        journal.append([WorkflowCompleted()])

    def _advise(self, error: BaseException, workflow_id: str) -> None:
        """Add to an error how the run that it ended is carried on, where that can help."""
        command = self._resume.format(run=workflow_id)
        match error:
            case _ if not command:
                pass
            case StrategyError():
                error.add_note(f"When the strategy is corrected, `{command} --accept-code` carries it on.")
            case ConfigurationError() | DataError() | ChangedError():
                pass
            case _:
                error.add_note(f"`{command}` carries it on.")

    def _section(self, workflow: Workflow, workflow_id: str, raw: Raw, where: str) -> PhaseSection:
        """Resolve a phase with what the phase that it inherits from has handed on, read from its stream."""
        source = str(raw.get("inherit_best_from", ""))
        if not source:
            return resolved_phase(workflow, raw, None, where)
        stated = self._trace.get_phase_configuration(workflow_id, source)
        best = self._trace.get_phase_output(workflow_id, source).best
        section = PhaseSection.model_validate_json(stated)
        inherited = with_parameters(section, best.parameters) if best else section
        return resolved_phase(workflow, raw, inherited, where)

    def _cause(self, workflow_id: str, section: PhaseSection) -> str:
        """Address of the event that led to a phase: what it inherits, else the start of the workflow."""
        if section.inherit_best_from:
            return self._trace.output_address(workflow_id, section.inherit_best_from)
        return f"{workflow_id}#1"


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


def with_parameters(section: PhaseSection, parameters: dict[str, Scalar]) -> PhaseSection:
    """Return a section whose strategies, sizer and exits have these parameters, such as ``cross.fast``."""
    strategies = []
    for strategy in section.strategies:
        prefix = f"{strategy.name}."
        own = {name.removeprefix(prefix): parameters[name] for name in parameters if name.startswith(prefix)}
        strategies.append(strategy.model_copy(update={"parameters": {**strategy.parameters, **own}}))
    sizers = []
    for sizer in section.risk.position_sizers:
        prefix = f"{sizer.name}."
        own = {name.removeprefix(prefix): parameters[name] for name in parameters if name.startswith(prefix)}
        sizers.append(sizer.model_copy(update=own))
    exits = {
        name.removeprefix("risk."): value for name, value in parameters.items() if name.startswith("risk.")
    }
    risk = section.risk.model_copy(update={"position_sizers": tuple(sizers), **exits})
    return section.model_copy(update={"strategies": tuple(strategies), "risk": risk})


def _log_end(journal: Journal, cause: BaseException, *events: Event) -> None:
    """Append how a run ended; if that fails too, it is what `cause` has led to, and must not hide it."""
    try:
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
        package_version=version("admf"),
        python_version=platform.python_version(),
        host=platform.node(),
        process=getpid(),
    )


def _phase_completed(phase: str, head: Head) -> PhaseCompleted:
    return PhaseCompleted(
        phase=phase,
        stream=head.stream,
        events=head.version,
        rows=head.rows,
        head_hash=head.content_hash.hex(),
    )
