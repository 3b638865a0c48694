"""References: values of a phase that are taken from what earlier phases hand on.

A text that is ``${training.best.parameters}`` stands for that value; inside of a longer text it stands for
how the value is written. What is not a single path is calculated, as in ``${training.trials // 2}``. A value
that is not there may have a default, as in ``${previous.best.parameters.cross.fast:-10}``.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec
import yaml

from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.events import PhaseOutput, Scalar
from ...domain.expressions import calculated, names_in

Values = Mapping[str, object]

REFERENCE = re.compile(r"\$\{([^{}]*)\}")
PATH = re.compile(r"[\w.-]+")
PREVIOUS = "previous"
"""What stands for the turn before, in a phase that repeats."""
STATUS = "status"
"""What stands beside the output of a phase: ``completed``, ``skipped`` or ``failed``."""
FIRST_STEPS = frozenset({*PhaseOutput.__struct_fields__, STATUS})
"""What may follow the name of a phase."""


class _Later:
    """Takes the place of a value that is not known yet."""


def output_values(output: PhaseOutput) -> dict[str, object]:
    """Return everything that can be referred to in an output by its path, such as ``best.parameters``.

    The metrics of the best trial also have the short form ``best.sharpe_ratio``; a regime, and
    a member of an ensemble, is found by its name, as in ``regimes.calm.best.parameters``.
    """
    built = msgspec.to_builtins(output)
    for named in ("regimes", "weights"):
        built[named] = {each["name"]: each for each in built[named]}
    values = dict(_below("", built))
    values.pop("")
    metrics = output.best.metrics if output.best else {}
    return {f"best.{name}": value for name, value in metrics.items()} | values


def scalars(values: Values) -> dict[str, Scalar]:
    """Return those of the values that an expression can use."""
    return {name: value for name, value in values.items() if isinstance(value, bool | int | float | str)}


def below(phase: str, values: Values) -> dict[str, object]:
    """Return the values of a phase by the names that other phases use for them."""
    return {f"{phase}.{path}": value for path, value in values.items()}


def resolved(value: object, values: Values, where: str, later: Collection[str] = ()) -> object:
    """Put the values in the place of the references to them.

    Parameters
    ----------
    value
        A mapping, list, or anything else that a workflow may say.
    values
        What can be referred to, by path.
    where
        Path of ``value`` in its configuration, for messages.
    later
        Phases whose values are not known yet: what refers to them and has no default is left out of its
        mapping or list, which is left out too if nothing else was in it.

    Raises
    ------
    UnknownNameError
        A reference leads nowhere; names the nearest match.
    ConfigurationError
        A reference can't be calculated.
    """
    found = _resolved(value, values, where, later)
    return {} if isinstance(found, _Later) else found


def referred(value: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield every path that is referred to in a value, each with where that is."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from referred(inner, f"{where}.{key}")
        case list() | tuple():
            for number, inner in enumerate(value):
                yield from referred(inner, f"{where}[{number}]")
        case str():
            for text in REFERENCE.findall(value):
                yield from ((path, where) for path in _paths(text, where))


def owner(path: str, phases: Collection[str], where: str) -> str:
    """Return the phase whose output a path leads into, or ``previous``.

    Raises
    ------
    UnknownNameError
        There is no such phase, or no such part of an output.
    """
    found = max((name for name in phases if path.startswith(f"{name}.")), key=len, default="")
    if not found:
        raise UnknownNameError("phase", path.partition(".")[0], phases, where)
    step = path[len(found) + 1 :].partition(".")[0]
    if step not in FIRST_STEPS:
        known = [f"{found}.{first}" for first in FIRST_STEPS]
        raise UnknownNameError("value", f"{found}.{step}", known, where)
    return found


def renamed(value: object, names: Mapping[str, str]) -> object:
    """Give the phases that the references in a value name other names."""
    match value:
        case dict():
            return {key: renamed(inner, names) for key, inner in value.items()}
        case list() | tuple():
            return [renamed(inner, names) for inner in value]
        case str():
            return REFERENCE.sub(lambda found: "${" + renamed_expression(found[1], names) + "}", value)
    return value


def renamed_expression(expression: str, names: Mapping[str, str]) -> str:
    """Give the phases that an expression names other names."""
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w.-])({known})(?=\.)", lambda found: names[found[1]], expression)


def _below(path: str, value: object) -> Iterator[tuple[str, object]]:
    yield path, value
    inner: Iterator[tuple[object, object]] = iter(())
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    for key, each in inner:
        yield from _below(f"{path}.{key}" if path else str(key), each)


def _resolved(value: object, values: Values, where: str, later: Collection[str]) -> object:
    match value:
        case dict():
            entries = {key: _resolved(inner, values, f"{where}.{key}", later) for key, inner in value.items()}
            kept = {key: inner for key, inner in entries.items() if not isinstance(inner, _Later)}
            return kept if kept or not value else _Later()
        case list() | tuple():
            items = [_resolved(inner, values, f"{where}[{n}]", later) for n, inner in enumerate(value)]
            left = [inner for inner in items if not isinstance(inner, _Later)]
            return left if left or not value else _Later()
        case str() if (whole := REFERENCE.fullmatch(value)) is not None:
            return _value(whole[1], values, where, later)
        case str():
            parts = [_value(text, values, where, later) for text in REFERENCE.findall(value)]
            if any(isinstance(part, _Later) for part in parts):
                return _Later()
            written = iter(parts)
            return REFERENCE.sub(lambda _: str(next(written)), value)
    return value


def _value(text: str, values: Values, where: str, later: Collection[str]) -> object:
    expression, has_default, default = (part.strip() for part in text.partition(":-"))
    paths = _paths(text, where)
    if has_default and not values.keys() >= {*paths}:
        return yaml.safe_load(default)
    try:
        if paths != (expression,):
            return calculated(expression, scalars(values), where)
        if expression not in values:
            raise UnknownNameError("value", expression, values, where)
        return values[expression]
    except UnknownNameError:
        if has_default:
            return yaml.safe_load(default)
        if any(path.startswith(f"{phase}.") for path in paths for phase in later):
            return _Later()
        raise


def _paths(text: str, where: str) -> tuple[str, ...]:
    expression = text.partition(":-")[0].strip()
    if not expression:
        raise ConfigurationError(f"{where}: ${{}} must name a value, as in ${{training.best.parameters}}.")
    return (expression,) if PATH.fullmatch(expression) else names_in(expression, where)
