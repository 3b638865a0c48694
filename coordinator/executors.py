"""Executors: where the shards of a phase are simulated. All give the same results in the same order."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Protocol

from ..domain.errors import AdmfError, ConfigurationError, StrategyError
from ..domain.topology import Containers
from ..eventstore.codec import EncodedEvent
from . import worker
from .simulation import Simulation, publish

MEMORY = Path("/dev/shm")
"""Where files lie in memory, on systems that have it."""

Answers = Generator[list[EncodedEvent], None, None]


class Executor(Protocol):
    """Carries out shards."""

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Answers:
        """Simulate shards and yield the events of each, in the order of the shards.

        Whoever stops before the end closes the generator, which then lets go of what the shards shared.
        """

    def close(self) -> None:
        """Let go of whatever it holds."""


class InProcess:
    """Simulates shards in threads of the current process, which share everything.

    Compiled strategies run on all processors at once. Others are called one at a time: Python would hardly
    run them at once, and nobody promised that they can be.

    Parameters
    ----------
    threads
        Number of threads; that of the processors, if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Answers:
        """Simulate shards and yield the events of each, in the order of the shards."""
        if self._threads == 1 or not simulation.is_compiled:
            yield from map(simulation, shards)
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="admf-shard") as pool:
            yield from _in_order(lambda shard: pool.submit(simulation, shard), shards, 2 * self._threads)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class ProcessPool:
    """Simulates shards in worker processes that share the bars and features.

    Parameters
    ----------
    workers
        Number of processes. They start with the first shard and stay until `close`, or until a phase is
        abandoned: the next one then starts new ones.

    Raises
    ------
    ConfigurationError
        There would be no worker.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigurationError(f"workers: there must be at least 1, was {workers}.")
        self._workers = workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers)

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Answers:
        """Simulate shards and yield the events of each, in the order of the shards.

        Raises
        ------
        StrategyError
            A strategy failed in a worker.
        AdmfError
            A worker died, such as for want of memory.
        """
        self._start()
        root = MEMORY if os.access(MEMORY, os.W_OK) else None
        with TemporaryDirectory(prefix="admf-", dir=root) as folder:
            published = publish(simulation, Path(folder))

            def submit(shard: Containers) -> Future[list[EncodedEvent]]:
                return self._threads.submit(self._ask, worker.request_for(published, shard))

            try:
                yield from _in_order(submit, shards, 2 * self._workers)
            except BaseException:
                # Nobody waits for what the workers still do, and the files that they read go away.
                self.close()
                raise

    def close(self) -> None:
        """Stop the workers; shards that have not begun are dropped."""
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()
        self._processes.clear()

    def _start(self) -> None:
        if self._processes:
            return
        self._idle = SimpleQueue()
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="admf-worker")
        while len(self._processes) < self._workers:
            command = [sys.executable, "-P", "-m", worker.__name__]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._processes.append(process)
            self._idle.put(process)

    def _ask(self, request: worker.Request) -> list[EncodedEvent]:
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            worker.send(process.stdin, request)
            answer = worker.receive(process.stdout)
        except BrokenPipeError:
            answer = None
        finally:
            self._idle.put(process)
        match answer:
            case worker.Done(events=events):
                return events
            case worker.Failed(message=message, strategy=strategy):
                raise StrategyError(message) if strategy else AdmfError(message)
        raise AdmfError(
            f"one of the {self._workers} worker processes died, perhaps for want of memory; all completed "
            "work is kept. Run again with fewer --workers."
        )


def _in_order(
    submit: Callable[[Containers], Future[list[EncodedEvent]]], shards: Iterable[Containers], ahead: int
) -> Answers:
    """Yield the results of shards in their order, with some submitted ahead."""
    waiting: deque[Future[list[EncodedEvent]]] = deque()
    try:
        for shard in shards:
            waiting.append(submit(shard))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
