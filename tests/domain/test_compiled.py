"""Compilation of numeric loops."""

import numba
from admf.domain.compiled import is_compiling
from numba.extending import overload


def seen() -> bool:
    """Say, in compiled code, whether that code was said to be compiling."""
    raise NotImplementedError


@overload(seen)
def _seen() -> object:
    found = is_compiling()
    return lambda: found


def test_it_is_known_while_machine_code_is_made_and_not_once_it_is_there() -> None:
    function = numba.njit(lambda: seen())
    assert not is_compiling()
    assert function()
    assert not is_compiling()
