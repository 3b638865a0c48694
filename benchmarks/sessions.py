"""Measured processes: each engine runs in one of its own, and they take turns."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from .peers.protocol import RUN

PATIENCE = 900
"""Seconds after which a process that does not come to its end is given up."""


class Answer(NamedTuple):
    """What a process said of a run; the counts only of one whose outcome it kept."""

    seconds: float
    peak_mb: float
    versions: dict[str, str]
    combinations: int = 0
    trades: int = 0
    fills: int = 0
    final_equity: float = 0.0


class SessionError(Exception):
    """A measured process failed; its message ends with what it wrote to standard error."""


class Session:
    """A process that makes one run after the other, when it is asked to.

    Parameters
    ----------
    command
        What to start, without the path of the task, which is added.
    task
        The task's file; what the process writes to standard error goes to a file beside it.
    """

    def __init__(self, command: Sequence[str], task: Path) -> None:
        self._errors = task.with_suffix(".log")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [*command, str(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, request: str = RUN) -> Answer:
        """Let it make a run, and wait for that."""
        # Of a process that has ended already, reading tells why.
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._process.stdin).write(request + "\n")
            _pipe(self._process.stdin).flush()
        return Answer(**self._read())

    def close(self) -> dict[str, float]:
        """Let it end, and return its closing figures."""
        _pipe(self._process.stdin).close()
        figures = self._read()
        self._process.wait(PATIENCE)
        return figures

    def abandon(self) -> None:
        """End it whatever it does; nothing happens if it has ended."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            # What was not written yet can't be.
            with contextlib.suppress(BrokenPipeError):
                _pipe(stream).close()

    def _read(self) -> dict[str, float]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            self.abandon()
            raise SessionError(_last_lines(self._errors))
        answer: dict[str, float] = json.loads(line)
        return answer


def whole_process(command: Sequence[str], log: Path) -> float:
    """Return the seconds of a process from its start to its exit; a session's makes one run.

    The process may keep bytecode, as that of an installed package is kept.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.run(
            command,
            input=RUN + "\n",
            stdout=output,
            stderr=output,
            env=inherited,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        taken = time.perf_counter() - start
    if process.returncode != 0:
        raise SessionError(_last_lines(log))
    return taken


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _last_lines(path: Path) -> str:
    return "\n".join(path.read_text().splitlines()[-12:])
