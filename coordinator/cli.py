"""The entry point of the command line."""

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from .commands import (  # noqa: F401 - importing them registers their commands
    checking,
    exchange,
    explanations,
    graphs,
    lifecycle,
    log,
    monitoring,
    runs,
    verification,
    workflows,
)
from .commands.application import app


def main() -> None:
    """Run the command line; a request to terminate counts as an interrupt."""
    # Nearly all objects of a short run live until its end, and there are fewer of them than this: to look for
    # garbage among them after every few hundred takes a tenth of its time, after every 10,000 a twentieth.
    gc.set_threshold(200_000)
    # Shards run on all processors by themselves; threads of the linear algebra would only wait, busily.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, _interrupt)
    codes: list[int] = []
    atexit.register(_leave, codes)
    try:
        app(prog_name="admf")
    except SystemExit as end:
        if isinstance(end.code, int):
            codes.append(end.code)
        raise


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _leave(codes: list[int]) -> None:
    """End the process without taking its thousand modules apart, which takes a quarter of a short run.

    As the first that was registered, it is called last, when all threads have ended. Stores are closed by
    then: each command opens its own in a block.
    """
    with suppress(OSError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for code in codes:
            os._exit(code)
