"""The entry point of the command line."""

import gc
import signal
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
    # Nearly all objects of a short run live until its end: to look for garbage among them after every few
    # hundred takes a tenth of its time.
    gc.set_threshold(10_000)
    signal.signal(signal.SIGTERM, _interrupt)
    app(prog_name="admf")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt
