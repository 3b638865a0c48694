"""A search that climbs along finite differences: from one point of a space, then from others by chance."""

from collections.abc import Generator, Sequence

import numpy as np

from .events import Float64
from .search_space import Axis, Point

DIFFERENCE = 0.02
"""Share of a continuous axis between a point and the neighbors at which differences are taken."""
LONGEST, SHORTEST = 0.25, 0.002
"""Shares of an axis: the longest step at first, and the one below which the search starts elsewhere."""
FRACTIONS = (1.0, 0.5, 0.25, 0.125)
"""Parts of the longest step that are tried along a direction."""

Ascent = Generator[list[Point], Sequence[float], None]


def ascent(axes: Sequence[Axis], chance: np.random.Generator, first: Sequence[float] | None = None) -> Ascent:
    """Climb without end: yields the points to measure next, and is sent their values, greater being better.

    A step goes from a point along its differences, scaled so that the steepest axis moves by the whole step;
    four lengths are tried at once. The best point of a step, neighbors included, is where the next one
    starts; where there is none that is better, steps become shorter, and at last the search starts anew from
    a point by chance.

    Axes with values, such as whole numbers, are treated as continuous, and every point is moved to the
    nearest of them before it is measured; neighbors are at least one value away, and differences are divided
    by the distance of the places that were measured.

    Parameters
    ----------
    axes
        The space; their values must be ordered.
    chance
        Draws the points to start from, but for the first.
    first
        Share of each axis at the first point; by default the middle.
    """
    start = np.full(len(axes), 0.5) if first is None else np.array(first)
    while True:
        yield from _climb(axes, start)
        start = chance.random(len(axes))


def _climb(axes: Sequence[Axis], start: Float64) -> Ascent:
    here, longest = start, LONGEST
    (value,) = yield [_point(axes, here)]
    while longest >= SHORTEST:
        neighbors = _neighbors(axes, here)
        beside = yield [_point(axes, point) for point in neighbors]
        slopes = _slopes(axes, neighbors, beside, here, value)
        steepest = float(np.abs(slopes).max())
        tried = neighbors
        values = list(beside)
        if steepest > 0.0:
            steps = [np.clip(here + longest * part * slopes / steepest, 0.0, 1.0) for part in FRACTIONS]
            tried = [*neighbors, *steps]
            values += yield [_point(axes, point) for point in steps]
        best = int(np.argmax(values))
        if values[best] > value:
            here, value = tried[best], values[best]
        else:
            longest /= 4.0


def _point(axes: Sequence[Axis], shares: Float64) -> Point:
    return tuple(axis.place(share) for axis, share in zip(axes, shares.tolist(), strict=True))


def _neighbors(axes: Sequence[Axis], here: Float64) -> list[Float64]:
    """Return two neighbors on each axis, the lower one first."""
    found = []
    for number, axis in enumerate(axes):
        least = 0.0 if axis.values is None else 1.0 / max(axis.values.size - 1, 1)
        for side in (-1.0, 1.0):
            point = here.copy()
            point[number] = np.clip(here[number] + side * max(DIFFERENCE, least), 0.0, 1.0)
            found.append(point)
    return found


def _slopes(
    axes: Sequence[Axis], neighbors: Sequence[Float64], beside: Sequence[float], here: Float64, value: float
) -> Float64:
    """Return the differences by share of each axis; from one side where the other one has no value."""
    slopes = np.zeros(len(axes))
    for number, axis in enumerate(axes):
        sides = (*zip(neighbors[2 * number :][:2], beside[2 * number :][:2], strict=True), (here, value))
        known = [
            (axis.share(axis.place(float(point[number]))), height)
            for point, height in sides
            if np.isfinite(height)
        ]
        if len(known) > 1:
            (low, lower), (high, higher) = known[0], known[1]
            slopes[number] = (higher - lower) / (high - low) if high != low else 0.0
    return slopes
