"""Everything that a configuration can name, with what it means."""

import inspect
from collections.abc import Iterator, Mapping
from enum import IntEnum
from importlib.metadata import entry_points

import msgspec

from ...domain.errors import NotFoundError, UnknownNameError
from ...domain.events import Scalar
from ...domain.execution import EndOfData, FillPrice, Rounding
from ...domain.features import FEATURES
from ...domain.formulas import FORMULAS
from ...domain.metrics import METRICS, Profile, objective_direction
from ...domain.strategies import STRATEGIES
from ..configuration.sources import templates
from ..phases import PHASES
from ..simulation.components import ENTRY_POINTS, find_strategy
from ..workflows.templates import python_templates, templates_in

KINDS = ("strategy", "feature", "phase type", "metric", "fill policy")


class Component(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that a configuration can name.

    Attributes
    ----------
    kind
        One of `KINDS`.
    name
        How configurations spell it.
    description
        One sentence.
    parameters
        Parameters of a strategy with their defaults; of a feature with values that are usual.
    minimum
        The least values of a feature's parameters.
    space
        Values that a grid search tries where the configuration names none.
    constraints
        Relations that parameters must satisfy.
    inputs
        Columns of bars that a feature reads.
    unit
        Of a metric or a feature.
    direction
        Of a metric; ``maximize`` or ``minimize``.
    formulas
        Formula of a metric in each profile.
    """

    kind: str
    name: str
    description: str = ""
    parameters: Mapping[str, Scalar] = {}
    minimum: Mapping[str, Scalar] = {}
    space: Mapping[str, tuple[Scalar, ...]] = {}
    constraints: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    unit: str = ""
    direction: str = ""
    formulas: Mapping[str, str] = {}


class Template(msgspec.Struct, frozen=True):
    """A shipped workflow: its description is the comment in its first line."""

    name: str
    description: str
    text: str


def components() -> tuple[Component, ...]:
    """Return all components, kind by kind in the order of `KINDS`."""
    return (*_strategies(), *_features(), *_phase_types(), *_metrics(), *_fill_policies())


def components_named(name: str) -> tuple[Component, ...]:
    """Return the components of a name, of whatever kind; none is a `NotFoundError`."""
    known = components()
    found = tuple(component for component in known if component.name == name)
    if not found:
        raise NotFoundError(str(UnknownNameError("component", name, {each.name for each in known})))
    return found


def metric_formulas(name: str) -> Mapping[str, str]:
    """Return the formula of a metric in each profile; nothing for an unknown one."""
    return next((metric.formulas for metric in _metrics() if metric.name == name), {})


def shipped_templates() -> tuple[Template, ...]:
    """Return the templates in alphabetical order."""
    return tuple(
        Template(name, text.partition("\n")[0].removeprefix("#").strip(), text)
        for name, text in templates().items()
    )


def offered_templates() -> tuple[Template, ...]:
    """Return the templates in Python that installed packages offer."""
    return tuple(Template(name, found.description, "") for name, found in python_templates().items())


def templates_of(file: str) -> tuple[Template, ...]:
    """Return the templates that a Python file defines, as `admf run` calls them."""
    found = templates_in(file).values()
    return tuple(Template(f"{file}:{each.name}", each.description, "") for each in found)


def template(name: str) -> Template:
    """Return one template; `NotFoundError` is raised for an unknown one."""
    known = {found.name: found for found in shipped_templates()}
    if name not in known:
        raise NotFoundError(str(UnknownNameError("template", name, known)))
    return known[name]


def _strategies() -> Iterator[Component]:
    for name in sorted({*STRATEGIES, *(entry.name for entry in entry_points(group=ENTRY_POINTS))}):
        strategy = find_strategy(name, ())
        yield Component(
            kind="strategy",
            name=name,
            description=strategy.description,
            parameters=strategy.parameters,
            space=strategy.space,
            constraints=strategy.constraints,
        )


def _features() -> Iterator[Component]:
    for name in FEATURES:
        feature = FEATURES.get(name)
        yield Component(
            kind="feature",
            name=name,
            description=feature.description,
            parameters={key: parameter.usual for key, parameter in feature.parameters.items()},
            minimum={key: parameter.minimum for key, parameter in feature.parameters.items()},
            inputs=feature.inputs,
            unit=feature.unit,
        )


def _phase_types() -> Iterator[Component]:
    for name in PHASES:
        yield Component(kind="phase type", name=name, description=_first_line(PHASES.get(name).run))


def _metrics() -> Iterator[Component]:
    profiles = [profile.name.lower() for profile in Profile]
    for name in METRICS:
        formula = FORMULAS[name]
        yield Component(
            kind="metric",
            name=name,
            unit="" if formula.unit == "-" else formula.unit,
            direction=objective_direction(name),
            formulas={profile: formula.of(profile) for profile in profiles},
        )


def _fill_policies() -> Iterator[Component]:
    policies: dict[str, type[IntEnum]] = {"fill": FillPrice, "rounding": Rounding, "end": EndOfData}
    for key, choices in policies.items():
        values = ", ".join(choice.name.lower() for choice in choices)
        yield Component(
            kind="fill policy",
            name=key,
            description=f"{_first_line(choices)} One of {values}.",
        )


def _first_line(described: object) -> str:
    return (inspect.getdoc(described) or "").partition("\n")[0]
