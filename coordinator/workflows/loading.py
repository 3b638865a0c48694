"""From a YAML file, a template or a mapping to a checked workflow.

Three shapes are understood: a list of phases under ``workflow.phases`` (or ``workflow`` itself), a template
name under ``workflow``, and a phase type under ``workflow``, which makes a workflow of that one phase.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import msgspec

from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.search_space import derived_seed
from ..configuration.changes import SOURCES, apply_change, mapping, merged
from ..configuration.reading import read_section
from ..configuration.references import PREVIOUS, resolved
from ..configuration.resources_section import ResourcesSection
from ..configuration.sections import OPTIONAL, CourseSection, PhaseSection, WorkflowSection
from ..configuration.sources import Raw, parsed, templates
from ..phases import PHASES
from .phase_graph import Node, PhaseGraph, phase_graph
from .subworkflows import flattened
from .templates import WORKFLOW_TEMPLATES, find_template, in_plain_words, read_workflow

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
    "shard_size",
)
"""Sections that may stand beside ``workflow``, where they apply to every phase."""
WHOLE = frozenset({"capital", "strategies", "log", "shard_size"})
"""Of these, what a phase states replaces all of the shared one; the others are merged key by key."""
NOT_INHERITED = {"name", "type", "depends_on", "inherit_best_from", *OPTIONAL, *CourseSection.model_fields}
"""What a phase never takes over from the phase that it inherits from."""
WITH_WEIGHTS = {"classifier"}
"""Of these, what it takes over where its type has a use for it: weights by regime need their classifier."""
SOURCES_OF = {
    "signals_from": ("signal_replay", "ensemble"),
    "of": tuple(name for name in PHASES if PHASES.get(name).analyzes),
    "ensemble_from": ("backtest", "validation"),
}
"""Other words for ``inherit_best_from``, and the types of phases in which they are used."""
MULTI_PHASE = ("multi_phase", "multi_phase_optimization")
"""Words that ``workflow.type`` may be where ``workflow.phases`` says everything."""


class Workflow(msgspec.Struct, frozen=True, dict=True):
    """A workflow as written: its name, seed and phases, raw, and the folder that file names start from.

    At most `parallel` phases are carried out at once. With `cache`, phases that another run has completed are
    taken over. Its runs may take no more than `resources`.
    """

    name: str
    seed: int
    phases: tuple[Raw, ...]
    shared: Raw
    folder: Path
    parallel: int = 1
    cache: bool = True
    resources: ResourcesSection = ResourcesSection()

    @cached_property
    def graph(self) -> PhaseGraph:
        """Its phases in the order of their execution; raises as `phase_graph`."""
        return phase_graph(self.phases)

    def to_json(self) -> str:
        """Return all but the folder as JSON with sorted keys."""
        written = {
            "name": self.name,
            "seed": self.seed,
            "parallel": self.parallel,
            "cache": self.cache,
            "resources": self.resources.model_dump(exclude_none=True),
            "phases": self.phases,
            "shared": self.shared,
        }
        return msgspec.json.encode(written, order="deterministic").decode()

    @classmethod
    def from_json(cls, text: str, folder: str) -> "Workflow":
        """Restore a workflow from what `to_json` returned."""
        written = msgspec.json.decode(text)
        return cls(
            written["name"],
            written["seed"],
            tuple(written["phases"]),
            written["shared"],
            Path(folder),
            written.get("parallel", 1),
            written.get("cache", True),
            ResourcesSection(**written.get("resources", {})),
        )


def load_workflow(source: str | Path | Mapping[str, object], changes: Iterable[str] = ()) -> Workflow:
    """Read a workflow.

    Parameters
    ----------
    source
        Path of a YAML file, name of a template (shipped, or registered in Python), or the same as a mapping.
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
    return described_workflow(*read_workflow(source), changes)


def described_workflow(raw: Raw, name: str, folder: Path, changes: Iterable[str] = ()) -> Workflow:
    """Return the workflow of a description that `read_workflow` returned, as `load_workflow` does."""
    return _workflow(flattened(_expanded(raw), folder, _expanded), changes, name, folder)


def changed_workflow(workflow: Workflow, changes: Iterable[str]) -> Workflow:
    """Return a workflow with some of its settings replaced, as `load_workflow` replaces them.

    Raises
    ------
    ConfigurationError
        A change does not fit.
    """
    own = {
        "name": workflow.name,
        "seed": workflow.seed,
        "parallel": workflow.parallel,
        "cache": workflow.cache,
        "resources": workflow.resources.model_dump(exclude_none=True),
    }
    written = {**own, **workflow.shared, "workflow": workflow.phases}
    raw: Raw = msgspec.to_builtins(written)
    return _workflow({**raw, "workflow": list(raw["workflow"])}, changes, workflow.name, workflow.folder)


def _workflow(raw: Raw, changes: Iterable[str], name: str, folder: Path) -> Workflow:
    """Apply changes to a workflow whose phases are a list, and check what stands beside them."""
    written = [dict(phase) for phase in raw["workflow"] if isinstance(phase, dict)]
    for change in changes:
        apply_change(raw, change)
    raw = _in_full(raw)
    phases = tuple(map(_phase_in_full, raw.pop("workflow")))
    shared = {key: raw.pop(key) for key in SHARED if key in raw}
    _check_shared(shared, written)
    name, seed = str(raw.pop("name", name)), _whole(raw.pop("seed", 0), "seed", 0)
    parallel = _whole(raw.pop("parallel", 1), "parallel", 1)
    cache = raw.pop("cache", True)
    if not isinstance(cache, bool):
        raise ConfigurationError(f"cache: must be true or false, was {cache!r}.")
    resources = read_section(ResourcesSection, raw.pop("resources", {}), "resources")
    if raw:
        known = {
            *SHARED,
            "name",
            "seed",
            "parallel",
            "cache",
            "resources",
            "workflow",
            "strategy",
            "data_file",
        }
        raise UnknownNameError("key", next(iter(raw)), known, next(iter(raw)))
    return Workflow(name, seed, phases, shared, folder, parallel, cache, resources)


def resolved_workflow(workflow: Workflow) -> WorkflowSection:
    """Resolve every phase, in the order of execution, as far as that is possible before the first has run.

    A phase that inherits takes over what its source states, with the parameters that the source starts from.
    What refers to an output is left out, or has its default.

    Raises
    ------
    ConfigurationError
        A section is wrong, a name stands twice, a reference leads nowhere or in a circle.
    """
    found: dict[str, PhaseSection] = {}
    nodes = workflow.graph.nodes
    later = (PREVIOUS, *(node.name for node in nodes))
    for node in nodes:
        source = found.get(str(node.work.get("inherit_best_from", "")))
        found[node.name] = resolved_phase(workflow, node, source, {}, later)
    return WorkflowSection(
        name=workflow.name,
        seed=workflow.seed,
        parallel=workflow.parallel,
        cache=workflow.cache,
        resources=workflow.resources,
        phases=tuple(found.values()),
    )


def resolved_phase(
    workflow: Workflow,
    node: Node,
    source: PhaseSection | None,
    values: Mapping[str, object],
    later: Iterable[str] = (),
    turn: int = 1,
) -> PhaseSection:
    """Merge the sections of a workflow, those of the phase that it inherits from, and a phase's own.

    Sections that its type does not use are left out, and refused where the phase itself states them. Dates of
    its own replace both dates of its source.

    Parameters
    ----------
    workflow, node
        The phase.
    source
        The phase that it inherits from, if there is one.
    values, later
        What its references lead to, and the phases whose outputs are not known yet; see `resolved`.
    turn
        Which turn it is for; those of a search by chance have seeds of their own.

    Raises
    ------
    ConfigurationError
        A section is wrong, of no use to the phase, or refers to what is not there.
    """
    where = node.where
    raw = mapping(resolved(node.work, values, where, tuple(later)), where)
    unused = OPTIONAL - PHASES.get(node.type, f"{where}.type").sections
    if refused := unused & set(raw):
        raise ConfigurationError(
            f"{where}: a phase of type {node.type!r} does not use {', '.join(sorted(refused))}."
        )
    basis = {key: value for key, value in workflow.shared.items() if key not in unused}
    if source is not None:
        inherited = source.model_dump(exclude_none=True, exclude=NOT_INHERITED - (WITH_WEIGHTS - unused))
        if {"start", "end"} & set(mapping(raw.get("data", {}), f"{where}.data")):
            inherited["data"] = {
                key: value for key, value in inherited["data"].items() if key not in ("start", "end")
            }
        basis = merged({key: basis[key] for key in basis if key in OPTIONAL}, inherited)
    course = node.course.model_dump(exclude_unset=True)
    stated = {**merged(basis, raw), **course, "depends_on": node.before}
    return _seeded(read_section(PhaseSection, stated, where), workflow.seed, turn)


def _seeded(phase: PhaseSection, seed: int, turn: int) -> PhaseSection:
    """Give what is left to chance a seed that follows from the workflow's and the name of phase and turn."""
    own = {"seed": derived_seed(seed, phase.name if turn == 1 else f"{phase.name}#{turn}")}
    study = phase.optimization
    if study is not None and study.algorithm != "grid" and study.seed is None:
        phase = phase.model_copy(update={"optimization": study.model_copy(update=own)})
    for key, asked in (("analysis", phase.analysis), ("monte_carlo", phase.monte_carlo)):
        if asked is not None and asked.seed is None:
            phase = phase.model_copy(update={key: asked.model_copy(update=own)})
    return phase


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


def _check_short_forms(raw: Raw) -> None:
    if "strategy" in raw and "strategies" in raw:
        raise ConfigurationError("strategy: strategies stand beside it; keep one of the two.")
    if "data_file" in raw and (beside := SOURCES & set(mapping(raw.get("data", {}), "data")) - {"symbol"}):
        raise ConfigurationError(f"data_file: data.{min(beside)} stands beside it; keep one of the two.")


def _in_full(raw: Raw) -> Raw:
    """Replace the short forms ``strategy`` and ``data_file``."""
    raw = dict(raw)
    if "strategy" in raw:
        short = raw.pop("strategy")
        raw["strategies"] = [{"type": short} if isinstance(short, str) else short]
    if "data_file" in raw:
        file = {"file": str(raw.pop("data_file"))}
        raw["data"] = merged(mapping(raw.get("data", {}), "data"), file)
    return raw


def _phase_in_full(raw: Raw) -> Raw:
    """Replace the short forms ``signals_from`` and ``of`` by the phase that a phase then inherits from."""
    word = next((word for word in SOURCES_OF if isinstance(raw, dict) and word in raw), None)
    if word is None:
        return raw
    if raw.get("type") not in SOURCES_OF[word] or "inherit_best_from" in raw:
        raise ConfigurationError(
            f"phase {raw.get('name', '')!r}: {word} is another word for inherit_best_from in a phase "
            f"of type {' or '.join(map(repr, SOURCES_OF[word]))}; state one of the two, and change "
            "the latter by --set."
        )
    raw = {"inherit_best_from" if key == word else key: value for key, value in raw.items()}
    if raw["type"] == "ensemble" and isinstance(names := raw["inherit_best_from"], list) and names:
        raw["inherit_best_from"] = names[0]
        raw |= {"more_signals_from": names[1:]} if names[1:] else {}
    return raw


def _expanded(raw: Raw, *, template: bool = False) -> Raw:
    """Replace the short forms, also of a ``workflow`` that is a name, by a list of phases."""
    _check_short_forms(raw)
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
        return {**raw, "workflow": [_phase_in_full(phase) for phase in described]}
    if isinstance(described, str) and described in PHASES:
        return {**raw, "workflow": [{"name": described, "type": described}]}
    if isinstance(described, str) and (found := find_template(described)):
        return _expanded(in_plain_words(found, raw))
    shipped = templates()
    if isinstance(described, str) and described in shipped and not template:
        base = _expanded(parsed(shipped[described], described), template=True)
        return merged({"name": described, **base}, {**raw, "workflow": base["workflow"]})
    if isinstance(described, str):
        raise UnknownNameError("workflow", described, (*PHASES, *shipped, *WORKFLOW_TEMPLATES), "workflow")
    raise ConfigurationError(
        "workflow: must be a list of phases, the name of a template or a phase type; "
        f"was {described!r}. `admf templates` lists the templates."
    )


def _whole(value: object, key: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{key}: must be a whole number of at least {least}, was {value!r}.")
    return value
