"""Compilation of numeric loops."""

import os
import subprocess
import sys
from pathlib import Path

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


TWICE = """
from admf.domain.compiled import compiled_from
twice = compiled_from("def twice(x):\\n    return x + x\\n", "twice", {}, keep=True)
print(twice(21), sum(twice.stats.cache_hits.values()))
"""


def test_code_compiled_from_text_is_kept_for_the_next_process(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", TWICE]
    said = [subprocess.check_output(command, env=environment, text=True).split() for _ in range(2)]
    assert said == [["42", "0"], ["42", "1"]]
