"""Executors: where the shards of a phase are simulated. All give the same results in the same order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from ..domain.errors import AdmfError
from ..domain.topology import Containers
from ..eventstore.codec import EncodedEvent
from .simulation import Simulation, publish


class Executor(Protocol):
    """Carries out shards."""

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Iterator[list[EncodedEvent]]:
        """Simulate shards and yield the events of each, in the order of the shards."""

    def close(self) -> None:
        """Let go of whatever it holds."""


class InProcess:
    """Simulates shards one after the other in the current process."""

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Iterator[list[EncodedEvent]]:
        """Simulate shards and yield the events of each, in the order of the shards."""
        return map(simulation, shards)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class ProcessPool:
    """Simulates shards in worker processes that share the bars and features.

    Parameters
    ----------
    workers
        Number of processes. They start with the first phase and stay until `close`.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload([Simulation.__module__])
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Iterator[list[EncodedEvent]]:
        """Simulate shards and yield the events of each, in the order of the shards.

        Raises
        ------
        AdmfError
            A worker died, such as for want of memory.
        """
        memory = Path("/dev/shm")
        root = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
        with TemporaryDirectory(prefix="admf-", dir=root) as folder:
            published = publish(simulation, Path(folder))
            waiting: deque[Future[list[EncodedEvent]]] = deque()
            try:
                for shard in shards:
                    waiting.append(self._pool.submit(published, shard))
                    if len(waiting) > 2 * self._workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BrokenProcessPool as error:
                raise AdmfError(
                    f"one of the {self._workers} worker processes died, perhaps for want of memory; all "
                    "completed work is kept. Run again with fewer --workers."
                ) from error
            finally:
                for future in waiting:
                    future.cancel()

    def close(self) -> None:
        """Stop the workers; shards that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
