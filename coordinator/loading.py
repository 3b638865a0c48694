"""From a YAML file, a template or a mapping to a checked workflow.

Three shapes are understood: a list of phases under ``workflow.phases`` (or ``workflow`` itself), a template
name under ``workflow``, and a phase type under ``workflow``, which makes a workflow of that one phase.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from ..domain.errors import ConfigurationError, NotFoundError, UnknownNameError
from .configuration import PhaseSection, WorkflowSection, read_section
from .phases import PHASES

Raw = dict[str, Any]

SHARED = (
    "data",
    "capital",
    "execution",
    "strategies",
    "risk",
    "optimization",
    "walk_forward",
    "metrics",
    "log",
)
"""Sections that may stand beside ``workflow``, where they apply to every phase."""
WHOLE = frozenset({"capital", "strategies", "log"})
"""Of these, what a phase states replaces all of the shared one; the others are merged key by key."""
OPTIONAL = frozenset({"optimization", "walk_forward"})
"""Sections that only some types of phase use."""
NOT_INHERITED = {"name", "type", "depends_on", "inherit_best_from", *OPTIONAL}
"""What a phase never takes over from the phase that it inherits from."""
MULTI_PHASE = ("multi_phase", "multi_phase_optimization")
"""Words that ``workflow.type`` may be where ``workflow.phases`` says everything."""


class Workflow(msgspec.Struct, frozen=True):
    """A workflow as written: its name, seed and phases, raw, and the folder that file names start from."""

    name: str
    seed: int
    phases: tuple[Raw, ...]
    shared: Raw
    folder: Path


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once in a mapping."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> Raw:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigurationError(
                f"{key.start_mark.name}, line {key.start_mark.line + 1}: a key must be a text."
            )
        if key.value in seen:
            raise ConfigurationError(
                f"{key.start_mark.name}, line {key.start_mark.line + 1}: the key {key.value!r} stands here "
                "for the second time in one mapping; remove one of the two."
            )
        seen.add(key.value)
    return {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def templates() -> dict[str, str]:
    """Return the shipped templates by name, with their texts."""
    folder = files(__package__.rpartition(".")[0] + ".configs")
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return {
        entry.name.removesuffix(".yaml"): entry.read_text() for entry in sorted(found, key=lambda e: e.name)
    }


def load_workflow(source: str | Path | Mapping[str, object], changes: Iterable[str] = ()) -> Workflow:
    """Read a workflow.

    Parameters
    ----------
    source
        Path of a YAML file, name of a template, or the same as a mapping.
    changes
        Settings that replace those of the source, as ``path=value``: ``capital=50000``, or below a phase,
        ``training.data.start=2001-01-01``. The value is YAML.

    Raises
    ------
    NotFoundError
        There is no such file or template.
    ConfigurationError
        The source is not a mapping with a ``workflow``, or a change does not fit.
    """
    raw, name, folder = _read(source)
    raw = _expanded(raw)
    written = [dict(phase) for phase in raw["workflow"] if isinstance(phase, dict)]
    for change in changes:
        _apply(raw, change)
    raw = _in_full(raw)
    phases = tuple(raw.pop("workflow"))
    shared = {key: raw.pop(key) for key in SHARED if key in raw}
    _check_shared(shared, written)
    name, seed = str(raw.pop("name", name)), _seed(raw.pop("seed", 0))
    if raw:
        known = {*SHARED, "name", "seed", "workflow", "strategy", "data_file"}
        raise UnknownNameError("key", next(iter(raw)), known, next(iter(raw)))
    return Workflow(name, seed, phases, shared, folder)


def resolved_workflow(workflow: Workflow) -> WorkflowSection:
    """Resolve every phase, in the order of execution, as far as that is possible before the first has run.

    A phase that inherits takes over what its source states, with the parameters that the source starts from.

    Raises
    ------
    ConfigurationError
        A section is wrong, a name stands twice, a reference leads nowhere or in a circle.
    """
    resolved: dict[str, PhaseSection] = {}
    for raw, where in ordered_phases(workflow):
        source = resolved.get(str(raw.get("inherit_best_from", "")))
        phase = resolved_phase(workflow, raw, source, where)
        resolved[phase.name] = phase
    return WorkflowSection(name=workflow.name, seed=workflow.seed, phases=tuple(resolved.values()))


def resolved_phase(workflow: Workflow, raw: Raw, source: PhaseSection | None, where: str) -> PhaseSection:
    """Merge the sections of a workflow, those of the phase that it inherits from, and a phase's own.

    Sections that its type does not use are left out, and refused where the phase itself states them. Dates of
    its own replace both dates of its source.

    Raises
    ------
    ConfigurationError
        A section is wrong, or of no use to the phase.
    """
    kind = str(raw.get("type", ""))
    unused = OPTIONAL - PHASES.get(kind, f"{where}.type").sections
    if refused := unused & set(raw):
        raise ConfigurationError(
            f"{where}: a phase of type {kind!r} does not use {', '.join(sorted(refused))}."
        )
    merged = {key: value for key, value in workflow.shared.items() if key not in unused}
    if source is not None:
        inherited = source.model_dump(exclude_none=True, exclude=NOT_INHERITED)
        if {"start", "end"} & set(_mapping(raw.get("data", {}), f"{where}.data")):
            inherited["data"] = {
                key: value for key, value in inherited["data"].items() if key not in ("start", "end")
            }
        merged = _merged({key: merged[key] for key in merged if key in OPTIONAL}, inherited)
    merged = _merged(merged, raw)
    before = [*merged.get("depends_on", ()), *filter(None, [merged.get("inherit_best_from")])]
    return read_section(PhaseSection, {**merged, "depends_on": tuple(dict.fromkeys(before))}, where)


def ordered_phases(workflow: Workflow) -> list[tuple[Raw, str]]:
    """Return the phases with their paths, each after those that it depends on, else as written."""
    waiting: dict[str, tuple[Raw, str, set[str]]] = {}
    for index, raw in enumerate(workflow.phases):
        where = f"workflow.phases[{index}]"
        if not isinstance(raw, dict) or "name" not in raw:
            raise ConfigurationError(f"{where}: a phase must be a mapping with a name, was {raw!r}.")
        name = str(raw["name"])
        if name in waiting:
            raise ConfigurationError(f"{where}.name: two phases are called {name!r}; names must differ.")
        before = raw.get("depends_on", ())
        if not isinstance(before, list | tuple):
            raise ConfigurationError(f"{where}.depends_on: must be a list of phase names, was {before!r}.")
        inherited = raw.get("inherit_best_from")
        waiting[name] = (raw, where, {*map(str, before), *([str(inherited)] if inherited else [])})
    for _, where, before in waiting.values():
        for name in sorted(before - set(waiting)):
            raise UnknownNameError("phase", name, waiting, where)
    done: list[tuple[Raw, str]] = []
    ready = [name for name in waiting if not waiting[name][2]]
    while ready:
        raw, where, _ = waiting.pop(ready[0])
        done.append((raw, where))
        for _, _, before in waiting.values():
            before.discard(str(raw["name"]))
        ready = [name for name in waiting if not waiting[name][2]]
    if waiting:
        raise ConfigurationError(
            f"workflow.phases: {', '.join(waiting)} depend on each other in a circle; remove one dependency."
        )
    return done


def _check_shared(shared: Raw, phases: list[Raw]) -> None:
    """Refuse what stands beside ``workflow`` where no phase, as it was written, takes it over."""
    for key in shared:
        if phases and not any(_takes_over(raw, key) for raw in phases):
            raise ConfigurationError(
                f"{key}: would have no effect, since every phase states its own, inherits it or has no use "
                "for it; remove it, or change that of the phase."
            )


def _takes_over(raw: Raw, key: str) -> bool:
    if key in OPTIONAL:
        kind = str(raw.get("type", ""))
        return kind not in PHASES or key in PHASES.get(kind).sections
    return key not in WHOLE or not (key in raw or raw.get("inherit_best_from"))


def _read(source: str | Path | Mapping[str, object]) -> tuple[Raw, str, Path]:
    if isinstance(source, Mapping):
        raw = msgspec.to_builtins(dict(source), builtin_types=(date,), str_keys=True, enc_hook=_builtin)
        return raw, "workflow", Path.cwd()
    shipped = templates()
    path = Path(source)
    if path.is_file():
        try:
            text, name, folder = path.read_text(encoding="utf-8"), path.stem, path.resolve().parent
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: a workflow must be UTF-8 text; {error}.") from error
    elif str(source) in shipped:
        text, name, folder = shipped[str(source)], str(source), Path.cwd()
    else:
        unknown = UnknownNameError("template", str(source), shipped)
        raise NotFoundError(f"there is no workflow file {str(source)!r}, and it is an {unknown}")
    return _parsed(text, str(source)), name, folder


def _parsed(text: str, name: str) -> Raw:
    loader = _UniqueKeyLoader(text)
    loader.name = name
    try:
        raw = loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name}: not valid YAML; {error}") from error
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise ConfigurationError(
            f"{name}: a workflow must be a mapping with the key 'workflow', was {raw!r}."
        )
    return raw


def _builtin(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise ConfigurationError(
        f"a workflow must consist of mappings, lists, texts, numbers and dates, found {value!r}."
    )


def _in_full(raw: Raw) -> Raw:
    """Replace the short forms ``strategy`` and ``data_file``."""
    raw = dict(raw)
    if "strategy" in raw:
        short = raw.pop("strategy")
        raw["strategies"] = [{"type": short} if isinstance(short, str) else short]
    if "data_file" in raw:
        file = {"file": str(raw.pop("data_file"))}
        raw["data"] = _merged(_mapping(raw.get("data", {}), "data"), file)
    return raw


def _expanded(raw: Raw, *, template: bool = False) -> Raw:
    """Replace the short forms, also of a ``workflow`` that is a name, by a list of phases."""
    if "strategy" in raw and "strategies" in raw:
        raise ConfigurationError("strategy: strategies stand beside it; keep one of the two.")
    if "data_file" in raw and "file" in _mapping(raw.get("data", {}), "data"):
        raise ConfigurationError("data_file: data.file stands beside it; keep one of the two.")
    raw = _in_full(raw)
    described = raw.get("workflow")
    if isinstance(described, dict):
        described = dict(described)
        kind = described.pop("type", MULTI_PHASE[0])
        phases = described.pop("phases", None)
        if described:
            raise UnknownNameError("key", next(iter(described)), ("type", "phases"), "workflow")
        if phases is not None and kind not in MULTI_PHASE:
            raise UnknownNameError("workflow type", str(kind), MULTI_PHASE, "workflow.type")
        described = kind if phases is None else phases
    if isinstance(described, list) and described:
        return {**raw, "workflow": described}
    if isinstance(described, str) and described in PHASES:
        return {**raw, "workflow": [{"name": described, "type": described}]}
    shipped = templates()
    if isinstance(described, str) and described in shipped and not template:
        base = _expanded(_parsed(shipped[described], described), template=True)
        return _merged({"name": described, **base}, {**raw, "workflow": base["workflow"]})
    if isinstance(described, str):
        raise UnknownNameError("workflow", described, (*PHASES, *shipped), "workflow")
    raise ConfigurationError(
        "workflow: must be a list of phases, the name of a template or a phase type; "
        f"was {described!r}. `admf templates` lists the templates."
    )


def _merged(base: Raw, over: Raw) -> Raw:
    """Merge mappings into mappings, key by key; everything else is replaced.

    A symbol belongs to its file: where another file is named, it goes.
    """
    result = {key: value for key, value in base.items() if key != "symbol" or "file" not in over}
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _mapping(value: object, where: str) -> Raw:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: must be a mapping, was {value!r}.")
    return value


def _apply(raw: Raw, change: str) -> None:
    path, equals, text = change.partition("=")
    if not equals:
        raise ConfigurationError(f"a change must be written as path=value, was {change!r}.")
    # Parameters have dots in their names: below `parameters`, the rest of the path is one key.
    above, below, parameter = path.strip().partition(".parameters.")
    *steps, key = [*above.split("."), "parameters", parameter] if below else above.split(".")
    phases = {str(phase.get("name")): phase for phase in raw["workflow"] if isinstance(phase, dict)}
    if not steps and (key in phases or key == "workflow"):
        raise ConfigurationError(
            f"--set {change}: {key!r} can't be replaced as a whole; name a key below it."
        )
    here: object = phases[steps.pop(0)] if steps and steps[0] in phases else raw
    for step in steps:
        here = _below(here, step, path)
    if not isinstance(here, dict):
        raise ConfigurationError(f"--set {change}: {path!r} leads to {here!r}, which has no keys.")
    try:
        merged = _merged(here, {key: yaml.safe_load(text)})
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {change}: the value must be YAML; {error}") from error
    here.clear()
    here.update(merged)


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


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"seed: must be a whole number of at least 0, was {value!r}.")
    return value
