"""What a study asks for, checked against the topology that it varies."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import NamedTuple

import msgspec
import numpy as np

from ...domain.choice import Objective, chosen_rows, is_on_metrics
from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.events import Bool, Column, Scalar, Trial, TrialsCompleted
from ...domain.execution import OF_EQUITY
from ...domain.expressions import satisfied
from ...domain.metrics import objective_direction
from ...domain.search import grid
from ...domain.search_space import Range, Space, axes_of
from ...domain.topology import MAX_DRAWDOWN, Topology
from ..configuration.sections import OptimizationSection, RangeSection
from .context import trial_at
from .samplers import require_suitable


class Finding(NamedTuple):
    """The best trial of a study on one stretch, the trials on its front, and how many there were."""

    best: Trial
    front: tuple[Trial, ...]
    trials: int


class Rules(msgspec.Struct, frozen=True):
    """What a study asks for.

    Attributes
    ----------
    study
        Its configuration.
    objectives
        The metrics that it follows, each with its direction.
    space
        What is searched.
    known
        Every parameter that could be, with its configured value.
    before, after
        Constraints on parameters, which decide what is simulated; and on metrics, which decide what may be
        chosen.
    topology
        Whose strategies have constraints of their own.
    """

    study: OptimizationSection
    objectives: tuple[Objective, ...]
    space: Space
    known: Mapping[str, Scalar]
    before: tuple[str, ...]
    after: tuple[str, ...]
    topology: Topology

    @property
    def constraints(self) -> tuple[str, ...]:
        """All constraints on parameters, those of the strategies included."""
        return self.before + tuple(text for slot in self.topology.slots for text in slot.strategy.constraints)

    def kept(self, columns: Mapping[str, Column], count: int) -> Bool:
        """Return which rows of parameters satisfy all constraints on parameters, shape (count,)."""
        values = {**self.known, **columns}
        kept = np.ones(count, np.bool_)
        for constraint in self.before:
            kept &= satisfied(constraint, values, "optimization.constraints")
        for slot in self.topology.slots:
            own = {name: values[f"{slot.name}.{name}"] for name in slot.parameters}
            for constraint in slot.strategy.constraints:
                kept &= satisfied(constraint, own)
        return kept

    def finding(self, trials: TrialsCompleted) -> Finding:
        """Choose among trials; raises `ConfigurationError` where none may be chosen."""
        best, front = chosen_rows(self.objectives, self.after, trials.parameters, trials.metrics)
        members = tuple(trial_at(trials, row) for row in front.tolist())
        return Finding(trial_at(trials, best), members, trials.container.size)


def rules_of(study: OptimizationSection, topology: Topology) -> Rules:
    """Check a study against the topology that it varies.

    Without configured parameters the strategies' own spaces are searched; the constraints of the strategies
    hold in any case.

    Raises
    ------
    ConfigurationError
        The space names unknown parameters, is empty, or does not suit the algorithm; a constraint or an
        objective can't be used.
    """
    objectives = objectives_of(study)
    known = tunable_parameters(topology)
    space: dict[str, Sequence[Scalar] | Range] = {
        name: Range(values.low, values.high, values.step, values.log)
        if isinstance(values, RangeSection)
        else values
        for name, values in study.parameters.items()
    } or {
        f"{slot.name}.{name}": values
        for slot in topology.slots
        for name, values in slot.strategy.space.items()
    }
    if not space:
        raise ConfigurationError(
            "optimization.parameters: the strategies have no search space of their own; "
            f"list values for some of {', '.join(sorted(known))}."
        )
    for name in space:
        if name not in known:
            raise UnknownNameError("parameter", name, known, "optimization.parameters")
    _check_values(space, topology)
    require_suitable(study, axes_of(space))
    searched = {name: known[name] for name in space}
    where = "optimization.constraints"
    on_metrics = [is_on_metrics(text, known, searched, where) for text in study.constraints]
    before, after = (
        tuple(text for text, later in zip(study.constraints, on_metrics, strict=True) if later is wanted)
        for wanted in (False, True)
    )
    return Rules(study, objectives, space, known, before, after, topology)


def objectives_of(study: OptimizationSection) -> tuple[Objective, ...]:
    """Return the metrics that a study follows, each with ``maximize`` or ``minimize``.

    That is as configured, else what is better for the metric.
    """
    if not study.objectives:
        natural = objective_direction(study.objective, "optimization.objective")
        return ((study.objective, study.direction or natural),)
    found = tuple(
        (
            section.metric,
            section.direction
            or objective_direction(section.metric, f"optimization.objectives[{number}].metric"),
        )
        for number, section in enumerate(study.objectives)
    )
    if len({metric for metric, _ in found}) < len(found):
        raise ConfigurationError("optimization.objectives: a metric stands twice; name each one once.")
    return found


def constraints_on(study: OptimizationSection | None, values: Mapping[str, Column | Scalar]) -> list[str]:
    """Return the constraints that name nothing but these values: what trials recorded.

    Others are on parameters alone, and recorded trials satisfy them.
    """
    usable = []
    for constraint in study.constraints if study else ():
        with suppress(UnknownNameError):
            satisfied(constraint, values)
            usable.append(constraint)
    return usable


def grid_columns(rules: Rules) -> dict[str, Column]:
    """Return every combination of the values of a space, without those that constraints exclude."""
    columns = grid(rules.space)
    count = next(iter(columns.values())).size
    kept = rules.kept(columns, count)
    if not kept.any():
        raise ConfigurationError(
            f"optimization: the constraints {', '.join(rules.constraints)} exclude all "
            f"{count} trials; loosen them or list other values."
        )
    return {name: column[kept] for name, column in columns.items()}


def _check_values(space: Space, topology: Topology) -> None:
    """Refuse values that a strategy or the sizer would not accept if they were configured."""
    tried = {name: _examples(name, values) for name, values in space.items()}
    for slot in topology.slots:
        for name in slot.parameters:
            for value in tried.get(f"{slot.name}.{name}", ()):
                slot.strategy.resolve({name: value}, f"optimization.parameters.{slot.name}.{name}")
    for value in tried.get(topology.sizer.parameter, ()):
        size = _number(topology.sizer.parameter, value)
        sized = msgspec.structs.replace(topology.sizer, value=size)
        sized.require_affordable(topology.execution.leverage)
    for name in (*topology.protection.parameters, MAX_DRAWDOWN):
        most = 100.0 if name == MAX_DRAWDOWN else inf
        for value in tried.get(name, ()):
            if not 0.0 <= _number(name, value) < most:
                raise ConfigurationError(
                    f"optimization.parameters.{name}: must be at least 0"
                    f"{'' if most == inf else ' and less than 100'}, was {value}."
                )
    for value in tried.get(name := f"{topology.sizer.name}.type", ()):
        if value not in (rules := [rule.name.lower() for rule in OF_EQUITY]):
            raise UnknownNameError("sizing rule", str(value), rules, f"optimization.parameters.{name}")


def _examples(name: str, values: Sequence[Scalar] | Range) -> Sequence[Scalar]:
    """Return all values of a list, and the two ends of a range."""
    if not isinstance(values, Range):
        return values
    if not values.is_whole and values.step is None:
        return (float(values.low), float(values.high))
    return tuple(values.values(name)[end] for end in (0, -1))


def _number(name: str, value: Scalar) -> float:
    if isinstance(value, str):
        raise ConfigurationError(f"optimization.parameters.{name}: must be numbers, was {value!r}.")
    return float(value)


def tunable_parameters(topology: Topology) -> dict[str, Scalar]:
    """Return every parameter that a search may vary, by qualified name, with its configured value."""
    parameters = {
        f"{slot.name}.{name}": value for slot in topology.slots for name, value in slot.parameters.items()
    }
    return parameters | topology.risk_parameters
