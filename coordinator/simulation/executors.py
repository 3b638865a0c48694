"""Executors: where the shards of a phase are simulated. All give the same results in the same order."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Protocol

from ...domain.compiled import import_compiler
from ...domain.errors import AdmfError, ConfigurationError, ExecutorError, StrategyError
from ...domain.topology import Containers
from ...eventstore.codec import EncodedEvent
from . import worker
from .leftovers import shared_folder
from .memory import keep_freed_memory
from .shards import Simulation, publish

Answers = Generator[list[EncodedEvent], None, None]


class Executor(Protocol):
    """Carries out shards; ``workers`` is the number of its processes."""

    workers: int

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Answers:
        """Simulate shards and yield the events of each, in the order of the shards.

        Whoever stops before the end closes the generator, which then lets go of what the shards shared.
        """

    def close(self) -> None:
        """Let go of whatever it holds."""


class InProcess:
    """Simulates shards in threads of the current process, which share everything and keep freed memory.

    Compiled strategies run on all processors at once. Others are called one at a time, also where several
    phases run at once: Python would hardly run them together, and nobody promised that they can be.

    Parameters
    ----------
    threads
        Number of threads; that of the processors, if None.
    """

    def __init__(self, threads: int | None = None) -> None:
        keep_freed_memory()
        self.workers = 1
        self._threads = threads or os.cpu_count() or 1
        self._turn = Lock()
        # Meanwhile the workflow is checked, and its data are read.
        Thread(target=import_compiler, name="admf-compiler").start()

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Answers:
        """Simulate shards and yield the events of each, in the order of the shards."""
        if not simulation.is_compiled:
            for shard in shards:
                with self._turn:
                    events = simulation(shard)
                yield events
            return
        if self._threads == 1:
            yield from map(simulation, shards)
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="admf-shard") as pool:
            yield from _in_order(lambda shard: pool.submit(simulation, shard), shards, 2 * self._threads)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class ProcessPool:
    """Simulates shards in worker processes that share the bars and features; of several phases at once.

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
        self.workers = workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers)
        self._phases = 0
        self._lock = Lock()

    def map(self, simulation: Simulation, shards: Iterable[Containers]) -> Answers:
        """Simulate shards and yield the events of each, in the order of the shards.

        Raises
        ------
        StrategyError
            A strategy failed in a worker.
        ExecutorError
            A worker died, such as for want of memory.
        """
        with self._lock:
            self._start()
            self._phases += 1
        with shared_folder() as folder:
            published = publish(simulation, folder)

            submitted: list[Future[list[EncodedEvent]]] = []

            def submit(shard: Containers) -> Future[list[EncodedEvent]]:
                submitted[:] = [future for future in submitted if not future.done()]
                submitted.append(self._threads.submit(self._ask, worker.request_for(published, shard)))
                return submitted[-1]

            try:
                yield from _in_order(submit, shards, 2 * self.workers)
            except BaseException as error:
                # The files that the workers read go away: they are stopped, unless others wait for them.
                if self._phases == 1 or isinstance(error, ExecutorError):
                    self.close()
                wait([future for future in submitted if not future.done()])
                if isinstance(error, CancelledError):
                    raise ExecutorError("the worker processes were stopped, for one of them died.") from error
                raise
            finally:
                with self._lock:
                    self._phases -= 1

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
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="admf-worker")
        while len(self._processes) < self.workers:
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
        raise ExecutorError(
            f"one of the {self.workers} worker processes died, perhaps for want of memory; all completed "
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
