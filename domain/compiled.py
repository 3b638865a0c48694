"""Compilation of the numeric loops, with one set of options for the whole package."""

import os
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core import event
from numba.core.base import BaseContext
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys

P = ParamSpec("P")
R = TypeVar("R")
Number = TypeVar("Number", bool, int)


def _skip_linear_algebra() -> None:
    # Numba imports this from SciPy only to see that it is there, and that takes as long as numba itself.
    # Compiled code that multiplies matrices imports it when it does.
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return
    sys.modules[name] = ModuleType(name)
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]


_skip_linear_algebra()


def _cache_folder() -> Path:
    # Numba notices a change in the file of a compiled function, but not in the files of the functions that it
    # calls; a folder named after all of this package's sources makes stale machine code impossible.
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "admf" / f"compiled-{digest}"


CACHE_FOLDER = _cache_folder()
"""Where the machine code of these sources is kept, beside that of others."""


class _Cache(FunctionCache):  # type: ignore[misc]
    """Machine code on disk, loaded without what only compilation needs.

    Numba registers all that it can compile before it even loads machine code, which takes longer than to load
    it; it does so again before it compiles.
    """

    def load_overload(self, sig: object, target_context: BaseContext) -> object:
        import_module("numba.cpython.hashing")  # It states addresses that machine code may refer to.
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` to machine code on first use and keep the result on disk.

    Floating-point operations stay in the order written (no ``fastmath``), so that results are bit-identical
    on every machine and for every number of workers. A division by zero gives an infinity or NaN, and raises
    nothing. Other threads run meanwhile. The machine code is kept below ``$XDG_CACHE_HOME/admf``, or
    ``~/.cache/admf``.
    """
    return _kept(numba.njit(nogil=True, error_model="numpy", _nrt=True), function)


def compiled_lean(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, as `compiled` does, a function that makes no array, and returns none to Python.

    Its arrays are not counted as references. A call that hands on a record of arrays would count each of them
    up and down, by atomic operations that all threads contend for; in the order loop that took more time than
    all the rest.
    """
    return _kept(numba.njit(nogil=True, error_model="numpy", _nrt=False), function)


def compiled_inside(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, as `compiled_lean` does, a function into each place that calls it: for few, busy places."""
    return _kept(numba.njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True), function)


def _kept(compile_: Callable[[Callable[P, R]], Callable[P, R]], function: Callable[P, R]) -> Callable[P, R]:
    dispatcher = compile_(function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(CACHE_FOLDER)
    try:
        dispatcher._cache = _Cache(function)  # type: ignore[attr-defined]
    finally:
        numba.config.CACHE_DIR = before
    return dispatcher


class _Compilations(event.Listener):  # type: ignore[misc]
    """Counts how many compilations are under way; loading machine code that was kept is none."""

    def __init__(self) -> None:
        self.under_way = 0

    def on_start(self, _event: event.Event) -> None:
        self.under_way += 1

    def on_end(self, _event: event.Event) -> None:
        self.under_way -= 1


_compilations = _Compilations()
event.register("numba:compile", _compilations)


def is_compiling() -> bool:
    """Say whether some thread waits for machine code that was not kept, which takes up to half a minute."""
    return _compilations.under_way > 0


def constant(value: Number) -> Number:
    """Return a number for compiled code that is not compiled once more for each value of it."""
    return cast(Number, np.bool_(value) if isinstance(value, bool) else np.int64(value))


def is_compiled(function: object) -> bool:
    """Say whether a function was compiled by numba, so that compiled code can call it."""
    return hasattr(function, "py_func") and hasattr(function, "signatures")


def compiled_from(source: str, name: str, names: dict[str, object], *, keep: bool) -> Callable[..., R]:
    """Compile the function ``name`` of a source text that refers to ``names``.

    With ``keep`` the machine code stays on disk as that of `compiled` does; it must then follow from the text
    and from this package alone.
    """
    # Machine code that was kept is loaded into the module that its function names.
    namespace = {"__name__": __name__, **names}
    if not keep:
        exec(source, namespace)
        return cast(Callable[..., R], numba.njit(nogil=True)(namespace[name]))
    path = CACHE_FOLDER / f"{name}_{sha256(source.encode()).hexdigest()[:16]}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=path.parent, delete=False) as scratch:
            scratch.write(source)
        os.replace(scratch.name, path)
    exec(compile(source, str(path), "exec"), namespace)
    function = cast(Callable[..., R], namespace[name])
    function.__qualname__ = path.stem
    return compiled(function)
