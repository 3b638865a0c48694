"""Whether the process that carries a run on is still there."""

import os
import platform
from pathlib import Path

from ..streams.run_history import RunHistory

PROC = Path("/proc")
SLACK = 2.0
"""Seconds by which the system's account of when a process started may be off."""
STALE = "stale"
"""Status of a run that nobody carries on, though it has not ended."""


def shown_status(history: RunHistory) -> str:
    """Return the status of a run, which is ``stale`` where it is running and its process is gone.

    A process is gone if it ran on this host, and there is none of its id, or one that started after the run
    was taken over, and so is another program. Of processes on other hosts nothing is known.
    """
    if history.status != "running" or history.host != platform.node():
        return history.status
    started = _started_at(history.process)
    gone = started is None or started > history.taken_at / 1e9 + SLACK
    return STALE if gone else "running"


def _started_at(process: int) -> float | None:
    """Return when a process started, in seconds since 1970: None for none, 0 if the system won't say."""
    if not (PROC / "stat").is_file():
        return 0.0 if _exists(process) else None
    try:
        # The name of the program stands in parentheses, and may hold anything.
        fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks = fields[0], int(fields[19])
    booted = next(
        int(line.split()[1]) for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime ")
    )
    return None if state in "ZX" else booted + ticks / os.sysconf("SC_CLK_TCK")


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
