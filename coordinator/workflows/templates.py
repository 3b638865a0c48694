"""Templates of workflows that are written in Python, and used by their names like those that are shipped.

A template becomes plain configuration before anything is run: what its functions return is recorded with the
run. So a run of it is resumed, replayed and forked in processes that know nothing of the template.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from importlib.metadata import entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...domain.errors import ConfigurationError, UnknownNameError
from ..configuration.sources import Raw, plain, read_source, templates
from ..phases import PHASES
from ..simulation.components import user_module
from .first_words import in_our_words
from .stand_ins import Earlier, Reference

if TYPE_CHECKING:
    from ..result import PhaseResult

FIXED = frozenset({"name", "type", "depends_on", "continue_on_failure", "timeout_seconds"})
"""What a phase's definition says, and its generator therefore can't."""
BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
WORKFLOW, DATA = "workflow", "data"
ENTRY_POINTS = "admf.workflows"
"""Group of entry points under which an installed package offers templates."""
PARAMETERS = "parameters"
"""The setting that is for generators alone."""


class WorkflowType(StrEnum):
    """Types of phases; a definition takes the name of any registered type as well."""

    BACKTEST = "backtest"
    OPTIMIZATION = "optimization"
    VALIDATION = "validation"
    ANALYSIS = "analysis"
    REGIME_ANALYSIS = "regime_analysis"
    SIGNAL_REPLAY = "signal_replay"
    ENSEMBLE = "ensemble"


class WorkflowConfig(Mapping[str, object]):
    """What is to be run, and what generators see of it: a mapping whose items are attributes, too.

    Parameters
    ----------
    workflow_type
        Name of a template, or a type of phase; the item ``workflow``.
    parameters
        For generators alone.
    data_config
        The item ``data``.
    settings
        Whatever else may stand beside ``workflow``.

    Examples
    --------
    >>> config = WorkflowConfig("tuning", parameters={"days": 20}, data_config={"file": "sp500.csv"})
    >>> config.parameters["days"], config.data_config, dict(config)["data"]
    (20, {'file': 'sp500.csv'}, {'file': 'sp500.csv'})
    """

    def __init__(
        self,
        workflow_type: str,
        parameters: Mapping[str, object] | None = None,
        data_config: Mapping[str, object] | None = None,
        **settings: object,
    ) -> None:
        given = {WORKFLOW: str(workflow_type), PARAMETERS: parameters, DATA: data_config}
        self._written = {**settings, **{key: value for key, value in given.items() if value is not None}}

    def __getitem__(self, key: str) -> object:
        return self._written[key]

    def __getattr__(self, name: str) -> object:
        key = {"data_config": DATA, "workflow_type": WORKFLOW}.get(name, name)
        if key in (PARAMETERS, DATA):
            return self.__dict__["_written"].get(key, {})
        if name.startswith("_") or key not in self._written:
            raise AttributeError(f"no setting {name!r} stands beside `workflow`")
        return self._written[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)


class WorkflowPhaseDefinition(msgspec.Struct, frozen=True):
    """One phase of a template.

    Attributes
    ----------
    name
        Of the phase.
    workflow_type
        Its type: a `WorkflowType`, or any name that ``type`` of a phase may have.
    config_generator
        Returns the other keys of the phase as a mapping, in the words of the configuration or of the first
        design documents. It is called while the workflow is loaded, with the `WorkflowConfig` and one
        `Reference` for each phase in ``depends_on``, in that order; where that names none, it may take the
        results of all phases before it, as `Earlier`. It describes the phase and can't compute with results,
        which are not there yet; an expression such as ``"${training.trials // 2}"`` can.
    depends_on
        Names of the phases that must have ended before.
    continue_on_failure
        Whether the workflow goes on if the phase fails.
    timeout_seconds
        How long it may take, in seconds; None for any time.
    """

    name: str
    workflow_type: str
    config_generator: Callable[..., Mapping[str, object]]
    depends_on: Sequence[str] = ()
    continue_on_failure: bool = False
    timeout_seconds: float | None = None


class CompositeWorkflowTemplate(msgspec.Struct, frozen=True):
    """A template of several phases.

    Attributes
    ----------
    name, description
        What it is called by, and what it is for.
    phases
        Its phases.
    aggregation_strategy
        Makes ``result.aggregated`` of the phases' results, by name. It is called when that is asked for, in
        the process that executed the template; the log knows nothing of it.
    """

    name: str
    description: str = ""
    phases: Sequence[WorkflowPhaseDefinition] = ()
    aggregation_strategy: Callable[[Mapping[str, "PhaseResult"]], object] | None = None


class WorkflowTemplateRegistry:
    """The templates of this process, by name."""

    def __init__(self) -> None:
        self._templates: dict[str, CompositeWorkflowTemplate] = {}

    def register(self, template: CompositeWorkflowTemplate, *, replace: bool = False) -> None:
        """Add a template.

        Parameters
        ----------
        template
            The template.
        replace
            Whether it takes the place of a registered one of the same name, as in a notebook.

        Raises
        ------
        ConfigurationError
            The name is taken.
        UnknownNameError
            A phase depends on one that the template does not have.
        """
        name = template.name
        if name in PHASES or name in templates():
            raise ConfigurationError(
                f"the workflow template {name!r}: a shipped template or type of phase has that name; "
                "choose another name."
            )
        if name in self._templates and not replace:
            raise ConfigurationError(
                f"the workflow template {name!r} is registered already; choose another name, or say "
                "replace=True."
            )
        names = [phase.name for phase in template.phases]
        for phase in template.phases:
            for unknown in sorted(set(phase.depends_on) - set(names)):
                raise UnknownNameError("phase", unknown, names, f"{name}.{phase.name}.depends_on")
        self._templates[name] = template

    def get(self, name: str) -> CompositeWorkflowTemplate:
        """Return the template called `name`; `UnknownNameError` is raised for one that is not registered."""
        if name not in self._templates:
            raise UnknownNameError("workflow template", name, self._templates)
        return self._templates[name]

    def __contains__(self, name: object) -> bool:
        return name in self._templates

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._templates))


WORKFLOW_TEMPLATES = WorkflowTemplateRegistry()


def find_template(name: str) -> CompositeWorkflowTemplate | None:
    """Return the Python template of a name, found as strategies are; None if there is none.

    Parameters
    ----------
    name
        A registered one, one that an installed package offers, or ``file.py:name`` in the current folder.

    Raises
    ------
    ConfigurationError
        There is no such file, or a package offers something else.
    UnknownNameError
        The file has no such template.
    StrategyError
        The file raised when it was read.
    """
    if name in PHASES or name in templates():
        return None
    if name in WORKFLOW_TEMPLATES:
        return WORKFLOW_TEMPLATES.get(name)
    file, _, own = name.rpartition(":")
    if file.endswith(".py"):
        found = templates_in(file)
        if own not in found:
            raise UnknownNameError(f"template in {file}", own, found)
        return found[own]
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        offered = entry.load()
        if not isinstance(offered, CompositeWorkflowTemplate):
            raise ConfigurationError(
                f"the workflow {name!r}, which an installed package offers as {entry.value!r}, must be a "
                f"CompositeWorkflowTemplate, was {type(offered).__name__}."
            )
        return offered
    return None


def templates_in(file: str) -> dict[str, CompositeWorkflowTemplate]:
    """Return the templates that a Python file defines, by their names; raises as `find_template`."""
    defined = user_module(file, (), what="template").__dict__.values()
    return {each.name: each for each in defined if isinstance(each, CompositeWorkflowTemplate)}


def python_templates() -> dict[str, CompositeWorkflowTemplate]:
    """Return the registered templates, and those that installed packages offer, by name."""
    names = [*WORKFLOW_TEMPLATES, *(entry.name for entry in entry_points(group=ENTRY_POINTS))]
    return {name: found for name in names if (found := find_template(name))}


def read_workflow(source: str | Path | Mapping[str, object]) -> tuple[Raw, str, Path]:
    """Read a description of a workflow as `read_source`; it may also name a template in Python."""
    if not isinstance(source, Mapping) and not Path(source).is_file() and find_template(str(source)):
        return {"workflow": str(source)}, str(source), Path.cwd()
    return read_source(source)


def in_plain_words(template: CompositeWorkflowTemplate, raw: Raw) -> Raw:
    """Replace the name of a template by its phases; the settings beside it stay, but for ``parameters``.

    Raises
    ------
    ConfigurationError
        A generator failed, or returned something other than a mapping of plain values and references, or
        what its definition says.
    """
    settings = WorkflowConfig(
        template.name,
        raw.get(PARAMETERS),
        raw.get(DATA),
        **{key: value for key, value in raw.items() if key not in (WORKFLOW, PARAMETERS, DATA)},
    )
    phases: dict[str, Raw] = {}
    names = [phase.name for phase in template.phases]
    for number, phase in enumerate(template.phases):
        where = f"{template.name}.{phase.name}"
        written = _phase(phase, settings, Earlier(names[:number], where), where)
        phases |= {str(each["name"]): each for each in in_our_words(written, raw, phases)}
    kept = {key: value for key, value in raw.items() if key != PARAMETERS}
    return {"name": template.name, **kept, WORKFLOW: [*phases.values()]}


def aggregation_of(raw: Raw) -> Callable[..., object] | None:
    """Return how the template that a workflow names aggregates its results; None if it does not."""
    described = raw.get(WORKFLOW)
    found = find_template(described) if isinstance(described, str) else None
    return found.aggregation_strategy if found else None


def _phase(phase: WorkflowPhaseDefinition, settings: WorkflowConfig, earlier: Earlier, where: str) -> Raw:
    given: list[Reference] | list[Earlier] = [Reference(name) for name in phase.depends_on]
    try:
        if not given and _takes(phase.config_generator, 2):
            given = [earlier]
        written = phase.config_generator(settings, *given)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ConfigurationError(
            f"{where}: its config_generator failed; {type(error).__name__}: {error}. It is called with the "
            "settings, and a reference for each phase in depends_on."
        ) from error
    if not isinstance(written, Mapping):
        raise ConfigurationError(f"{where}: its config_generator must return a mapping, was {written!r}.")
    if said := sorted(FIXED & set(written)):
        raise ConfigurationError(
            f"{where}: its config_generator returned {', '.join(said)}, which its definition says; "
            "remove it from one of them."
        )
    course: Raw = {"continue_on_failure": True} if phase.continue_on_failure else {}
    if phase.timeout_seconds is not None:
        course["timeout_seconds"] = phase.timeout_seconds
    known = {"name": phase.name, "type": str(phase.workflow_type), "depends_on": [*phase.depends_on]}
    return {**known, **course, **plain(written)}


def _takes(generator: Callable[..., object], count: int) -> bool:
    """Say whether a generator takes so many arguments and no fewer."""
    try:
        places = signature(generator).parameters.values()
    except ValueError:
        return False
    needed = [place for place in places if place.default is place.empty and place.kind in BY_PLACE]
    return len(needed) == count
