"""The single entry point: workflows in, results out."""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from .audit.replay import PhaseReplay, replay_run
from .market.data_files import DataFiles
from .market.frames import Frames
from .market.market_log import MarketLog
from .result import WorkflowResult
from .running.fork import plan_fork
from .running.progress import Progress, Silence
from .running.sequencer import RESUME, Sequencer, cancel_run
from .simulation.executors import Executor, InProcess, ProcessPool
from .streams.workspace import MEMORY, Workspace
from .workflows.check import check_workflow
from .workflows.loading import described_workflow
from .workflows.templates import (
    WORKFLOW_TEMPLATES,
    WorkflowTemplateRegistry,
    aggregation_of,
    read_workflow,
)


class Coordinator:
    """Runs workflows in a workspace.

    It resolves a workflow, lets a `Sequencer` run it, and returns the result. It executes nothing itself, and
    never touches an event.

    Parameters
    ----------
    store
        Where runs are kept; see `Workspace`.
    workers
        Number of worker processes; with 1, everything happens in the current process. The log is the same.
    progress
        Follows the runs.
    create
        Whether to make a store in a file that does not exist.
    parallel
        How many phases that don't depend on each other run at once; as many as the workflow says, if None.
        The log of each is the same.

    Examples
    --------
    >>> from admf import Coordinator
    >>> with Coordinator(store="memory://") as coordinator:
    ...     result = coordinator.execute_workflow({"workflow": "backtest", "strategy": "momentum",
    ...                                            "data_file": "sp500.csv"})
    >>> result.status
    'completed'
    """

    workflow_registry: ClassVar[WorkflowTemplateRegistry] = WORKFLOW_TEMPLATES
    """The templates written in Python, which all coordinators of a process share."""

    def __init__(
        self,
        store: str | Path | None = None,
        *,
        workers: int = 1,
        progress: Progress | None = None,
        create: bool = True,
        parallel: int | None = None,
    ) -> None:
        self.workspace = Workspace(store, create=create)
        option = f" --store {self.workspace.name}" if store else ""
        self._resume = "" if self.workspace.name == MEMORY else RESUME + option
        self._executor: Executor = InProcess() if workers == 1 else ProcessPool(workers)
        self._progress = progress or Silence()
        self._parallel = parallel

    def execute_workflow(
        self,
        source: str | Path | Mapping[str, object],
        changes: Iterable[str] = (),
        frames: Frames | None = None,
        *,
        cache: bool = True,
    ) -> WorkflowResult:
        """Run a workflow to its end.

        Parameters
        ----------
        source
            Path of a YAML file, name of a template, or the same as a mapping.
        changes
            Settings that replace those of the source, as ``path=value``.
        frames
            Bars in memory: pandas data frames by the names that ``data.file`` or ``data.files`` give them.
            The log keeps them, as it keeps those of files; see `admf.coordinator.market.frames.frame_bars`.
        cache
            Whether phases that a run in the store has completed with the same configuration, data and code
            are taken over instead of simulated again; not if False, or if the source says so.

        Raises
        ------
        AdmfError
            The workflow is wrong, which is found before anything is run, or one of its phases failed.
        """
        raw, name, folder = read_workflow(source)
        aggregation = aggregation_of(raw)
        workflow = described_workflow(raw, name, folder, changes if cache else (*changes, "cache=false"))
        files = DataFiles(workflow.folder, frames)
        check, run = check_workflow(workflow, files.panel), new_run_id()
        self._sequencer().run(workflow, run, files)
        return WorkflowResult(self.workspace, run, check, aggregation)

    def resume_workflow(
        self, run: str, *, accept_code: bool = False, changes: Iterable[str] = ()
    ) -> WorkflowResult:
        """Carry a run on where it was stopped, and return its result.

        Nothing that was completed is executed again, and the streams of its phases end as if it had never
        been stopped.

        Parameters
        ----------
        run
            The run's id.
        accept_code
            Whether phases that began with other code may go on with this code.
        changes
            Of its limits alone, as ``resources.max_seconds=60``.

        Raises
        ------
        NotFoundError
            There is no such run.
        ChangedError
            The code has changed, and that is not accepted.
        ConflictError
            Another process carries the run on.
        AdmfError
            One of its phases failed.
        """
        self._sequencer().resume(run, accept_code=accept_code, changes=changes)
        return WorkflowResult(self.workspace, run)

    def cancel_workflow(self, run: str) -> bool:
        """Cancel a run, wherever it is carried on; all completed work is kept. Return False if it had ended.

        Raises
        ------
        NotFoundError
            There is no such run.
        """
        return cancel_run(self.workspace.store, run)

    def replay_workflow(
        self, run: str, *, phase: str = "", accept_code: bool = False
    ) -> tuple[PhaseReplay, ...]:
        """Execute a run again from the log alone, and compare it event by event; the log stays as it is.

        Parameters
        ----------
        run
            The run's id.
        phase
            The only phase to execute; every one that has begun where it is empty.
        accept_code
            Whether to execute phases that recorded other code.

        Raises
        ------
        NotFoundError
            There is no such run, or it has begun no such phase.
        ChangedError
            The code has changed, and that is not accepted.
        """
        return replay_run(
            self.workspace.store, run, self._executor, self._progress, phase=phase, accept_code=accept_code
        )

    def fork_workflow(self, run: str, phase: str, changes: Iterable[str] = ()) -> WorkflowResult:
        """Run a workflow anew from one of its phases on; the phases before it are taken over from a run.

        Parameters
        ----------
        run
            Id of the run whose phases are reused, by reference to their streams.
        phase
            The first phase that is executed.
        changes
            Settings that replace those of the run, as ``path=value``.

        Raises
        ------
        NotFoundError
            There is no such run or phase, or a phase before it has not been completed.
        ConfigurationError
            A change does not fit, or replaces what a reused phase has read.
        AdmfError
            As `execute_workflow`.
        """
        store = self.workspace.store
        plan, market = plan_fork(store, run, phase, changes), MarketLog(store)
        check = check_workflow(plan.workflow, partial(plan.panel, market), plan.reused)
        fork = new_run_id()
        self._sequencer().fork(plan, fork)
        return WorkflowResult(self.workspace, fork, check)

    def result(self, run: str) -> WorkflowResult:
        """Return what came of an earlier run; an unknown one raises `NotFoundError`."""
        return WorkflowResult(self.workspace, run)

    def close(self) -> None:
        """Stop the workers and close the workspace; results can't be asked any more."""
        self.stop_workers()
        self.workspace.close()

    def stop_workers(self) -> None:
        """Stop the worker processes; what was run can still be asked."""
        self._executor.close()

    def _sequencer(self) -> Sequencer:
        return Sequencer(self.workspace.store, self._executor, self._progress, self._resume, self._parallel)

    def __enter__(self) -> "Coordinator":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def new_run_id() -> str:
    """Return a new run id, such as ``workflow_20261121_101500_ab12cd34``."""
    return f"workflow_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


def run(
    source: str | Path | Mapping[str, object],
    *,
    store: str | Path | None = None,
    workers: int = 1,
    changes: Iterable[str] = (),
    frames: Frames | None = None,
    cache: bool = True,
) -> WorkflowResult:
    """Run a workflow and return its result; see `Coordinator` and its `execute_workflow` for the parameters.

    Examples
    --------
    >>> import admf
    >>> result = admf.run("train_test", store="memory://")
    >>> result.phase("training").output.trials
    25
    """
    with ExitStack() as opened:
        coordinator = opened.enter_context(Coordinator(store, workers=workers))
        result = coordinator.execute_workflow(source, changes, frames, cache=cache)
        coordinator.stop_workers()
        # The result goes on asking the workspace.
        opened.pop_all()
    return result
