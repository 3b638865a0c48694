"""Out of sample: parameters found elsewhere on new bars, or walk-forward folds that train and then test."""

from collections.abc import Mapping

from ...domain.bars import Window, iso_time
from ...domain.codes import Segment
from ...domain.errors import ConfigurationError
from ...domain.events import Column, Fold, PhaseOutput, Trial, TrialsCompleted
from ...domain.folds import FoldWindows, walk_forward
from ...domain.topology import Containers, Topology
from ..configuration.sections import PhaseSection
from ..configuration.validation_sections import WalkForwardSection
from .backtest import backtest
from .context import (
    PhaseContext,
    accounts_over,
    containers_over,
    joined_containers,
    parameters_of,
    trial_at,
)
from .cross_validation import cross_validation, plan_cross_validation
from .rules import objectives_of
from .study import Stretch, findings, planned_study


def plan_validation(section: PhaseSection, topology: Topology, window: Window) -> Containers:
    """Plan the single container; or with folds, every trial on every train window, or every test window."""
    if section.cross_validation is not None:
        return plan_cross_validation(section, topology, window)
    if section.walk_forward is None:
        if section.optimization is not None:
            raise ConfigurationError(
                f"phase {section.name!r}: a validation optimizes only inside of folds; add walk_forward or "
                "cross_validation to it, or state the optimization in the phases that search, not for the "
                "whole workflow."
            )
        return containers_over(window, {})
    folds = fold_windows(section.walk_forward, window)
    if section.optimization is None:
        return _test_containers(folds, {}, 0)
    return planned_study(section.optimization, topology, _train_stretches(folds))


def _train_stretches(folds: tuple[FoldWindows, ...]) -> list[Stretch]:
    return [Stretch((fold.train,), number, Segment.TRAIN) for number, fold in enumerate(folds)]


def validation(context: PhaseContext) -> PhaseOutput:
    """Validate out of sample.

    With ``walk_forward``, each fold tests, on the bars after its train window, the parameters that were best
    on it; without an ``optimization`` the configured parameters are tested on each fold. At last one account
    trades all test windows one after the other, with the parameters of each fold in its window. Otherwise the
    configured or inherited parameters are simulated over the whole period. See also `cross_validation`.
    """
    section = context.section
    if section.cross_validation is not None:
        return cross_validation(context)
    if section.walk_forward is None:
        return backtest(context)
    folds = fold_windows(section.walk_forward, context.window)
    best: list[Trial] | list[None] = [None] * len(folds)
    trials = len(context.planned)
    planned = context.planned
    if section.optimization is not None:
        found = findings(context, section.optimization, _train_stretches(folds))
        best = [finding.best for finding in found]
        trials = sum(finding.trials for finding in found)
        planned = _test_containers(folds, parameters_of(best), trials)
    tests = context.simulate(planned)
    stitched = context.simulate(accounts_over([planned], planned.first_id + len(planned)))
    return _output(context, folds, best, tests, trial_at(stitched, 0), trials)


def fold_windows(section: WalkForwardSection, window: Window) -> tuple[FoldWindows, ...]:
    """Cut the period of a phase into folds."""
    return walk_forward(
        window,
        train_size=section.train_size,
        test_size=section.test_size,
        purge_size=section.purge_size,
        mode=section.mode,
    )


def _test_containers(
    folds: tuple[FoldWindows, ...], chosen: Mapping[str, Column], first_id: int
) -> Containers:
    return joined_containers(
        [
            containers_over(
                fold.test,
                {name: column[number : number + 1] for name, column in chosen.items()},
                first_id=first_id + number,
                fold=number,
                segment=Segment.TEST,
            )
            for number, fold in enumerate(folds)
        ]
    )


def _output(
    context: PhaseContext,
    folds: tuple[FoldWindows, ...],
    best: list[Trial] | list[None],
    tests: TrialsCompleted,
    stitched: Trial,
    trials: int,
) -> PhaseOutput:
    time = context.panel.time
    study = context.section.optimization
    objective, direction = objectives_of(study)[0] if study else ("", "")
    steps = tuple(
        Fold(
            number=number,
            train_start=iso_time(time[fold.train.first]),
            train_end=iso_time(time[fold.train.stop - 1]),
            test_start=iso_time(time[fold.test.first]),
            test_end=iso_time(time[fold.test.stop - 1]),
            best=best[number],
            test=trial_at(tests, number),
        )
        for number, fold in enumerate(folds)
    )
    return PhaseOutput(
        objective=objective,
        direction=direction,
        best=stitched,
        metrics=stitched.metrics,
        trials=trials,
        folds=steps,
    )
