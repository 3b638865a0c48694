"""Compilation of the numeric loops, with one set of options for the whole package.

Nothing of it happens before a loop is called: see `admf.domain.machine_code`.
"""

import os
import sys
from collections.abc import Callable
from functools import cached_property, update_wrapper
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Generic, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
Number = TypeVar("Number", bool, int)

MACHINE_CODE = f"{__package__}.machine_code"
"""The module that imports numba."""


def _cache_folder() -> Path:
    # Numba notices a change in the file of a compiled function, but not in the files of the functions that it
    # calls; a folder named after all of this package's sources makes stale machine code impossible.
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "admf" / f"compiled-{digest}"


CACHE_FOLDER = _cache_folder()
"""Where the machine code of these sources is kept, beside that of others."""


class Compiled(Generic[P, R]):
    """A function that is run as machine code, and may be called by other compiled code.

    Attributes
    ----------
    py_func
        The function in Python.
    """

    def __init__(self, function: Callable[P, R], *, counts_references: bool, inside: bool = False) -> None:
        update_wrapper(self, function)
        self.py_func = function
        self._counts_references = counts_references
        self._inside = inside

    @cached_property
    def dispatcher(self) -> Callable[P, R]:
        """The function as numba knows it, with the machine code that it has so far."""
        return self._dispatcher(called_by_python=True)

    @cached_property
    def _part(self) -> Callable[P, R]:
        """The function as a part of others, with no way in from Python: that takes long to compile."""
        return self._dispatcher(called_by_python=False)

    @property
    def _numba_type_(self) -> object:
        """What numba takes the function for in code that it compiles."""
        return self._part._numba_type_  # type: ignore[attr-defined]

    def _dispatcher(self, *, called_by_python: bool) -> Callable[P, R]:
        from .machine_code import dispatcher

        return dispatcher(
            self.py_func,
            folder=str(CACHE_FOLDER if called_by_python else CACHE_FOLDER / "inside"),
            counts_references=self._counts_references,
            inside=self._inside,
            called_by_python=called_by_python,
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the machine code for arguments of these types, which is loaded or made if it is not there."""
        return self.dispatcher(*args, **kwargs)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` to machine code on first use and keep the result on disk.

    Floating-point operations stay in the order written (no ``fastmath``), so that results are bit-identical
    on every machine and for every number of workers. A division by zero gives an infinity or NaN, and raises
    nothing. Other threads run meanwhile. The machine code is kept below ``$XDG_CACHE_HOME/admf``, or
    ``~/.cache/admf``.
    """
    return Compiled(function, counts_references=True)


def compiled_lean(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, as `compiled` does, a function that makes no array, and returns none to Python.

    Its arrays are not counted as references. A call that hands on a record of arrays would count each of them
    up and down, by atomic operations that all threads contend for; in the order loop that took more time than
    all the rest.
    """
    return Compiled(function, counts_references=False)


def compiled_inside(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, as `compiled_lean` does, a function into each place that calls it: for few, busy places."""
    return Compiled(function, counts_references=False, inside=True)


def import_compiler() -> None:
    """Import what the first call of a compiled function would import; another thread may do so in advance."""
    import_module(MACHINE_CODE)


def is_compiling() -> bool:
    """Say whether some thread waits for machine code that was not kept, which takes up to half a minute."""
    return MACHINE_CODE in sys.modules and sys.modules[MACHINE_CODE].compilations.under_way > 0


def constant(value: Number) -> Number:
    """Return a number for compiled code that is not compiled once more for each value of it."""
    return cast(Number, np.bool_(value) if isinstance(value, bool) else np.int64(value))


def trailing_zeros(word: np.uint64) -> int:
    """Count the bits below the lowest that is set; in compiled code, one instruction."""
    return (int(word) & -int(word)).bit_length() - 1


def is_compiled(function: object) -> bool:
    """Say whether a function is compiled, by us or directly by numba, so that compiled code can call it."""
    by_numba = hasattr(function, "py_func") and hasattr(function, "signatures")
    return by_numba or isinstance(function, Compiled)


def compiled_from(source: str, name: str, names: dict[str, object], *, keep: bool) -> Callable[..., R]:
    """Compile the function ``name`` of a source text that refers to ``names``.

    With ``keep`` the machine code stays on disk as that of `compiled` does; it must then follow from the text
    and from this package alone.
    """
    # Machine code that was kept is loaded into the module that its function names.
    namespace = {"__name__": __name__, **names}
    if not keep:
        from .machine_code import not_kept

        exec(source, namespace)
        return not_kept(cast(Callable[..., R], namespace[name]))
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
