"""The single entry point: workflows in, results out."""

import secrets
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from .executors import Executor, InProcess, ProcessPool
from .loading import load_workflow
from .progress import Progress, Silence
from .result import WorkflowResult
from .sequencer import Sequencer, cancel_run
from .workflow_check import check_workflow
from .workspace import Workspace


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

    Examples
    --------
    >>> from admf import Coordinator
    >>> with Coordinator(store="memory://") as coordinator:
    ...     result = coordinator.execute_workflow({"workflow": "backtest", "strategy": "momentum",
    ...                                            "data_file": "sp500.csv"})
    >>> result.status
    'completed'
    """

    def __init__(
        self, store: str | Path | None = None, *, workers: int = 1, progress: Progress | None = None
    ) -> None:
        self.workspace = Workspace(store)
        self._executor: Executor = InProcess() if workers == 1 else ProcessPool(workers)
        self._progress = progress or Silence()

    def execute_workflow(
        self, source: str | Path | Mapping[str, object], changes: Iterable[str] = ()
    ) -> WorkflowResult:
        """Run a workflow to its end.

        Parameters
        ----------
        source
            Path of a YAML file, name of a template, or the same as a mapping.
        changes
            Settings that replace those of the source, as ``path=value``.

        Raises
        ------
        AdmfError
            The workflow is wrong, which is found before anything is run, or one of its phases failed.
        """
        workflow = load_workflow(source, changes)
        warnings = check_workflow(workflow).warnings
        run = new_run_id()
        Sequencer(self.workspace.store, self._executor, self._progress).run(workflow, run)
        return WorkflowResult(self.workspace, run, warnings)

    def resume_workflow(self, run: str, *, accept_code: bool = False) -> WorkflowResult:
        """Carry a run on where it was stopped, and return its result.

        Nothing that was completed is executed again, and the streams of its phases end as if it had never
        been stopped.

        Parameters
        ----------
        run
            The run's id.
        accept_code
            Whether phases that began with other code may go on with this code.

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
        sequencer = Sequencer(self.workspace.store, self._executor, self._progress)
        sequencer.resume(run, accept_code=accept_code)
        return WorkflowResult(self.workspace, run)

    def cancel_workflow(self, run: str) -> bool:
        """Cancel a run, wherever it is carried on; all completed work is kept. Return False if it had ended.

        Raises
        ------
        NotFoundError
            There is no such run.
        """
        return cancel_run(self.workspace.store, run)

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
) -> WorkflowResult:
    """Run a workflow and return its result; see `Coordinator` for the parameters.

    Examples
    --------
    >>> import admf
    >>> result = admf.run("train_test", store="memory://")
    >>> result.phase("training").output.trials
    25
    """
    with ExitStack() as opened:
        coordinator = opened.enter_context(Coordinator(store, workers=workers))
        result = coordinator.execute_workflow(source, changes)
        coordinator.stop_workers()
        # The result goes on asking the workspace.
        opened.pop_all()
    return result
