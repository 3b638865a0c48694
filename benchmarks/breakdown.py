"""Where the time of one warm run of ours goes, by the function of admf that is at work.

A timer interrupts the main thread; the time since the last interruption is counted for the innermost function
of admf on the stack, so what NumPy, compiled code, SQLite and DuckDB do counts for whoever called them.
"""

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import admf

from .ours import Runs
from .peers.protocol import Task, read_bars

PERIOD = 0.002
ROOT = str(Path(admf.__file__).parent)
OUTSIDE = "benchmarks"


class Clock:
    """Counts seconds by function while it is entered."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._last = 0.0

    def _tick(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        now = time.perf_counter()
        self.seconds[_place(frame)] += now - self._last
        self._last = now

    def __enter__(self) -> "Clock":
        self._last = time.perf_counter()
        signal.signal(signal.SIGALRM, self._tick)
        signal.setitimer(signal.ITIMER_REAL, PERIOD, PERIOD)
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _place(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(ROOT) and "/.venv" not in file and OUTSIDE not in file:
            module = file.removeprefix(ROOT).strip("/").removesuffix(".py")
            return f"{module}: {frame.f_code.co_qualname}"
        frame = frame.f_back
    return "elsewhere"


def main() -> None:
    task: Task = json.loads(Path(sys.argv[1]).read_text())
    bars, runs = read_bars(task), Runs()
    runs.run(task, bars, keep=False)
    with Clock() as clock:
        runs.run(task, bars, keep=False)
    runs.close()
    print(json.dumps(dict(clock.seconds.most_common())))


if __name__ == "__main__":
    main()
