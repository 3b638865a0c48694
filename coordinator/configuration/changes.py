"""Changes to what is written in a workflow: mappings merged into mappings, and single settings replaced."""

import yaml

from ...domain.errors import ConfigurationError, UnknownNameError
from .sources import Raw

SOURCES = frozenset({"file", "symbol", "files"})
"""The keys that say where bars are read."""


def merged(base: Raw, over: Raw) -> Raw:
    """Merge mappings into mappings, key by key; everything else is replaced.

    Symbols belong to their files: where another file is named, or other files are, they go.
    """
    gone = SOURCES if "files" in over else SOURCES - {"file"} if "file" in over else frozenset()
    result = {key: value for key, value in base.items() if key not in gone}
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def mapping(value: object, where: str) -> Raw:
    """Return a value that must be a mapping; any other raises `ConfigurationError`, which names ``where``."""
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: must be a mapping, was {value!r}.")
    return value


def apply_change(raw: Raw, change: str) -> None:
    """Replace one setting of a workflow, whose phases are a list, in place.

    Parameters
    ----------
    raw
        The workflow.
    change
        ``path=value``: the path starts at the top or with the name of a phase, an element of a list goes by
        its name, type or number, and the value is YAML.

    Raises
    ------
    ConfigurationError
        It has another form, or its path leads nowhere.
    """
    path, equals, text = change.partition("=")
    if not equals:
        raise ConfigurationError(f"a change must be written as path=value, was {change!r}.")
    # Parameters have dots in their names: below `parameters`, the rest of the path is one key.
    above, below, parameter = path.strip().partition(".parameters.")
    *steps, key = [*above.split("."), "parameters", parameter] if below else above.split(".")
    phases = {str(phase.get("name")): phase for phase in raw["workflow"] if isinstance(phase, dict)}
    if ".".join([*steps, key]) in {*phases, "workflow"}:
        raise ConfigurationError(
            f"--set {change}: {key!r} can't be replaced as a whole; name a key below it."
        )
    here: object = raw
    for length in range(len(steps), 0, -1):
        # The phases of an inner workflow have dots in their names.
        if (name := ".".join(steps[:length])) in phases:
            here, steps = phases[name], steps[length:]
            break
    for step in steps:
        here = _below(here, step, path)
    if not isinstance(here, dict):
        raise ConfigurationError(f"--set {change}: {path!r} leads to {here!r}, which has no keys.")
    try:
        changed = merged(here, {key: yaml.safe_load(text)})
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {change}: the value must be YAML; {error}") from error
    here.clear()
    here.update(changed)


def _below(here: object, step: str, path: str) -> object:
    if isinstance(here, list):
        named = [
            item for item in here if isinstance(item, dict) and step in (item.get("name"), item.get("type"))
        ]
        if named:
            return named[0]
        if step.isdigit() and int(step) < len(here):
            return here[int(step)]
        names = [str(item.get("name", item.get("type"))) for item in here if isinstance(item, dict)]
        raise UnknownNameError("element", step, names, f"--set {path}")
    if isinstance(here, dict):
        return here.setdefault(step, {})
    raise ConfigurationError(f"--set {path}: {step!r} is below {here!r}, which has no keys.")
