"""What winning trials share, against the others: of a search, and of earlier runs in the store."""

from collections.abc import Iterable, Iterator

import numpy as np

from ...domain.bars import Window
from ...domain.errors import ConfigurationError
from ...domain.events import Bool, Column, Float64, PatternsDiscovered, PhaseOutput
from ...domain.statistics.patterns import Condition, Pattern, discovered_patterns, promising_space
from ...domain.topology import Containers, Topology
from ..configuration.analysis_sections import PatternsSection
from ..configuration.sections import PhaseSection
from ..streams.tried_phases import TriedPhase
from .context import PhaseContext, containers_over


def plan_pattern_discovery(
    section: PhaseSection,
    topology: Topology,  # noqa: ARG001
    window: Window,
) -> Containers:
    """Plan nothing: what is read has been simulated before."""
    wanted = section.patterns or PatternsSection()
    if not section.inherit_best_from and not wanted.runs:
        raise ConfigurationError(
            f"phase {section.name!r}: `of` must name a search, or `patterns.runs` earlier runs; state one of "
            "the two."
        )
    return containers_over(window, {}, count=0)


def pattern_discovery(context: PhaseContext) -> PhaseOutput:
    """Compare the best trials of each search with its others, all searches taken together.

    Which trials are best is decided in each search by its own objective, so that searches of other periods
    and markets can be compared; one of so few trials that none would win is left out. A trial counts once,
    if several searches tried the same parameters on the same bars.
    """
    wanted = context.section.patterns or PatternsSection()
    searches = [each for each in context.tried() if each.trials.container.size * wanted.best >= 1.0]
    names = _common(searches)
    if searches and not names:
        raise ConfigurationError(
            f"phase {context.section.name!r}: the {len(searches)} searches have no parameter in common; name "
            "fewer runs."
        )
    rows = list(_new_rows(searches, names))
    parameters = {
        name: _together([each.trials.parameters[name] for each in searches], rows) for name in names
    }
    won = [_wins(each, wanted.best) for each in searches]
    wins = np.asarray(_together(won, rows) if won else np.empty(0), np.bool_)
    patterns = discovered_patterns(parameters, wins, wanted.level) if wins.any() else []
    if patterns:
        context.publish(_event(patterns))
    output = context.earlier.output if context.earlier else None
    figures = {"searches": float(len(searches)), "trials": float(wins.size), "winners": float(wins.sum())}
    return PhaseOutput(
        objective=output.objective if output else "",
        direction=output.direction if output else "",
        best=output.best if output else None,
        metrics=output.metrics if output else {},
        trials=output.trials if output else wins.size,
        figures={**figures, "patterns": float(len(patterns))},
        verdict=_verdict(patterns, figures, wanted),
        space=promising_space(parameters, patterns),
    )


def _common(searches: list[TriedPhase]) -> list[str]:
    """Return the parameters that every search varied or tried, in the order of the first."""
    shared = [set(each.trials.parameters) for each in searches]
    first = searches[0].trials.parameters if searches else {}
    return [name for name in first if all(name in names for names in shared)]


def _new_rows(searches: list[TriedPhase], names: list[str]) -> Iterator[Bool]:
    """Tell for each search which trials are not the same as one before, on the same bars."""
    seen: set[tuple[object, ...]] = set()
    for each in searches:
        trials = each.trials
        columns = [trials.first_bar, trials.stop_bar, *(trials.parameters[name] for name in names)]
        keys = [(each.bars, *key) for key in zip(*(column.tolist() for column in columns), strict=True)]
        yield np.array([key not in seen for key in keys], np.bool_)
        seen.update(keys)


def _wins(search: TriedPhase, best: float) -> Bool:
    """Tell which trials are among the best of their search; one whose objective is undefined never is."""
    values = search.trials.metrics[search.output.objective]
    ranked: Float64 = np.where(
        np.isnan(values), -np.inf, values if search.output.direction == "maximize" else -values
    )
    wins = np.zeros(values.size, np.bool_)
    wins[np.argsort(-ranked, kind="stable")[: int(np.ceil(best * values.size))]] = True
    return wins & np.isfinite(ranked)


def _together(columns: Iterable[Column], rows: list[Bool]) -> Column:
    joined: Column = np.concatenate([column[each] for column, each in zip(columns, rows, strict=True)])
    return joined


def _event(patterns: list[Pattern]) -> PatternsDiscovered:
    rows = [(number, pattern, each) for number, pattern in enumerate(patterns) for each in pattern.conditions]
    return PatternsDiscovered(
        pattern=np.array([number for number, _, _ in rows], np.int32),
        low=np.array([each.low for _, _, each in rows]),
        high=np.array([each.high for _, _, each in rows]),
        support=np.array([pattern.support for _, pattern, _ in rows], np.int64),
        winners=np.array([pattern.winners for _, pattern, _ in rows], np.int64),
        lift=np.array([pattern.lift for _, pattern, _ in rows]),
        p_value=np.array([pattern.p_value for _, pattern, _ in rows]),
        words={
            "parameter": np.array([each.parameter for _, _, each in rows]),
            "word": np.array([each.word for _, _, each in rows]),
        },
    )


def _verdict(patterns: list[Pattern], figures: dict[str, float], wanted: PatternsSection) -> str:
    if not figures["trials"]:
        return "There are no earlier searches to learn from yet."
    read = f"{figures['trials']:,.0f} trials of {figures['searches']:,.0f} searches"
    if not patterns:
        return f"In {read} the best {wanted.best:.0%} share nothing that the others don't have as often."
    said = [
        f"{' with '.join(map(_written, each.conditions))}: {each.winners:,} of {each.support:,} trials, "
        f"{each.lift:.1f} times as often as among all (p {each.p_value:.1g})"
        for each in patterns
    ]
    return (
        f"In {read} the best {wanted.best:.0%} share {'; '.join(said)}. That is what won, not what will win."
    )


def _written(condition: Condition) -> str:
    if condition.word:
        return f"{condition.parameter} {condition.word}"
    if condition.low == condition.high:
        return f"{condition.parameter} {condition.low:g}"
    return f"{condition.parameter} {condition.low:g} to {condition.high:g}"
