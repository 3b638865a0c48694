"""What a process does with memory that it frees: simulations take the same large blocks again and again."""

import ctypes
import sys

KEPT = 2**30
"""Bytes, of one block and of all that lies free, up to which memory stays with the process."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, up to `KEPT`, instead of giving it back to the system.

    Memory that comes from the system is filled with zeros first, page by page, and threads wait for each
    other meanwhile: that took a tenth of the processor time of a sweep. It holds for the whole process, and
    only where the C library is glibc. See mallopt(3).
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if option is not None:
        option(_MMAP_THRESHOLD, KEPT)
        option(_TRIM_THRESHOLD, KEPT)
