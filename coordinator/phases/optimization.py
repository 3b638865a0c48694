"""A search for the parameters that do best by the objective: one container for each trial of the space."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.events import Column, PhaseOutput, Scalar
from ...domain.metrics import objective_direction
from ...domain.search import best_row, grid, satisfied
from ...domain.topology import Containers, Topology
from ..configuration import OptimizationSection, PhaseSection
from .context import PhaseContext, containers_over, trial_at


def plan_optimization(section: PhaseSection, topology: Topology, window: Window) -> Containers:
    """Plan one container for each trial of the search space."""
    study = section.optimization or OptimizationSection()
    study_direction(study)
    parameters = study_parameters(study, topology)
    return containers_over(window, parameters, count=next(iter(parameters.values())).size)


def optimization(context: PhaseContext) -> PhaseOutput:
    """Simulate every trial of the search space and choose the best; the first one among equals."""
    study = context.section.optimization or OptimizationSection()
    direction = study_direction(study)
    trials = context.simulate(context.planned)
    best = trial_at(trials, best_row(trials.metrics[study.objective], direction))
    return PhaseOutput(
        objective=study.objective,
        direction=direction,
        best=best,
        metrics=best.metrics,
        trials=len(context.planned),
    )


def study_direction(study: OptimizationSection) -> str:
    """Return ``maximize`` or ``minimize``: as configured, else what is better for the objective."""
    natural = objective_direction(study.objective, "optimization.objective")
    return study.direction or natural


def study_parameters(study: OptimizationSection, topology: Topology) -> dict[str, Column]:
    """Return the trials of a study: one column per parameter of its space, without those that are excluded.

    Without a configured space the strategies' own spaces are searched; the constraints of the strategies hold
    in any case.

    Raises
    ------
    ConfigurationError
        The space names unknown parameters or is empty, or the constraints leave no trial.
    """
    known = tunable_parameters(topology)
    space = dict(study.parameters) or {
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
    columns = grid(space)
    kept = np.ones(next(iter(columns.values())).size, np.bool_)
    values = {**known, **columns}
    for constraint in study.constraints:
        kept &= satisfied(constraint, values, "optimization.constraints")
    for slot in topology.slots:
        own = {name: values[f"{slot.name}.{name}"] for name in slot.parameters}
        for constraint in slot.strategy.constraints:
            kept &= satisfied(constraint, own)
    if not kept.any():
        theirs = [text for slot in topology.slots for text in slot.strategy.constraints]
        raise ConfigurationError(
            f"optimization: the constraints {', '.join([*study.constraints, *theirs])} exclude all "
            f"{kept.size} trials; loosen them or list other values."
        )
    return {name: column[kept] for name, column in columns.items()}


def _check_values(space: Mapping[str, Sequence[Scalar]], topology: Topology) -> None:
    """Refuse values that a strategy or the sizer would not accept if they were configured."""
    for slot in topology.slots:
        for name in slot.parameters:
            for value in space.get(f"{slot.name}.{name}", ()):
                slot.strategy.resolve({name: value}, f"optimization.parameters.{slot.name}.{name}")
    for value in space.get(topology.sizer.parameter, ()):
        size = _number(topology.sizer.parameter, value)
        sized = msgspec.structs.replace(topology.sizer, value=size)
        sized.require_affordable(topology.execution.leverage)
    for name in topology.protection.parameters:
        for value in space.get(name, ()):
            if _number(name, value) < 0.0:
                raise ConfigurationError(
                    f"optimization.parameters.{name}: must not be negative, was {value}."
                )


def _number(name: str, value: Scalar) -> float:
    if isinstance(value, str):
        raise ConfigurationError(f"optimization.parameters.{name}: must be numbers, was {value!r}.")
    return float(value)


def tunable_parameters(topology: Topology) -> dict[str, Scalar]:
    """Return every parameter that a search may vary, by qualified name, with its configured value."""
    parameters = {
        f"{slot.name}.{name}": value for slot in topology.slots for name, value in slot.parameters.items()
    }
    return {**parameters, topology.sizer.parameter: topology.sizer.value, **topology.protection.parameters}
