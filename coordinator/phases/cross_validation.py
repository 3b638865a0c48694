"""Cross-validation: parameters chosen on all bars but some, tested on those, for every choice of them.

Lopez de Prado (2018), Advances in Financial Machine Learning, chapters 7 and 12.
"""

from math import sqrt

import numpy as np

from ...domain.bars import Window, iso_time
from ...domain.codes import Segment
from ...domain.cross_validation import Split, combinatorial_purged, group_windows, paths
from ...domain.errors import ConfigurationError
from ...domain.events import Fold, PhaseOutput, Trial
from ...domain.expressions import names_in
from ...domain.statistics.sharpe import Record, probabilistic_sharpe
from ...domain.topology import Containers, Topology
from ..configuration.sections import OptimizationSection, PhaseSection
from ..configuration.validation_sections import CrossValidationSection
from .context import (
    PhaseContext,
    accounts_over,
    containers_over,
    joined_containers,
    parameters_of,
    taken,
    trial_at,
)
from .rules import objectives_of
from .study import Stretch, findings, planned_study

OF_THE_MARKET = frozenset({"alpha", "beta", "information_ratio", "buy_and_hold_return"})
"""Metrics that also follow from bars between the stretches that a container trades: those of the tests."""
LEVEL = 0.95
"""How probable an edge must be on the path in the middle for the verdict to speak for it."""


def plan_cross_validation(section: PhaseSection, topology: Topology, window: Window) -> Containers:
    """Plan every trial of the search on the train stretches of every split."""
    study = section.optimization
    where = f"phase {section.name!r}"
    if study is None or section.walk_forward is not None:
        raise ConfigurationError(
            f"{where}.cross_validation: needs an optimization whose choice it validates, and no walk_forward."
        )
    named = {metric for metric, _ in objectives_of(study)}
    named |= {name for constraint in study.constraints for name in names_in(constraint)}
    if refused := sorted(named & OF_THE_MARKET):
        raise ConfigurationError(
            f"{where}.optimization: {', '.join(refused)} would see the bars that are tested, between those "
            "that are trained on; choose another metric."
        )
    return planned_study(study, topology, _train_stretches(_splits(section.cross_validation, window)))


def cross_validation(context: PhaseContext) -> PhaseOutput:
    """Choose in every split by its train bars, test the choice on each group it leaves out, and trade paths.

    A train container trades its stretches one after the other in one account, which is flat in between. A
    path is an account that trades all groups one after the other, each with the choice of another split.
    """
    section = context.section
    study = section.optimization or OptimizationSection()
    wanted = section.cross_validation or CrossValidationSection(folds=2)
    splits = _splits(wanted, context.window)
    found = findings(context, study, _train_stretches(splits))
    best = [finding.best for finding in found]
    trials = sum(finding.trials for finding in found)
    planned = _test_containers(splits, best, group_windows(context.window, wanted.folds), trials)
    tests = context.simulate(planned)
    owners = [(number, group) for number, split in enumerate(splits) for group in split.groups]
    members = [
        taken(planned, np.array([owners.index((split, group)) for group, split in enumerate(path)]))
        for path in paths(wanted.folds, wanted.test_folds)
    ]
    accounts = context.simulate(accounts_over(members, trials + len(planned)))
    walked = tuple(trial_at(accounts, row) for row in range(len(members)))
    objective, direction = objectives_of(study)[0]
    time = context.panel.time
    folds = tuple(
        Fold(
            number=number,
            train_start=iso_time(time[splits[number].train[0].first]),
            train_end=iso_time(time[splits[number].train[-1].stop - 1]),
            test_start=iso_time(time[planned.first_bar[row]]),
            test_end=iso_time(time[planned.stop_bar[row] - 1]),
            best=best[number],
            test=trial_at(tests, row),
        )
        for row, (number, _) in enumerate(owners)
    )
    figures = _figures(context, splits, best, walked)
    return PhaseOutput(
        objective=objective,
        direction=direction,
        best=None,
        metrics={name: float(np.mean(column)) for name, column in accounts.metrics.items()},
        trials=trials,
        folds=folds,
        paths=walked,
        figures=figures,
        verdict=_verdict(figures),
    )


def _splits(section: CrossValidationSection | None, window: Window) -> tuple[Split, ...]:
    wanted = section or CrossValidationSection(folds=2)
    return combinatorial_purged(
        window,
        folds=wanted.folds,
        test_folds=wanted.test_folds,
        purge_size=wanted.purge_size,
        embargo_size=wanted.embargo_size,
    )


def _train_stretches(splits: tuple[Split, ...]) -> list[Stretch]:
    return [Stretch(split.train, number, Segment.TRAIN) for number, split in enumerate(splits)]


def _test_containers(
    splits: tuple[Split, ...], best: list[Trial], groups: tuple[Window, ...], first_id: int
) -> Containers:
    parameters = parameters_of(best)
    return joined_containers(
        [
            containers_over(
                groups[group],
                {name: column[number : number + 1] for name, column in parameters.items()},
                first_id=first_id,
                fold=number,
                segment=Segment.TEST,
            )
            for number, split in enumerate(splits)
            for group in split.groups
        ]
    )


def _figures(
    context: PhaseContext, splits: tuple[Split, ...], best: list[Trial], walked: tuple[Trial, ...]
) -> dict[str, float]:
    """Measure how the choice did in sample, and how the paths did out of sample."""
    ratios = np.array([path.metrics["sharpe_ratio"] for path in walked])
    returns = np.array([path.metrics["total_return"] for path in walked])
    # Bars between train stretches are flat: they scale a ratio down by the root of the part that is traded.
    inside = [
        trial.metrics["sharpe_ratio"] / sqrt(_traded(split))
        for trial, split in zip(best, splits, strict=True)
    ]
    middle = walked[int(np.argsort(ratios, kind="stable")[(ratios.size - 1) // 2])].metrics
    record = Record(
        middle["sharpe_ratio"] / sqrt(context.topology.bars_per_year),
        len(context.window),
        middle["skewness"],
        middle["kurtosis"] + 3.0,
    )
    return {
        "splits": float(len(splits)),
        "paths": float(ratios.size),
        "in_sample_sharpe_ratio": float(np.mean(inside)),
        "sharpe_ratio": float(np.mean(ratios)),
        "sharpe_ratio_low": float(np.min(ratios)),
        "sharpe_ratio_high": float(np.max(ratios)),
        "sharpe_ratio_deviation": float(np.std(ratios)),
        "total_return": float(np.mean(returns)),
        "total_return_low": float(np.min(returns)),
        "total_return_high": float(np.max(returns)),
        "losing_paths": float(np.sum(returns < 0.0)),
        "probabilistic_sharpe": probabilistic_sharpe(record),
    }


def _traded(split: Split) -> float:
    return sum(map(len, split.train)) / (split.train[-1].stop - split.train[0].first)


def _verdict(figures: dict[str, float]) -> str:
    # What is not defined doesn't speak for an edge.
    found = figures["probabilistic_sharpe"] >= LEVEL
    low, high = figures["sharpe_ratio_low"], figures["sharpe_ratio_high"]
    said = "An edge held" if found else "No edge held"
    return (
        f"{said} out of sample: {figures['paths']:,.0f} paths have Sharpe ratios between {low:.2f} and "
        f"{high:.2f}, {figures['sharpe_ratio']:.2f} in the mean, where what was chosen had "
        f"{figures['in_sample_sharpe_ratio']:.2f} in training; {figures['losing_paths']:,.0f} lose. On the "
        "one in the middle the true ratio is above zero with a probability of "
        f"{figures['probabilistic_sharpe']:.3f} (at least {LEVEL:g} is wanted)."
    )
