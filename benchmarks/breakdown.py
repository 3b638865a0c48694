"""Where the time of one warm run of ours goes, by the function of admf that is at work in each thread.

A thread of its own looks at all others every other millisecond, and counts the time since its last look for
the innermost function of admf on the stack of each thread that does not wait; so what NumPy, compiled code,
SQLite and DuckDB do counts for whoever called them. Two threads that work for a second have worked two.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event, Thread, get_ident
from types import FrameType

import admf

from .ours import Runs
from .peers.protocol import Task, read_bars

PERIOD = 0.002
ROOT = str(Path(admf.__file__).parent)
OUTSIDE = ("benchmarks", "domain/compiled")
"""What counts for whoever called it: the measuring itself, and the way into compiled code."""
WAITING = ("threading.py", "concurrent/futures/thread.py", "concurrent/futures/_base.py", "queue.py")
"""Files whose functions wait for other threads."""


class Clock:
    """Counts seconds of threads by function while it is entered."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._ended = Event()
        self._thread = Thread(target=self._look)

    def _look(self) -> None:
        last = time.perf_counter()
        while not self._ended.wait(PERIOD):
            now = time.perf_counter()
            for thread, frame in sys._current_frames().items():
                if thread != get_ident() and not frame.f_code.co_filename.endswith(WAITING):
                    self.seconds[_place(frame)] += now - last
            last = now

    def __enter__(self) -> "Clock":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()


def _place(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        module = file.removeprefix(ROOT).strip("/").removesuffix(".py")
        if file.startswith(ROOT) and "/.venv" not in file and not module.startswith(OUTSIDE):
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
