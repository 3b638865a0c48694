"""Minimizing a function of weights that sum to one, each between bounds; nothing is left to chance."""

from collections.abc import Callable

import numpy as np

from ..events import Float64

Objective = Callable[[Float64], tuple[float, Float64]]
"""Returns a value, and a subgradient there."""

STEPS = 400
"""Of the descent along subgradients."""
FIRST, LAST = 0.0625, 1e-5
"""The largest and the smallest weight that is moved from one member to another."""
DIGITS = 6
"""Decimal places of weights: what differs behind them differs from one processor to the next."""


def projected(point: Float64, low: float, high: float) -> Float64:
    """Return the nearest weights that sum to one, each from `low` to `high`, which must allow for it.

    They are the point less one number, brought to the bounds (Wang and Lu 2015, Projection onto the capped
    simplex, arXiv:1503.01002); the number is found by bisection.
    """
    least, most = float(point.min()) - high, float(point.max()) - low
    for _ in range(100):
        middle = 0.5 * (least + most)
        is_last = not least < middle < most
        if np.minimum(np.maximum(point - middle, low), high).sum() > 1.0:
            least = middle
        else:
            most = middle
        if is_last:
            break
    return settled(np.clip(point - most, low, high), low, high)


def settled(weights: Float64, low: float, high: float) -> Float64:
    """Have weights that nearly sum to one do so, by moving the one with most room, or all of them."""
    missing = 1.0 - float(weights.sum())
    if abs(missing) < 10.0 ** (-2 * DIGITS):
        return weights
    room = high - weights if missing > 0.0 else weights - low
    most, total = int(np.argmax(room)), room.sum()
    if room[most] >= abs(missing):
        weights = weights.copy()
        weights[most] = round(weights[most] + missing, 2 * DIGITS)
        return weights
    return weights + missing * room / total if total > 0.0 else weights


def minimized(objective: Objective, members: int, low: float, high: float) -> Float64:
    """Return weights at which a convex function, also one with kinks, is as small as it gets, nearly.

    A descent along subgradients, with steps that shrink as one by the root of their number (Boyd and others
    2003, Subgradient methods), is followed by an exchange: a part of one member's weight goes to another
    where that helps, in parts that become smaller where it doesn't. It starts from equal weights, or from as
    much as may be of one member where that is better.
    """
    equal = np.full(members, 1.0 / members)
    starts = [equal, *(projected(corner, low, high) for corner in np.eye(members))]
    weights = min(starts, key=lambda start: objective(start)[0])
    best, (least, slope) = weights, objective(weights)
    for step in range(1, STEPS + 1):
        size = np.sqrt((slope * slope).sum())
        if size == 0.0:
            break
        weights = projected(weights - 0.5 / np.sqrt(step) * slope / size, low, high)
        value, slope = objective(weights)
        if value < least:
            best, least = weights, value
    return np.round(_exchanged(objective, best, least, low, high), DIGITS)


def _exchanged(objective: Objective, weights: Float64, least: float, low: float, high: float) -> Float64:
    part = FIRST
    while part >= LAST:
        is_better = False
        for giver in range(weights.size):
            for taker in range(weights.size):
                moved = min(part, weights[giver] - low, high - weights[taker])
                if giver == taker or moved <= 0.0:
                    continue
                other = weights.copy()
                other[giver] -= moved
                other[taker] += moved
                value, _ = objective(other)
                # Less than that is rounding, which would go to and fro.
                if value < least - 1e-12 * abs(least):
                    weights, least, is_better = other, value, True
        part = min(2.0 * part, FIRST) if is_better else part / 2.0
    return weights
