"""Samplers suggest the next points of a search. They keep nothing: the trials in the log are the study."""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...domain.errors import ConfigurationError
from ...domain.gradient import ascent
from ...domain.search_space import Axis, Place, Point
from ..configuration.sections import OptimizationSection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

NEEDS: dict[str, tuple[str, ...]] = {
    "tpe": ("optuna",),
    "genetic": ("optuna",),
    "cma_es": ("optuna", "cmaes"),
    "gp": ("optuna", "scipy", "torch"),
}
"""The libraries that an algorithm needs beside numpy."""
EXTRAS = {"tpe": "optuna", "genetic": "optuna", "cma_es": "optuna", "gp": "gp"}
"""The extra that installs them."""
SINGLE = frozenset({"cma_es", "gradient"})
"""Algorithms that follow one objective only."""
SETTINGS = Lock()
"""Held while settings of the whole process are changed."""
ORDERED = SINGLE
"""Algorithms that need parameters with an order: numbers, or true and false."""


class Sampler(Protocol):
    """Suggests points, one after the other, and is told in the same order what came of them."""

    def ask(self) -> Point | None:
        """Return the next point; None where results must be told first."""

    def refuse(self) -> None:
        """Take the last point back, which breaks a constraint on parameters."""

    def tell(self, values: Sequence[float], breaches: float) -> None:
        """Tell the objectives of the oldest point that waits for them, and by how much it fails constraints.

        Undefined objectives (NaN) count as a constraint that is failed.
        """


def sampler_for(
    study: OptimizationSection, axes: Sequence[Axis], directions: Sequence[str], seed: int
) -> Sampler:
    """Return the sampler of a study, which begins at its starting point if it has one.

    Raises
    ------
    ConfigurationError
        The algorithm can't search such a space, can't follow several objectives, or needs a library that is
        not installed.
    """
    require_suitable(study, axes)
    start = tuple(axis.nearest(study.start[axis.name]) for axis in axes) if study.start else None
    if study.algorithm == "random":
        return RandomSampler(axes, seed, start)
    if study.algorithm == "gradient":
        return GradientSampler(axes, directions[0], seed, start)
    return OptunaSampler(study, axes, directions, seed, start)


def require_suitable(study: OptimizationSection, axes: Sequence[Axis]) -> None:
    """Raise `ConfigurationError` where an algorithm can't carry a study out; see `sampler_for`."""
    name = study.algorithm
    if name in SINGLE and len(study.objectives) > 1:
        raise ConfigurationError(
            f"optimization.objectives: {name} follows one objective; choose genetic, tpe, gp or random."
        )
    if study.start and name == "grid":
        raise ConfigurationError(
            "optimization.start: a grid tries every point, wherever it starts; remove it, or choose another "
            "algorithm."
        )
    names = [axis.name for axis in axes]
    if study.start and (others := sorted(set(study.start) ^ set(names))):
        raise ConfigurationError(
            f"optimization.start: must name each parameter of the search and no other ({', '.join(names)}); "
            f"see {others[0]}."
        )
    texts = [axis.name for axis in axes if not axis.is_ordered]
    if name in ORDERED and texts:
        raise ConfigurationError(
            f"optimization.parameters.{texts[0]}: {name} needs parameters with an order, and texts have "
            "none; choose another algorithm, or leave the parameter out of the search."
        )
    if name == "cma_es" and len(axes) < 2:
        raise ConfigurationError(
            "optimization.algorithm: cma_es needs at least two parameters; choose tpe for one."
        )
    missing = [library for library in NEEDS.get(name, ()) if find_spec(library) is None]
    if missing:
        raise ConfigurationError(
            f"optimization.algorithm: {name} needs {' and '.join(missing)}, not installed here; run "
            f"`pip install 'admf[{EXTRAS[name]}]'`, or choose random, gradient or grid."
        )


def sampler_code(study: OptimizationSection | None) -> dict[str, str]:
    """Return the version of each library that suggests points: another one may suggest others."""
    return {name: version(name) for name in NEEDS.get(study.algorithm if study else "", ())}


class RandomSampler:
    """Draws every value of an axis, or every part of a continuous one, with equal probability."""

    def __init__(self, axes: Sequence[Axis], seed: int, start: Point | None) -> None:
        self._axes = axes
        self._chance = np.random.default_rng(seed)
        self._start = start

    def ask(self) -> Point | None:
        """Return the next point."""
        if (start := self._start) is not None:
            self._start = None
            return start
        shares = self._chance.random(len(self._axes)).tolist()
        return tuple(axis.drawn(share) for axis, share in zip(self._axes, shares, strict=True))

    def refuse(self) -> None:
        """Do nothing: the next point is drawn anyway."""

    def tell(self, values: Sequence[float], breaches: float) -> None:
        """Do nothing: nothing is learned."""


class GradientSampler:
    """Climbs along finite differences; see `admf.domain.gradient.ascent`.

    A point that breaks a constraint is worse than any other.
    """

    def __init__(self, axes: Sequence[Axis], direction: str, seed: int, start: Point | None) -> None:
        self._sign = 1.0 if direction == "maximize" else -1.0
        shares = [axis.share(place) for axis, place in zip(axes, start, strict=True)] if start else None
        self._ascent = ascent(axes, np.random.default_rng(seed), shares)
        self._wanted = next(self._ascent)
        self._values: list[float | None] = []

    def ask(self) -> Point | None:
        """Return the next point of a step; None where the step waits for results."""
        if len(self._values) == len(self._wanted):
            return None
        self._values.append(None)
        return self._wanted[len(self._values) - 1]

    def refuse(self) -> None:
        """Count the last point as the worst."""
        self._values[-1] = -np.inf
        self._go_on()

    def tell(self, values: Sequence[float], breaches: float) -> None:
        """Take the value of the oldest point that waits for it."""
        (value,) = values
        is_good = breaches == 0 and np.isfinite(value)
        self._values[self._values.index(None)] = self._sign * value if is_good else -np.inf
        self._go_on()

    def _go_on(self) -> None:
        known = [value for value in self._values if value is not None]
        if len(known) == len(self._wanted):
            self._wanted, self._values = self._ascent.send(known), []


class OptunaSampler:
    """Asks a sampler of Optuna, whose study lives in memory as long as the phase does.

    Lists of numbers are whole parameters, the index of a value in its order; lists of texts are categories.
    Populations are as large as a batch.
    """

    def __init__(
        self,
        study: OptimizationSection,
        axes: Sequence[Axis],
        directions: Sequence[str],
        seed: int,
        start: Point | None,
    ) -> None:
        import optuna

        self._axes = axes
        self._algorithm = study.algorithm
        self._maximize = [direction == "maximize" for direction in directions]
        self._worst = [0.0] * len(directions)
        self._waiting: list[optuna.Trial] = []
        with _quiet():
            self._space = {axis.name: _distribution(axis) for axis in axes}
            self._study = optuna.create_study(
                directions=[_direction(name) for name in directions],
                sampler=_made(study.algorithm, study.batch, axes, seed),
            )
            if start is not None:
                pairs = zip(axes, start, strict=True)
                self._study.enqueue_trial({axis.name: _suggested(axis, place) for axis, place in pairs})

    def ask(self) -> Point | None:
        """Return the next point."""
        with _quiet():
            trial = self._study.ask(self._space)
        self._waiting.append(trial)
        return tuple(_place(axis, trial.params[axis.name]) for axis in self._axes)

    def refuse(self) -> None:
        """Take the last point back: genetic and CMA-ES drop it, the others learn that it is infeasible."""
        self._finish(self._waiting.pop(), [np.nan], 1.0)

    def tell(self, values: Sequence[float], breaches: float) -> None:
        """Tell what came of the oldest point that waits for it.

        Optuna takes no NaN: where it can't be dropped, it is told as the worst value so far, and infeasible.
        """
        self._finish(self._waiting.pop(0), values, breaches)

    def _finish(self, trial: "optuna.Trial", values: Sequence[float], breaches: float) -> None:
        from optuna.trial import TrialState

        is_defined = bool(np.isfinite(values).all())
        dropped = {"genetic": not is_defined, "cma_es": not is_defined or breaches > 0}
        with _quiet():
            if dropped.get(self._algorithm, False):
                self._study.tell(trial, state=TrialState.FAIL)
                return
            if self._algorithm != "cma_es":
                trial.set_constraint("breaches", max(breaches, float(not is_defined)))
            self._study.tell(trial, list(values) if is_defined else self._worst)
        if is_defined:
            pairs = zip(self._maximize, self._worst, values, strict=True)
            self._worst = [min(low, value) if more else max(low, value) for more, low, value in pairs]


def _made(algorithm: str, batch: int, axes: Sequence[Axis], seed: int) -> "optuna.samplers.BaseSampler":
    import optuna

    match algorithm:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
        case "genetic":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(batch, 2))
    stepped = any(axis.values is not None for axis in axes)
    return optuna.samplers.CmaEsSampler(
        seed=seed, popsize=max(batch, 2), with_margin=stepped, warn_independent_sampling=False
    )


def _direction(name: str) -> "optuna.study.StudyDirection":
    from optuna.study import StudyDirection

    return StudyDirection[name.upper()]


def _distribution(axis: Axis) -> "optuna.distributions.BaseDistribution":
    import optuna.distributions as kinds

    if axis.values is None:
        return kinds.FloatDistribution(axis.low, axis.high, log=axis.log)
    count = axis.values.size
    if not axis.is_ordered:
        return kinds.CategoricalDistribution(range(count))
    first = axis.first if axis.log else 0
    return kinds.IntDistribution(first, first + count - 1, log=axis.log)


def _place(axis: Axis, suggested: Place) -> Place:
    return suggested if axis.values is None else int(suggested) - (axis.first if axis.log else 0)


def _suggested(axis: Axis, place: Place) -> Place:
    """Return what Optuna calls a place: the inverse of `_place`."""
    return place if axis.values is None else place + (axis.first if axis.log else 0)


@contextmanager
def _quiet() -> "Iterator[None]":
    """Keep Optuna from writing about studies and about features that it calls experimental.

    What it writes, and what Python warns of, is set for the whole process; branches run in its threads.
    """
    import optuna

    with SETTINGS:
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        finally:
            optuna.logging.set_verbosity(before)
