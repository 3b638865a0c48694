"""Compilation of numeric loops."""

import os
import subprocess
import sys
from pathlib import Path

import numba
from admf.domain.compiled import import_compiler, is_compiling
from numba.extending import overload


def seen() -> bool:
    """Say, in compiled code, whether that code was said to be compiling."""
    raise NotImplementedError


@overload(seen)
def _seen() -> object:
    found = is_compiling()
    return lambda: found


def test_it_is_known_while_machine_code_is_made_and_not_once_it_is_there() -> None:
    import_compiler()
    function = numba.njit(lambda: seen())
    assert not is_compiling()
    assert function()
    assert not is_compiling()


KEPT = """
import sys
import numpy as np
from admf.domain.compiled import compiled_from
source = '''
def counted(names, values):
    if values.size == 0:
        raise ValueError("nothing to count")
    found = {name: name + "s" for name in names}
    return found["b"], np.sort(values)[::-1] @ values
'''
counted = compiled_from(source, "counted", {"np": __import__("numpy")}, keep=True)
print(*counted(("a", "b"), np.array([1.0, 2.0])), sum(counted.dispatcher.stats.cache_hits.values()))
try:
    counted(("a", "b"), np.empty(0))
except ValueError as error:
    print(error)
print("numba.misc.cffiimpl" in sys.modules)
"""


def test_compiled_code_is_kept_for_the_next_process_which_loads_it_without_the_compiler(
    tmp_path: Path,
) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", KEPT]
    said = [subprocess.check_output(command, env=environment, text=True).splitlines() for _ in range(2)]
    assert said == [
        ["bs 4.0 0", "nothing to count", "True"],
        ["bs 4.0 1", "nothing to count", "False"],
    ]
