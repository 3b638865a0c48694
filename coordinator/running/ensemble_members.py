"""The members of an ensemble: which trials of earlier phases they are, and as which strategies they trade."""

from datetime import date

from ...domain.errors import ConfigurationError
from ...domain.events import Scalar
from ..configuration.classifier_section import ClassifierSection, FitSection
from ..configuration.ensemble_section import EnsembleSection, MemberSection
from ..configuration.sections import PhaseSection, StrategySection
from ..streams.earlier_signals import chosen_trials
from ..streams.trace_query import TraceQuery

FIRST_DAY = date(1678, 1, 1)
"""No bar is before it, since times are 64-bit nanoseconds."""


def with_members(section: PhaseSection, trace: TraceQuery, run: str) -> PhaseSection:
    """Return the section of an ensemble with its members, the strategies that they are, and their classifier.

    The members are the chosen trials of each source, and the best trial of each regime where the section
    names an analysis of regimes. Before weights are fitted, all have the same.

    Raises
    ------
    NotFoundError
        An earlier phase has not ended well.
    ConfigurationError
        Strategies of two sources have the same name, or there are no members.
    """
    chosen: dict[str, dict[int, dict[str, Scalar]]] = {}
    for source in section.signal_sources:
        trials = chosen_trials(trace, run, source, section.trials)
        columns = trials.parameters.items()
        chosen[source] = {
            container: {name: column[row].item() for name, column in columns}
            for row, container in enumerate(trials.container.tolist())
        }
    asked, classifier = section.ensemble or EnsembleSection(), None
    if section.regimes:
        analysis = _section(trace, run, section.regimes)
        for regime in trace.get_phase_output(run, section.regimes).regimes:
            if regime.best:
                chosen[analysis.inherit_best_from][regime.best.container] = regime.best.parameters
        classifier = pinned_classifier(analysis) if asked.per_regime else None
    members: list[MemberSection] = []
    strategies: list[StrategySection] = []
    count = sum(len(containers) for containers in chosen.values())
    for source, containers in chosen.items():
        stated = _section(trace, run, source)
        for container in sorted(containers):
            member, own = _member(stated, container, containers[container], count)
            members.append(member)
            strategies += own
    if not members:
        raise ConfigurationError(
            f"phase {section.name!r}: there are no members; its sources chose no trial by `trials`."
        )
    names = [strategy.name for strategy in strategies]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"phase {section.name!r}: its members would be called {', '.join(twice)} twice; give the "
            "strategies of its sources different names."
        )
    return section.model_copy(
        update={
            "strategies": tuple(strategies),
            "classifier": classifier,
            "ensemble": asked.model_copy(update={"members": tuple(members)}),
        }
    )


def pinned_classifier(analysis: PhaseSection) -> ClassifierSection | None:
    """Return the classifier of an analysis of regimes, with the dates that it was fitted to.

    So it is fitted to the same bars in a phase of another period.
    """
    asked, data = analysis.classifier, analysis.data
    if asked is None or data is None:
        return asked
    fit = FitSection(start=asked.fit.start or data.start or FIRST_DAY, end=asked.fit.end or data.end)
    return asked.model_copy(update={"fit": fit})


def _section(trace: TraceQuery, run: str, phase: str) -> PhaseSection:
    return PhaseSection.model_validate_json(trace.get_phase_configuration(run, phase))


def _member(
    source: PhaseSection, container: int, parameters: dict[str, Scalar], members: int
) -> tuple[MemberSection, list[StrategySection]]:
    strategies = []
    for strategy in source.strategies:
        prefix = f"{strategy.name}."
        own = {
            name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)
        }
        part = 1.0 / len(source.strategies) if strategy.weight is None else strategy.weight
        strategies.append(
            strategy.model_copy(
                update={
                    "name": f"{strategy.name}_{container}",
                    "parameters": {**strategy.parameters, **own},
                    "weight": part / members,
                }
            )
        )
    member = MemberSection(
        phase=source.name,
        container=container,
        strategies=tuple(strategy.name for strategy in strategies),
        parameters=parameters,
    )
    return member, strategies
