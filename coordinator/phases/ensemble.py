"""A portfolio of earlier trials: each alone, weights from what came of them, and all of them together."""

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.ensembles.weights import weights_by_regime
from ...domain.errors import ConfigurationError
from ...domain.events import Column, Float64, Int8, Member, PhaseOutput, TrialsCompleted, WeightsFitted
from ...domain.regimes.performance import known_before
from ...domain.topology import Containers, Topology
from ...domain.weighting import weight_names
from ..configuration.ensemble_section import EnsembleSection
from ..configuration.sections import OptimizationSection, PhaseSection
from .context import PhaseContext, containers_over, trial_at
from .regime_analysis import LEAST_BARS
from .study import output_of
from .weight_search import require_searchable, searched_weights


def plan_ensemble(section: PhaseSection, topology: Topology, window: Window) -> Containers:
    """Plan a container for each member alone; before the members are known, a single one."""
    if not section.inherit_best_from:
        raise ConfigurationError(
            f"phase {section.name!r}: signals_from must name the phase, or phases, whose trials are members."
        )
    asked = section.ensemble or EnsembleSection()
    if asked.per_regime and not section.regimes:
        raise ConfigurationError(
            f"phase {section.name!r}: weights per regime need the regimes of a phase of type "
            "'regime_analysis'; name it as `regimes: PHASE`."
        )
    if section.log == "metrics":
        raise ConfigurationError(
            f"phase {section.name!r}: returns of members follow from fills, which must be logged; give it "
            "`log: fills` or `log: full`, was `log: metrics`."
        )
    if section.optimization is not None:
        require_searchable(section.optimization, asked, f"phase {section.name!r}")
    if not asked.members:
        return containers_over(window, {})
    members = len(asked.members)
    alone = np.repeat(np.eye(members)[:, :, np.newaxis], 1 + len(topology.regimes), axis=2)
    return containers_over(window, _weight_columns(section, topology, alone), count=members)


def require_regimes_of(section: PhaseSection, analysis: PhaseSection) -> None:
    """Check that an ensemble can take the best trials, and the classifier, of an analysis of regimes.

    Raises
    ------
    ConfigurationError
        The other phase analyzes no regimes, or the trials of a phase that gives no members; or its classifier
        is fitted up to no stated day.
    """
    where, name = f"phase {section.name!r}.regimes", analysis.name
    if analysis.type != "regime_analysis":
        raise ConfigurationError(
            f"{where}: {name!r} must be a phase of type 'regime_analysis'; it is of type {analysis.type!r}."
        )
    if analysis.inherit_best_from not in section.signal_sources:
        sources = " or ".join(map(repr, section.signal_sources))
        raise ConfigurationError(
            f"{where}: {name!r} must analyze the trials of {sources}, which are the "
            f"members; it analyzes those of {analysis.inherit_best_from!r}."
        )
    fit, data = analysis.classifier and analysis.classifier.fit.end, analysis.data
    if not (fit or (data and data.end)):
        raise ConfigurationError(
            f"{where}: the classifier of {name!r} must be fitted up to a stated day, so that it never "
            "sees later bars; give its period an end, or state `classifier: {fit: {end: ...}}`."
        )


def ensemble(context: PhaseContext) -> PhaseOutput:
    """Simulate each member alone, fit weights to their returns, and simulate them together.

    Weights are fitted to all bars of the period; with ``per_regime`` also to those of each regime, the last
    one known before a bar, if there are enough of them.
    """
    section, topology = context.section, context.topology
    asked = section.ensemble or EnsembleSection()
    context.simulate(context.planned)
    returns = np.concatenate([shard.returns for shard in context.shards()])[: len(asked.members)]
    found = context.classification
    known = known_before(found.labels, context.window.first) if found else None
    if section.optimization is not None:
        return _searched(context, section.optimization, asked)
    weights = fitted_weights(section, returns, known, len(topology.regimes))
    context.publish(weights_event(weights))
    whole = containers_over(
        context.window, _weight_columns(section, topology, weights.T[np.newaxis]), first_id=len(asked.members)
    )
    best = trial_at(context.simulate(whole), 0)
    return PhaseOutput(
        objective="",
        direction="",
        best=best,
        metrics=best.metrics,
        trials=len(asked.members) + 1,
        weights=weighted_members(asked, weights, topology.regimes),
    )


def _searched(context: PhaseContext, study: OptimizationSection, asked: EnsembleSection) -> PhaseOutput:
    """Hand on the weights of the best of many portfolios, each of them simulated."""
    section, topology = context.section, context.topology

    def simulated(weights: Float64, first_id: int) -> TrialsCompleted:
        columns = _weight_columns(section, topology, weights)
        return context.simulate(
            containers_over(context.window, columns, count=len(weights), first_id=first_id)
        )

    weights, finding = searched_weights(context, study, asked, 1 + len(topology.regimes), simulated)
    context.publish(weights_event(weights))
    output = output_of(study, finding)
    return msgspec.structs.replace(
        output,
        trials=output.trials + len(asked.members),
        weights=weighted_members(asked, weights, topology.regimes),
    )


def fitted_weights(section: PhaseSection, returns: Float64, known: Int8 | None, regimes: int) -> Float64:
    """Return weights, shape (1 + n_regimes, n_members): over all bars, and in each regime.

    Parameters
    ----------
    section
        Of the phase.
    returns
        Of each member alone, shape (n_members, n_bars).
    known, regimes
        The regime that was known before each bar, and how many there are.
    """
    asked = section.ensemble or EnsembleSection()
    least = LEAST_BARS if section.minimum_bars is None else section.minimum_bars
    where = f"phase {section.name!r}.ensemble"
    return weights_by_regime(returns.T, known, regimes, least, asked.rule, where)


def weights_event(weights: Float64) -> WeightsFitted:
    """Return weights, shape (1 + n_regimes, n_members), as the log has them."""
    rows, members = weights.shape
    return WeightsFitted(
        regime=np.repeat(np.arange(-1, rows - 1, dtype=np.int8), members),
        container=np.tile(np.arange(members, dtype=np.int32), rows),
        weight=weights.ravel(),
    )


def weighted_members(
    asked: EnsembleSection, weights: Float64, regimes: tuple[str, ...]
) -> tuple[Member, ...]:
    """Return the members with their weights, shape (1 + n_regimes, n_members)."""
    return tuple(
        Member(
            name=member.name,
            phase=member.phase,
            source=member.container,
            container=number,
            parameters=member.parameters,
            weight=float(weights[0, number]),
            regimes=dict(zip(regimes, weights[1:, number].tolist(), strict=True)),
        )
        for number, member in enumerate(asked.members)
    )


def _weight_columns(section: PhaseSection, topology: Topology, weights: Float64) -> dict[str, Column]:
    """Return the weights of strategies as parameters of containers.

    A strategy has its member's weight times its own part of the member. `weights` has the shape
    (n_containers, n_members, 1 + n_regimes).
    """
    members = (section.ensemble or EnsembleSection()).members
    owner = {name: number for number, member in enumerate(members) for name in member.strategies}
    columns: dict[str, Column] = {}
    for strategy in section.strategies:
        part = (strategy.weight or 0.0) * len(members)
        names = weight_names(strategy.name, topology.regimes)
        own = weights[:, owner[strategy.name]] * part
        columns |= {name: np.ascontiguousarray(own[:, place]) for place, name in enumerate(names)}
    return columns
