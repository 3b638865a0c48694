"""Compilation of numeric loops."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def test_threads_that_make_functions_at_once_keep_the_machine_code_of_each_in_its_own_folder(
    tmp_path: Path,
) -> None:
    from admf.domain.machine_code import dispatcher

    def cached_in(number: int) -> str:
        made = dispatcher(
            lambda: 1,
            folder=str(tmp_path / str(number)),
            counts_references=False,
            inside=False,
            called_by_python=True,
        )
        path: str = made._cache.cache_path  # type: ignore[attr-defined]
        return path

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            folders = list(pool.map(cached_in, range(200)))
    finally:
        sys.setswitchinterval(before)
    assert [Path(folder).relative_to(tmp_path).parts[0] for folder in folders] == [*map(str, range(200))]
