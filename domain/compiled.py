"""Compilation of the numeric loops, with one set of options for the whole package."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` to machine code on first use and keep the result on disk.

    Floating-point operations stay in the order written (no ``fastmath``), so that results are bit-identical
    on every machine and for every number of workers.
    """
    return cast(Callable[P, R], njit(cache=True)(function))
