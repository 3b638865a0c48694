"""Which trials of a study may be chosen, which of those no other one beats, and which is the best."""

from collections.abc import Mapping, Sequence

import numpy as np

from .errors import ConfigurationError, UnknownNameError
from .events import Bool, Column, Float64, Int64, Scalar
from .expressions import satisfied
from .metrics import METRICS
from .search import best_row

Objective = tuple[str, str]
"""A metric, and ``maximize`` or ``minimize``."""


def is_on_metrics(
    constraint: str, known: Mapping[str, Scalar], searched: Mapping[str, Scalar], where: str = ""
) -> bool:
    """Tell whether a constraint is on what came of a trial: whether it names a metric.

    Beside metrics it may name parameters that are ``searched``, whose values each trial records; without any
    metric, all that are ``known``.

    Raises
    ------
    ConfigurationError
        It is not an expression that can be used.
    UnknownNameError
        It names neither a parameter nor a metric.
    """
    try:
        satisfied(constraint, known, where)
    except UnknownNameError:
        satisfied(constraint, {**searched, **dict.fromkeys(METRICS, 1.0)}, where)
        return True
    return False


def broken(constraints: Sequence[str], values: Mapping[str, Column | Scalar], count: int) -> Bool:
    """Return which constraints are broken by which trials, shape (n_constraints, n_trials).

    ``values`` holds parameters and metrics, in columns of shape (n_trials,) or alike for all trials. An
    undefined metric (NaN) satisfies no comparison but ``!=``.
    """
    return np.array(
        [~np.broadcast_to(satisfied(constraint, values), count) for constraint in constraints], np.bool_
    ).reshape(len(constraints), count)


def front_rows(values: Float64, directions: Sequence[str]) -> Int64:
    """Return the rows that no other row beats, in their order: the Pareto front.

    A row beats another one if it is at least as good by all objectives and better by one. Of equal rows the
    first one is kept; a row with NaN is never on the front.

    Parameters
    ----------
    values
        Objectives, shape (n_trials, n_objectives).
    directions
        ``maximize`` or ``minimize`` for each objective.
    """
    costs = np.where(np.array(directions) == "maximize", -values, values)
    defined = np.flatnonzero(~np.isnan(costs).any(axis=1))
    # In lexicographic order a row can only be beaten, or equaled, by one before it.
    order = defined[np.lexsort((defined, *costs[defined].T[::-1]))]
    front = np.empty((0, costs.shape[1]))
    kept: list[int] = []
    for row in order.tolist():
        if not (front <= costs[row]).all(axis=1).any():
            front = np.vstack([front, costs[row]])
            kept.append(row)
    return np.array(sorted(kept), np.int64)


def chosen_rows(
    objectives: Sequence[Objective],
    constraints: Sequence[str],
    values: Mapping[str, Column | Scalar],
    metrics: Mapping[str, Float64],
) -> tuple[int, Int64]:
    """Choose among trials: those that satisfy all constraints and have defined objectives.

    Parameters
    ----------
    objectives
        One or several; with several, the best is the trial on the front that is best by the first one.
    constraints
        On metrics; those on parameters decided which trials there are.
    values
        Parameters in columns of shape (n_trials,), or alike for all trials.
    metrics
        Metrics in columns of shape (n_trials,).

    Returns
    -------
    tuple[int, Int64]
        The row of the best trial, the first one among equals; and the rows of the front, with one objective
        none.

    Raises
    ------
    ConfigurationError
        No trial satisfies all constraints; or an objective is undefined in all trials that do.
    """
    count = metrics[objectives[0][0]].size
    wrong = broken(constraints, {**values, **metrics}, count)
    feasible = np.flatnonzero(~wrong.any(axis=0))
    if feasible.size == 0:
        failed = ", ".join(
            f"{text!r} failed in {number:,}"
            for text, number in zip(constraints, wrong.sum(axis=1).tolist(), strict=True)
        )
        raise ConfigurationError(
            f"none of the {count:,} trials satisfies all constraints: {failed}. Loosen them, search a wider "
            "space, or use more bars."
        )
    if len(objectives) == 1:
        ((metric, direction),) = objectives
        return int(feasible[best_row(metrics[metric][feasible], direction)]), np.empty(0, np.int64)
    table = np.stack([metrics[metric][feasible] for metric, _ in objectives], axis=1)
    front = front_rows(table, [direction for _, direction in objectives])
    best = best_row(table[front, 0] if front.size else np.full(count, np.nan), objectives[0][1])
    return int(feasible[front[best]]), feasible[front]
