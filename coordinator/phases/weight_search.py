"""A search for the weights of an ensemble: each suggestion is simulated, instead of being calculated."""

from collections.abc import Callable

import msgspec
import numpy as np

from ...domain.columns import joined
from ...domain.ensembles.simplex import projected
from ...domain.errors import ConfigurationError
from ...domain.events import Float64, TrialsCompleted
from ...domain.search_space import Range, columns_of
from ..configuration.ensemble_section import EnsembleSection
from ..configuration.sections import OptimizationSection
from .context import PhaseContext
from .rules import Finding, Rules, objectives_of
from .study import Search

Simulated = Callable[[Float64, int], TrialsCompleted]


def require_searchable(study: OptimizationSection, asked: EnsembleSection, where: str) -> None:
    """Refuse a search for weights that can't be carried out, or would search anything else.

    Raises
    ------
    ConfigurationError
        The search names parameters, a point to start from, a grid, or a method beside it; or the bounds allow
        for no weights.
    """
    if study.parameters or study.start:
        raise ConfigurationError(
            f"{where}.optimization: an ensemble searches its weights alone; state parameters and start in "
            "the phases that search, not for the whole workflow."
        )
    if asked.method != "equal":
        raise ConfigurationError(
            f"{where}.ensemble.method: weights are either calculated by a method or searched by an "
            "optimization; keep one of the two."
        )
    if asked.max_correlation < 1.0:
        raise ConfigurationError(
            f"{where}.ensemble.max_correlation: is for weights that are calculated; leave the "
            "optimization out."
        )
    count = len(asked.members)
    if count and not count * asked.min_weight <= 1.0 <= count * asked.max_weight:
        raise ConfigurationError(
            f"{where}.ensemble: no weights of {count} members from {asked.min_weight:g} to "
            f"{asked.max_weight:g} sum to one; change the bounds, or the number of members."
        )
    if study.algorithm == "grid":
        raise ConfigurationError(
            f"{where}.optimization.algorithm: weights are continuous, and a grid tries every value; choose "
            "random, tpe, genetic, cma_es, gradient or gp."
        )


def searched_weights(
    context: PhaseContext,
    study: OptimizationSection,
    asked: EnsembleSection,
    rows: int,
    simulated: Simulated,
) -> tuple[Float64, Finding]:
    """Search for the weights of members, batch by batch.

    A suggestion has a number for each member and row of weights, brought to the nearest weights between the
    bounds that sum to one.

    Parameters
    ----------
    context, study, asked
        Of the phase.
    rows
        How many rows of weights there are: one for all bars, and one for each regime.
    simulated
        Simulates weights, shape (n_containers, n_members, n_rows), with ids from the one that is given.

    Returns
    -------
    weights, finding
        Of the best trial, shape (n_rows, n_members); and that trial, the front and the number of trials.

    Raises
    ------
    ConfigurationError
        No trial may be chosen.
    """
    members = len(asked.members)
    names = [f"member_{member:03}.{row:02}" for member in range(members) for row in range(rows)]
    space = dict.fromkeys(names, Range(asked.min_weight, asked.max_weight))
    topology = msgspec.structs.replace(context.topology, slots=())
    rules = Rules(study, objectives_of(study), space, {}, (), tuple(study.constraints), topology)
    search = Search(rules, study.seed or 0)
    tried: list[TrialsCompleted] = []
    weights: list[Float64] = []
    count = members
    while not search.has_ended:
        points = search.suggestions()
        if not points:
            search.learn(None)
            continue
        columns = columns_of(search.axes, points)
        raw = np.stack([columns[name] for name in names], axis=1).reshape(len(points), members, rows)
        low, high = asked.min_weight, asked.max_weight
        batch = np.array([[projected(row, low, high) for row in point.T] for point in raw])
        weights.append(batch)
        tried.append(simulated(batch.transpose(0, 2, 1), count))
        search.learn(tried[-1])
        count += len(points)
    finding = rules.finding(joined(tried))
    return np.concatenate(weights)[finding.best.container - members], finding
