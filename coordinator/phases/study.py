"""Studies, and the searches that carry them out.

Trials go in batches: a sampler suggests a batch, its containers are simulated together, and the sampler is
told what came of them. Boundaries of batches follow from the configuration, so what is suggested is the same
for any number of workers, and a search that was killed asks for the same again when its trials are told.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from ...domain.bars import Window
from ...domain.codes import Segment
from ...domain.columns import joined, rows
from ...domain.errors import ConfigurationError
from ...domain.events import Column, PhaseOutput, Scalar, TrialsCompleted
from ...domain.expressions import breach
from ...domain.search_space import Axis, Point, axes_of, columns_of, derived_seed, size_of
from ...domain.topology import Containers, Topology
from ..configuration.ensemble_section import EnsembleSection
from ..configuration.sections import OptimizationSection
from .context import PhaseContext, containers_in_turn, joined_containers
from .rules import Finding, Rules, grid_columns, objectives_of, rules_of
from .samplers import sampler_for

REFUSALS = 1000
"""Suggestions in a row that may break constraints on parameters before a search gives up."""


class Stretch(NamedTuple):
    """The windows that a study is carried out on in turn, and where it stands among the folds."""

    windows: tuple[Window, ...]
    fold: int = -1
    segment: Segment = Segment.WHOLE


def planned_study(study: OptimizationSection, topology: Topology, stretches: Sequence[Stretch]) -> Containers:
    """Plan what follows from the configuration alone: every trial of a grid on every stretch.

    Of other algorithms it is the two ends of the space, to find values that can't be simulated; see
    `planned_trials`.
    """
    rules = rules_of(study, topology)
    if study.algorithm == "grid":
        columns = grid_columns(rules)
    else:
        axes = axes_of(rules.space)
        ends = [tuple(axis.place(share) for axis in axes) for share in (0.0, 1.0)]
        columns = columns_of(axes, ends)
    count = next(iter(columns.values())).size
    return joined_containers(
        [_containers(stretch, columns, number * count) for number, stretch in enumerate(stretches)]
    )


def planned_trials(
    study: OptimizationSection | None, planned: Containers, ensemble: EnsembleSection | None = None
) -> int:
    """Return how many containers a phase will simulate at most, as far as the configuration tells."""
    if study is not None and ensemble is not None:
        return len(planned) + study.trials
    if study is None or study.algorithm == "grid":
        return len(planned)
    return len(planned) // 2 * study.trials


def output_of(study: OptimizationSection, finding: Finding) -> PhaseOutput:
    """Return what a phase hands on that carried a study out on one stretch."""
    objective, direction = objectives_of(study)[0]
    return PhaseOutput(
        objective=objective,
        direction=direction,
        best=finding.best,
        metrics=finding.best.metrics,
        trials=finding.trials,
        front=finding.front,
    )


def findings(
    context: PhaseContext, study: OptimizationSection, stretches: Sequence[Stretch]
) -> list[Finding]:
    """Carry a study out on each stretch, all of them side by side, and choose on each.

    Raises
    ------
    ConfigurationError
        No trial of a stretch may be chosen, or its constraints leave nothing to suggest.
    """
    rules = rules_of(study, context.topology)
    if study.algorithm == "grid":
        trials = context.simulate(context.planned)
        count = len(context.planned) // len(stretches)
        parts = [rows(trials, start, start + count) for start in range(0, len(context.planned), count)]
    else:
        parts = _searched(context, rules, stretches)
    return [rules.finding(part) for part in parts]


def _searched(context: PhaseContext, rules: Rules, stretches: Sequence[Stretch]) -> list[TrialsCompleted]:
    """Suggest, simulate and tell, batch by batch, until every search has ended."""
    searches = [Search(rules, derived_seed(rules.study.seed or 0, str(item.fold))) for item in stretches]
    found: list[list[TrialsCompleted]] = [[] for _ in stretches]
    first_id = 0
    while not all(search.has_ended for search in searches):
        batches = [[] if search.has_ended else search.suggestions() for search in searches]
        counts = [len(batch) for batch in batches]
        parts = [
            _containers(stretch, columns_of(search.axes, batch))
            for search, stretch, batch in zip(searches, stretches, batches, strict=True)
            if batch
        ]
        if parts:
            containers = msgspec.structs.replace(joined_containers(parts), first_id=first_id)
            trials, start = context.simulate(containers), 0
            for part, count in zip(found, counts, strict=True):
                if count:
                    part.append(rows(trials, start, start + count))
                start += count
            first_id += start
        for search, part, count in zip(searches, found, counts, strict=True):
            search.learn(part[-1] if count else None)
    return [joined(part) for part in found]


class Search:
    """What one search has suggested and simulated so far.

    A point that is suggested again is not simulated again: the sampler is told what came of it before.

    Parameters
    ----------
    rules
        What the study asks for.
    seed
        Of its sampler.

    Attributes
    ----------
    axes
        The space.
    """

    def __init__(self, rules: Rules, seed: int) -> None:
        self.axes: tuple[Axis, ...] = axes_of(rules.space)
        self._rules = rules
        directions = [direction for _, direction in rules.objectives]
        self._sampler = sampler_for(rules.study, self.axes, directions, seed)
        self._rows: dict[Point, int] = {}
        self._waiting: list[int] = []
        self._outcomes: list[tuple[list[float], float]] = []
        self._suggested = 0
        self._progress = Progress(rules)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be suggested."""
        stop = self._rules.study.stop
        return (
            self._suggested >= self._rules.study.trials
            or len(self._rows) >= size_of(self.axes)
            or (stop is not None and self._progress.idle >= stop.patience)
        )

    def suggestions(self) -> list[Point]:
        """Return the points of the next batch that were not simulated before; there may be none."""
        size = min(self._rules.study.batch, self._rules.study.trials - self._suggested)
        new: list[Point] = []
        refused = 0
        while len(self._waiting) < size and (point := self._sampler.ask()) is not None:
            if not self._rules.kept(columns_of(self.axes, [point]), 1)[0]:
                self._sampler.refuse()
                refused += 1
                if refused == REFUSALS:
                    raise self._refusal()
                continue
            refused = 0
            if point not in self._rows:
                self._rows[point] = len(self._rows)
                new.append(point)
            self._waiting.append(self._rows[point])
        self._suggested += len(self._waiting)
        return new

    def learn(self, trials: TrialsCompleted | None) -> None:
        """Take the trials of the last batch's new points, and tell the sampler about all of its points."""
        if trials is not None:
            self._outcomes += outcomes(self._rules, trials)
        for row in self._waiting:
            values, breaches = self._outcomes[row]
            self._sampler.tell(values, breaches)
            self._progress.note(values, breaches)
        self._waiting.clear()

    def _refusal(self) -> ConfigurationError:
        return ConfigurationError(
            f"optimization: {REFUSALS:,} suggestions in a row broke one of the constraints "
            f"{', '.join(self._rules.constraints)}; loosen them, or narrow the ranges to where they hold."
        )


def outcomes(rules: Rules, trials: TrialsCompleted) -> list[tuple[list[float], float]]:
    """Return the objectives of each trial, and by how much it fails constraints on metrics."""
    count = trials.container.size
    values: dict[str, Column | Scalar] = {**trials.parameters, **trials.metrics}
    breaches = np.zeros(count)
    for constraint in rules.after:
        breaches += breach(constraint, values)
    table = np.stack([trials.metrics[metric] for metric, _ in rules.objectives], axis=1)
    return list(zip(table.tolist(), breaches.tolist(), strict=True))


class Progress:
    """For how many suggestions in a row a search has not come further.

    With one objective it has if the best becomes better by more than the tolerance, with several if a trial
    joins the front.
    """

    def __init__(self, rules: Rules) -> None:
        self._signs = np.array([1.0 if side == "maximize" else -1.0 for _, side in rules.objectives])
        stop = rules.study.stop
        self._tolerance = stop.tolerance if stop and len(rules.objectives) == 1 else 0.0
        self._reached = np.empty((0, self._signs.size))
        self.idle = 0

    def note(self, values: Sequence[float], breaches: float) -> None:
        """Take the next trial."""
        scores = self._signs * values
        is_further = (
            breaches == 0
            and bool(np.isfinite(scores).all())
            and bool((scores > self._reached + self._tolerance).any(axis=1).all())
        )
        self.idle = 0 if is_further else self.idle + 1
        if is_further:
            beaten = (scores >= self._reached).all(axis=1)
            self._reached = np.vstack([self._reached[~beaten], scores])


def _containers(stretch: Stretch, columns: Mapping[str, Column], first_id: int = 0) -> Containers:
    return containers_in_turn(
        stretch.windows,
        columns,
        count=next(iter(columns.values())).size,
        first_id=first_id,
        fold=stretch.fold,
        segment=stretch.segment,
    )
