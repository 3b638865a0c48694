"""Auditing what a phase hands on against its trials."""

from collections.abc import Iterator

import msgspec
import numpy as np

from ...domain.choice import chosen_rows
from ...domain.codes import Segment
from ...domain.errors import ConfigurationError
from ...domain.events import Bool, Fold, PhaseOutput, Trial, TrialsCompleted
from ..configuration.sections import OptimizationSection
from ..phases.context import trial_at
from ..phases.rules import constraints_on, objectives_of

_encoder = msgspec.msgpack.Encoder(order="deterministic")


def output_faults(
    output: PhaseOutput, trials: TrialsCompleted, study: OptimizationSection | None = None
) -> Iterator[str]:
    """Say what is wrong with an output: a trial that is not as it was recorded, or not the best one.

    ``study`` is the search that the phase was configured to carry out, if any.
    """
    for trial in _named_trials(output):
        yield from _unlike_recorded(trial, trials)
    if output.folds:
        for fold in output.folds:
            yield from _fold_faults(output, fold, trials, study)
        yield from _stitched_faults(output, trials)
    else:
        # Members of an ensemble were simulated alone before portfolios of them were searched.
        everything = trials.container >= (len(output.weights) if output.objective else 0)
        yield from _not_best(output, output.best, trials, study, everything, "the phase")
    if not _same(output.metrics, _headline(output)):
        yield "its metrics must be those of its best trial, or the mean over its paths."
    searched = (trials.segment != Segment.TEST) & (trials.segment != Segment.STITCHED)
    if output.trials != (np.count_nonzero(searched) or np.count_nonzero(trials.segment == Segment.TEST)):
        yield f"it counts {output.trials} trials, and {np.count_nonzero(searched)} were simulated."


def _stitched_faults(output: PhaseOutput, trials: TrialsCompleted) -> Iterator[str]:
    """Check that its best trial, or its paths, are the accounts that trade tests one after the other."""
    rows = np.flatnonzero(trials.segment == Segment.STITCHED)
    named = output.paths or (output.best,)
    if [trial and trial.container for trial in named] != trials.container[rows].tolist():
        yield "its best trial, or its paths, must be the accounts that trade the tests of all folds."
        return
    tests = trials.segment == Segment.TEST
    first, stop = trials.first_bar[tests].min(), trials.stop_bar[tests].max()
    if (trials.first_bar[rows] != first).any() or (trials.stop_bar[rows] != stop).any():
        yield "the accounts that trade tests must trade from the first of their bars to the last one."
    if output.best and not _same(output.best.parameters, output.folds[-1].test.parameters):
        yield "its best trial must end with the parameters of the last fold."


def _headline(output: PhaseOutput) -> dict[str, float]:
    if not output.paths:
        return output.best.metrics if output.best else {}
    names = output.paths[0].metrics
    return {name: float(np.mean([path.metrics[name] for path in output.paths])) for name in names}


def _named_trials(output: PhaseOutput) -> Iterator[Trial]:
    named = [
        output.best,
        *output.front,
        *output.paths,
        *(trial for fold in output.folds for trial in (fold.best, fold.test)),
    ]
    yield from (trial for trial in named if trial is not None)


def _unlike_recorded(trial: Trial, trials: TrialsCompleted) -> Iterator[str]:
    rows = np.flatnonzero(trials.container == trial.container)
    if rows.size != 1:
        yield f"it names container {trial.container}, of which there are {rows.size} trials."
    elif not _same(trial, trial_at(trials, int(rows[0]))):
        yield f"the parameters and metrics of container {trial.container} must be those of its trial."


def _fold_faults(
    output: PhaseOutput, fold: Fold, trials: TrialsCompleted, study: OptimizationSection | None
) -> Iterator[str]:
    where = f"fold {fold.number}"
    in_fold = trials.fold == fold.number
    if not (in_fold & (trials.segment == Segment.TEST))[trials.container == fold.test.container].any():
        yield f"container {fold.test.container} must be the test of {where}."
    if fold.best is not None:
        trained = in_fold & (trials.segment == Segment.TRAIN)
        yield from _not_best(output, fold.best, trials, study, trained, where)
        if not _same(fold.best.parameters, fold.test.parameters):
            yield f"{where} must test the parameters that were best in training."


def _not_best(
    output: PhaseOutput,
    best: Trial | None,
    trials: TrialsCompleted,
    study: OptimizationSection | None,
    among: Bool,
    where: str,
) -> Iterator[str]:
    if best is None or output.objective not in trials.metrics:
        return
    several = study is not None and len(study.objectives) > 1
    objectives = objectives_of(study) if study and several else ((output.objective, output.direction),)
    rows = np.flatnonzero(among)
    parameters = {name: column[rows] for name, column in trials.parameters.items()}
    metrics = {name: column[rows] for name, column in trials.metrics.items()}
    constraints = constraints_on(study, {**trials.parameters, **trials.metrics})
    try:
        row, front = chosen_rows(objectives, constraints, parameters, metrics)
    except ConfigurationError as error:
        yield f"the best trial of {where} can't be told: {error}"
        return
    expected = trials.container[rows[row]]
    if best.container != expected:
        yield (
            f"the best trial of {where} by {output.objective} ({output.direction}) must be container "
            f"{expected}, found container {best.container}."
        )
    members = trials.container[rows[front]].tolist()
    if not output.folds and members != [trial.container for trial in output.front]:
        yield f"the front of {where} must be the containers {members}."


def _same(one: object, other: object) -> bool:
    """Whether two values are equal to the last bit, NaN included."""
    return _encoder.encode(one) == _encoder.encode(other)
