"""Machine code of numeric loops, made by numba with the options of `compiled`, and kept on disk.

Numba takes as long to import as all else that a run needs: it is imported here alone, once a loop is called.
"""

from collections.abc import Callable
from importlib import import_module
from threading import Lock
from typing import ParamSpec, TypeVar

import numba
from numba.core import event
from numba.core.base import BaseContext
from numba.core.caching import FunctionCache
from numba.core.errors import NumbaError as NumbaError
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.cpython import hashing  # noqa: F401 - states addresses that machine code may refer to
from numba.cpython.unsafe import numbers
from numba.extending import overload
from numba.np import linalg

from .compiled import trailing_zeros

P = ParamSpec("P")
R = TypeVar("R")


def _import_array_functions() -> None:
    # They import SciPy's linear algebra only to see that it is there, which takes as long as numba itself.
    # Compiled code that multiplies matrices imports it when it does.
    ensure_blas = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure_blas


_import_array_functions()
rtsys.initialize(cpu_target.target_context)


_naming = Lock()


class _Cache(FunctionCache):  # type: ignore[misc]
    """Machine code on disk, loaded without what only compilation needs.

    Numba registers all that it can compile before it even loads machine code, which takes longer than to load
    it; it does so again before it compiles.
    """

    def load_overload(self, sig: object, target_context: BaseContext) -> object:
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def dispatcher(
    function: Callable[P, R],
    *,
    folder: str,
    counts_references: bool,
    inside: bool,
    called_by_python: bool,
) -> Callable[P, R]:
    """Return a function that finds its machine code below ``folder``, or else compiles it and keeps it there.

    `compiled`, `compiled_lean` and `compiled_inside` say what the options mean. Machine code that is not
    ``called_by_python`` is for other compiled code alone.
    """
    made: Callable[P, R] = numba.njit(
        nogil=True,
        error_model="numpy",
        _nrt=counts_references,
        forceinline=inside,
        no_cpython_wrapper=not called_by_python,
        no_cfunc_wrapper=True,
    )(function)
    # The folder is a setting of the whole process: of two threads, one would take that of the other.
    with _naming:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = folder
        try:
            made._cache = _Cache(function)  # type: ignore[attr-defined]
        finally:
            numba.config.CACHE_DIR = before
    return made


def not_kept(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that is compiled in each process, with numba's own rules for errors."""
    made: Callable[P, R] = numba.njit(nogil=True)(function)
    return made


overload(trailing_zeros)(lambda word: lambda word: numbers.trailing_zeros(word))  # noqa: ARG005


class _Compilations(event.Listener):  # type: ignore[misc]
    """Counts how many compilations are under way; loading machine code that was kept is none."""

    def __init__(self) -> None:
        self.under_way = 0

    def on_start(self, _event: event.Event) -> None:
        self.under_way += 1

    def on_end(self, _event: event.Event) -> None:
        self.under_way -= 1


compilations = _Compilations()
event.register("numba:compile", compilations)
