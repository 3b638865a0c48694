"""Compilation of the numeric loops, with one set of options for the whole package."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def _cache_folder() -> str:
    # Numba notices a change in the file of a compiled function, but not in the files of the functions that it
    # calls; a folder named after all of this package's sources makes stale machine code impossible.
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return str(root / "admf" / f"compiled-{digest}")


_CACHE_FOLDER = _cache_folder()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` to machine code on first use and keep the result on disk.

    Floating-point operations stay in the order written (no ``fastmath``), so that results are bit-identical
    on every machine and for every number of workers. The machine code is kept below ``$XDG_CACHE_HOME/admf``,
    or ``~/.cache/admf``.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _CACHE_FOLDER
    try:
        return cast(Callable[P, R], numba.njit(cache=True)(function))
    finally:
        numba.config.CACHE_DIR = before
