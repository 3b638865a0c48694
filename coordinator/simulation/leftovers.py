"""Folders that processes share or keep for later ones, and removing those that nobody needs any more."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ...domain.compiled import CACHE_FOLDER

MEMORY = Path("/dev/shm")
"""Where files lie in memory, on systems that have it."""
PREFIX = "admf-phase-"
SETTLED = 60.0
"""Seconds after which whoever has made a folder has locked it."""
KEPT = 8
"""Folders of machine code that stay whatever their age."""
UNUSED = 24 * 3600.0
"""Seconds after which another one goes that nobody has used meanwhile."""


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Make a folder for the files that worker processes map, in memory if possible.

    It is removed at the end; where the process is killed before, by a later one: the lock on it is gone then.
    """
    if not os.access(MEMORY, os.W_OK):
        with TemporaryDirectory(prefix=PREFIX) as name:
            yield Path(name)
        return
    with TemporaryDirectory(prefix=PREFIX, dir=MEMORY) as name:
        lock = _locked(Path(name))
        try:
            yield Path(name)
        finally:
            os.close(lock)


def remove_leftovers() -> None:
    """Remove shared folders whose process is gone, and machine code of sources that nobody runs any more."""
    now = time.time()
    for folder in MEMORY.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if now - folder.stat().st_mtime > SETTLED:
                lock = _locked(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
    with suppress(OSError):
        os.utime(CACHE_FOLDER)
        used = {folder: folder.stat().st_mtime for folder in CACHE_FOLDER.parent.glob("compiled-*")}
        for folder in sorted(used, key=lambda each: -used[each])[KEPT:]:
            if now - used[folder] > UNUSED:
                shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> int:
    """Lock a folder as long as the returned descriptor is open; raise OSError where another process has."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
