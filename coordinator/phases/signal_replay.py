"""Portfolio, risk and execution over the signals of an earlier phase: strategies are not called."""

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.choice import chosen_rows
from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.events import Column, PhaseOutput, TrialsCompleted
from ...domain.topology import Containers, Topology
from ..configuration.sections import OptimizationSection, PhaseSection
from ..streams.earlier_signals import SOURCE, Source
from .context import PhaseContext, containers_over, trial_at
from .rules import Finding, constraints_on, objectives_of
from .study import Stretch, findings, output_of, planned_study


def plan_signal_replay(section: PhaseSection, topology: Topology, window: Window) -> Containers:
    """Plan one container for each setting of risk; there are as many for each container that is followed."""
    if not section.inherit_best_from:
        raise ConfigurationError(
            f"phase {section.name!r}: signals_from must name the phase whose signals it follows."
        )
    study = section.optimization or OptimizationSection()
    objectives_of(study)
    if not study.parameters:
        return containers_over(window, {})
    tunable = topology.risk_parameters
    for name in study.parameters:
        if name not in tunable:
            raise UnknownNameError("parameter of risk", name, tunable, "optimization.parameters")
    return planned_study(study, topology, [Stretch((window,))])


def signal_replay(context: PhaseContext) -> PhaseOutput:
    """Follow the signals of each chosen container with each setting of risk, and choose the best."""
    source, study = context.source, context.section.optimization or OptimizationSection()
    if source is None:
        raise ConfigurationError(f"phase {context.section.name!r}: there are no signals to follow.")
    if study.parameters and study.algorithm != "grid":
        finding = _searched(context, study, source)
    else:
        trials = context.simulate(_following(source, context.planned))
        if trials.container.size == 1:
            only = trial_at(trials, 0)
            return PhaseOutput(objective="", direction="", best=only, metrics=only.metrics, trials=1)
        finding = _finding(study, trials)
    return output_of(study, finding)


def _searched(context: PhaseContext, study: OptimizationSection, source: Source) -> Finding:
    followed = source.signals.container.size
    if followed > 1:
        raise ConfigurationError(
            f"phase {context.section.name!r}: the algorithm {study.algorithm!r} follows the signals of one "
            f"trial, and `trials` names {followed}; leave `trials` out, or search by a grid."
        )

    def simulate(containers: Containers) -> TrialsCompleted:
        return context.simulate(_following(source, containers))

    (finding,) = findings(
        msgspec.structs.replace(context, simulate=simulate), study, [Stretch((context.window,))]
    )
    return finding


def _finding(study: OptimizationSection, trials: TrialsCompleted) -> Finding:
    constraints = constraints_on(study, {**trials.parameters, **trials.metrics})
    best, front = chosen_rows(objectives_of(study), constraints, trials.parameters, trials.metrics)
    members = tuple(trial_at(trials, row) for row in front.tolist())
    return Finding(trial_at(trials, best), members, trials.container.size)


def _following(source: Source, settings: Containers) -> Containers:
    """Put every setting of risk with every container that is followed, the settings varying first."""
    taken: dict[str, Column] = {SOURCE: source.signals.container.astype(np.int64), **source.parameters}
    row, setting = np.divmod(np.arange(len(settings) * source.signals.container.size), len(settings))
    parameters = {name: column[row] for name, column in taken.items()}
    parameters |= {name: column[setting] for name, column in settings.parameters.items()}
    window = Window(int(settings.first_bar[0]), int(settings.stop_bar[0]))
    return containers_over(window, parameters, count=row.size, first_id=settings.first_id)
