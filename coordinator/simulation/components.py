"""Finding strategies: registered ones, those of installed packages, and functions in the user's own files."""

import inspect
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType, ModuleType

from ...domain.errors import ConfigurationError, StrategyError, UnknownNameError
from ...domain.features import SERIES
from ...domain.regimes.switching import regime_switching as regime_switching
from ...domain.strategies import STRATEGIES, Strategy, strategy_from

ENTRY_POINTS = "admf.strategies"
"""Group of entry points under which an installed package offers strategies."""
SOURCE = "__admf_source__"
"""Attribute of a user's module that holds the text that was executed."""


def find_strategy(kind: str, folders: Sequence[Path], where: str = "") -> Strategy:
    """Return the strategy that a configuration calls by its type.

    Parameters
    ----------
    kind
        A registered type such as ``momentum``, or ``file.py:function``.
    folders
        Where the file is looked for, in this order; the current folder comes last.
    where
        Path of the type in its configuration, for messages.

    Raises
    ------
    UnknownNameError
        Neither registered nor offered by an installed package; or the file has no such function.
    ConfigurationError
        There is no such file.
    StrategyError
        The file or the package raised when it was read.
    """
    file, colon, function = kind.rpartition(":")
    if colon:
        return _strategy_in(user_module(file, folders, where), function, where)
    if kind in STRATEGIES:
        return STRATEGIES.get(kind)
    offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if kind not in offered:
        raise UnknownNameError("strategy type", kind, {*STRATEGIES, *offered}, where)
    return _offered(offered[kind])


def strategy_types(file: str, folders: Sequence[Path]) -> tuple[str, ...]:
    """Return how configurations call the strategies that a file defines, in its order: ``file.py:function``.

    Those that are decorated; where there is none, the functions all of whose arguments are columns of bars or
    have a default.

    Raises
    ------
    ConfigurationError
        There is no such file, or no strategy in it.
    StrategyError
        The file raised when it was read.
    """
    module = user_module(file, folders)
    defined = {name: found for name, found in module.__dict__.items() if _defined_in(module, found)}
    names = [name for name, found in defined.items() if isinstance(found, Strategy)]
    names = names or [name for name, found in defined.items() if name[0] != "_" and _takes_bars(found)]
    if not names:
        raise ConfigurationError(
            f"{file} must define a strategy, found none: a function of columns of bars ({', '.join(SERIES)}) "
            "whose other arguments have defaults, or one that is decorated with `strategy`."
        )
    return tuple(f"{file}:{name}" for name in names)


def _defined_in(module: ModuleType, found: object) -> bool:
    function = getattr(found, "function", found)
    function = getattr(function, "py_func", function)
    return isinstance(function, FunctionType) and function.__module__ == module.__name__


def _takes_bars(found: object) -> bool:
    if not callable(found):
        return False
    arguments = inspect.signature(getattr(found, "py_func", found)).parameters.values()
    columns = [argument for argument in arguments if argument.default is inspect.Parameter.empty]
    return bool(columns) and all(argument.name in SERIES for argument in columns)


def source_hash(strategy: Strategy) -> str:
    """Return the hash of the source file of a strategy, or "" for one that ships with the package."""
    function = getattr(strategy.function, "py_func", strategy.function)
    if function.__module__.startswith(__package__.partition(".")[0] + ".domain."):
        return ""
    executed = getattr(sys.modules.get(function.__module__), SOURCE, None)
    if executed is not None:
        return sha256(executed).hexdigest()
    source = inspect.getsourcefile(function)
    if source and Path(source).is_file():
        return sha256(Path(source).read_bytes()).hexdigest()
    return sha256(inspect.getsource(function).encode()).hexdigest()


def user_module(file: str, folders: Sequence[Path], where: str = "", what: str = "strategy") -> ModuleType:
    """Return the module that a user's file defines, executed once for each state of its text.

    Raises
    ------
    ConfigurationError
        There is no such file in the folders, nor in the current one; `what` says what was to be in it.
    StrategyError
        The file raised when it was read.
    """
    places = list(dict.fromkeys((*folders, Path.cwd())))
    path = next((place / file for place in places if (place / file).is_file()), None)
    if path is None:
        raise ConfigurationError(
            f"{where + ': ' if where else ''}there is no {what} file {file!r} "
            f"in {' or '.join(str(place.resolve()) for place in places)}."
        )
    name = f"admf_user_{sha256(path.resolve().as_posix().encode()).hexdigest()[:16]}"
    text = path.read_bytes()
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, SOURCE, None) == text:
        return loaded
    spec = spec_from_file_location(name, path)
    if spec is None:
        raise ConfigurationError(f"{where}: {path} must be a Python file, ending in .py.")
    module = module_from_spec(spec)
    setattr(module, SOURCE, text)
    sys.modules[name] = module
    try:
        # An import would take cached bytecode for a file of the same size, changed in the same second.
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise StrategyError(f"the {what} file {path} raised {type(error).__name__}: {error}") from error
    return module


def _offered(entry: EntryPoint) -> Strategy:
    try:
        offered = entry.load()
    except Exception as error:
        raise StrategyError(
            f"the strategy {entry.name!r}, which an installed package offers as {entry.value!r}, can't be "
            f"loaded: {type(error).__name__}: {error}"
        ) from error
    return offered if isinstance(offered, Strategy) else _plain(offered, entry.name)


def _strategy_in(module: ModuleType, name: str, where: str) -> Strategy:
    found = module.__dict__.get(name)
    if isinstance(found, Strategy):
        return found
    if not callable(found):
        functions = [key for key, value in module.__dict__.items() if callable(value) and key[0] != "_"]
        raise UnknownNameError(f"function in {Path(str(module.__file__)).name}", name, functions, where)
    return _plain(found, name)


def _plain(function: object, name: str) -> Strategy:
    if not callable(function):
        raise ConfigurationError(f"strategy {name!r} must be a function, was {type(function).__name__}.")
    return strategy_from(function, features={}, parameters={}, space={}, name=name)
