"""TA-Lib as the module ``functions``, from arrays to arrays, loaded without pandas.

Its package and its extension module import pandas wherever that is installed, which takes longer than a short
run. Who imports the package later gets functions of pandas series, too, but none of data frames.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

NAME = "talib._ta_lib"


@contextmanager
def _without_pandas() -> Iterator[None]:
    if "pandas" in sys.modules:
        yield
        return
    blocked: dict[str, ModuleType | None] = {"pandas": None}
    sys.modules.update(blocked)  # type: ignore[arg-type]  # None is how an import is refused
    try:
        yield
    finally:
        del sys.modules["pandas"]


def _load() -> ModuleType:
    if NAME in sys.modules:
        return sys.modules[NAME]
    package = find_spec("talib")
    spec = PathFinder.find_spec(NAME, package.submodule_search_locations if package else None)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'talib': pip install ta-lib", name="talib")
    module = module_from_spec(spec)
    with _without_pandas():
        spec.loader.exec_module(module)
    module._ta_initialize()
    sys.modules[NAME] = module
    return module


if TYPE_CHECKING:
    import talib

    functions = talib
else:
    functions = _load()
