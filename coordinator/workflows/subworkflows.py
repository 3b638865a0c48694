"""Workflows in workflows: a phase of type ``workflow`` becomes the phases of another file or template."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ...domain.errors import ConfigurationError
from ..configuration.changes import mapping, merged
from ..configuration.references import renamed, renamed_expression
from ..configuration.sections import OPTIONAL, CourseSection
from ..configuration.sources import Raw
from ..phases import PHASES
from .phase_graph import sources
from .templates import read_workflow

TYPE = "workflow"
OWN = frozenset({"name", "type", "workflow", "depends_on", *CourseSection.model_fields})
"""What a phase of this type says about itself; everything else replaces settings of the inner workflow."""
PASSED_ON = ("requires", "continue_on_failure", "timeout_seconds", "retries", "retry_delay_seconds")
"""What inner phases take over where they don't state it."""
DEEPEST = 8


def flattened(raw: Raw, folder: Path, expanded: Callable[[Raw], Raw], depth: int = 0) -> Raw:
    """Replace every phase of type ``workflow`` by the phases that it consists of, called ``name.inner``.

    What depends on such a phase depends on all inner phases that no other one depends on. Its condition, and
    what it depends on, hold for the inner phases that depend on no other.

    Parameters
    ----------
    raw
        A workflow whose phases are a list.
    folder
        Where names of files start from.
    expanded
        Brings an inner workflow into that form.

    Raises
    ------
    ConfigurationError
        An inner workflow can't be read, is part of itself, or is to be repeated as a whole.
    NotFoundError
        There is no such file or template.
    """
    if depth > DEEPEST:
        raise ConfigurationError(f"workflow: inner workflows are nested {depth} deep; is one part of itself?")
    phases: list[object] = []
    ends: dict[str, list[str]] = {}
    for number, phase in enumerate(raw["workflow"]):
        if isinstance(phase, dict) and phase.get("type") == TYPE:
            where = f"workflow.phases[{number}]"
            inner = _inner(phase, where, folder, expanded, depth)
            ends[str(phase["name"])] = _last(inner)
            phases += inner
        else:
            phases.append(phase)
    return {**raw, "workflow": [_after(phase, ends) for phase in phases]}


def _inner(phase: Raw, where: str, folder: Path, expanded: Callable[[Raw], Raw], depth: int) -> list[Raw]:
    if "name" not in phase or not isinstance(phase.get("workflow"), str):
        raise ConfigurationError(
            f"{where}: a phase of type {TYPE!r} has a name, and a file or template as `workflow`."
        )
    if "repeat" in phase:
        raise ConfigurationError(
            f"{where}.repeat: repeat a phase of the inner workflow; it can't be repeated as a whole."
        )
    beside = folder / phase["workflow"]
    raw, _, inner_folder = read_workflow(beside if beside.is_file() else phase["workflow"])
    whole = flattened(expanded(raw), inner_folder, expanded, depth + 1)
    own = {
        key: value
        for key, value in whole.items()
        if key not in ("name", "seed", "parallel", "cache", "resources", "workflow")
    }
    settings = merged(own, {key: value for key, value in phase.items() if key not in OWN})
    inner = [mapping(each, f"{where}.workflow") for each in whole["workflow"]]
    if any("name" not in each for each in inner):
        raise ConfigurationError(
            f"{where}.workflow: a phase of {phase['workflow']} has no name; give it one."
        )
    names = {str(each["name"]): f"{phase['name']}.{each['name']}" for each in inner}
    return [_placed(each, phase, settings, names) for each in inner]


def _placed(inner: Raw, outer: Raw, settings: Raw, names: Mapping[str, str]) -> Raw:
    """Give an inner phase its new name, what its workflow says, and the course of the outer phase."""
    inherits = bool(inner.get("inherit_best_from"))
    basis = {key: value for key, value in settings.items() if not inherits or key in OPTIONAL}
    placed = merged(_of_use(basis, inner), mapping(renamed(inner, names), "workflow"))
    placed["name"] = names[str(inner["name"])]
    before = [names.get(name, name) for name in _before(inner)]
    if inherits:
        placed["inherit_best_from"] = names.get(str(inner["inherit_best_from"]), inner["inherit_best_from"])
    if inner.get("regimes"):
        placed["regimes"] = names.get(str(inner["regimes"]), inner["regimes"])
    if isinstance(more := inner.get("more_signals_from"), list | tuple):
        placed["more_signals_from"] = [names.get(str(name), name) for name in more]
    conditions = [renamed_expression(str(inner["when"]), names)] if inner.get("when") else []
    if not before and not inherits:
        before = _before(outer)
        conditions = [*([str(outer["when"])] if outer.get("when") else []), *conditions]
    if before:
        placed["depends_on"] = before
    if conditions:
        placed["when"] = (
            conditions[0] if len(conditions) == 1 else " and ".join(f"({each})" for each in conditions)
        )
    if isinstance(repeat := inner.get("repeat"), dict) and repeat.get("until"):
        placed["repeat"] = {**repeat, "until": renamed_expression(str(repeat["until"]), names)}
    return {key: outer[key] for key in PASSED_ON if key in outer} | placed


def _of_use(settings: Raw, phase: Raw) -> Raw:
    """Leave out settings that the type of a phase does not use."""
    kind = str(phase.get("type", ""))
    used = PHASES.get(kind).sections if kind in PHASES else OPTIONAL
    return {key: value for key, value in settings.items() if key not in OPTIONAL or key in used}


def _before(phase: Raw) -> list[str]:
    stated = phase.get("depends_on", [])
    if not isinstance(stated, list | tuple):
        name = phase.get("name")
        raise ConfigurationError(f"phase {name!r}: depends_on must be a list of names, was {stated!r}.")
    return [str(name) for name in stated]


def _last(inner: list[Raw]) -> list[str]:
    """Return the phases that no other one depends on."""
    before = {name for phase in inner for name in (*_before(phase), *sources(phase))}
    return [str(phase["name"]) for phase in inner if str(phase["name"]) not in before]


def _after(phase: object, ends: Mapping[str, list[str]]) -> object:
    """Let a phase depend on the ends of inner workflows, and inherit from the last of them."""
    if not isinstance(phase, dict):
        return phase
    phase = dict(phase)
    if isinstance(stated := phase.get("depends_on"), list | tuple):
        phase["depends_on"] = [end for name in stated for end in ends.get(str(name), [str(name)])]
    if (source := str(phase.get("inherit_best_from", ""))) in ends:
        phase["inherit_best_from"] = ends[source][-1]
    return phase
