"""Which values of parameters winning trials share more often than chance would have it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..events import Bool, Column, Float64, Scalar

GROUPS, GROUPS_OF_PAIRS = 8, 4
"""Into how many groups, about equally large, the values of one parameter, or of two, are put at most."""
LISTED = 20
"""Values of a parameter that a search space lists; of more, it names the range."""


class Condition(NamedTuple):
    """Values of a parameter: numbers from ``low`` to ``high``, or one ``word`` (then both are NaN)."""

    parameter: str
    low: float
    high: float
    word: str = ""


class Pattern(NamedTuple):
    """Values that winners share.

    Attributes
    ----------
    conditions
        On one parameter, or on two.
    support, winners
        Number of trials that satisfy them, and of winners among those.
    lift
        Part of winners among those, by their part among all.
    p_value
        Probability of as many winners there by chance (of a pair: by what each explains alone), times the
        number of sets of values that were tried.
    """

    conditions: tuple[Condition, ...]
    support: int
    winners: int
    lift: float
    p_value: float


def discovered_patterns(parameters: Mapping[str, Column], wins: Bool, level: float = 0.95) -> list[Pattern]:
    """Return for each parameter, and each two, the values that are most clearly over-represented in winners.

    Every range of consecutive values, and every word, is tested by Fisher's exact test, one-sided; values of
    two parameters by a binomial test against the lifts of both multiplied, so that they count only where one
    depends on the other. All are corrected after Bonferroni.

    Parameters
    ----------
    parameters
        By name, shape (n_trials,). Trials are taken to be independent of each other.
    wins
        Which trials won.
    level
        Patterns whose p-value is above ``1 - level`` are left out.
    """
    ranges = {name: list(_ranges(name, column, GROUPS)) for name, column in parameters.items()}
    coarse = {name: list(_ranges(name, column, GROUPS_OF_PAIRS)) for name, column in parameters.items()}
    pairs = list(combinations(parameters, 2))
    tests = sum(map(len, ranges.values())) + sum(len(coarse[a]) * len(coarse[b]) for a, b in pairs)
    chance = _Chance(wins, tests)
    best = [
        min((chance.pattern(*each) for each in found), key=_clarity) for found in ranges.values() if found
    ]
    for a, b in pairs:
        joint = [
            chance.joint_pattern((*first, *second), inside, within)
            for first, inside in coarse[a]
            for second, within in coarse[b]
        ]
        best += [min(joint, key=_clarity)] if joint else []
    return [pattern for pattern in best if pattern.p_value <= 1.0 - level and pattern.lift > 1.0]


def promising_space(
    parameters: Mapping[str, Column], patterns: Sequence[Pattern]
) -> dict[str, tuple[Scalar, ...] | dict[str, float]]:
    """Return the values to search: those tried, narrowed to those of the clearest pattern, if there is one.

    A range stands for more than `LISTED` numbers.
    """
    space: dict[str, tuple[Scalar, ...] | dict[str, float]] = {}
    for name, column in parameters.items():
        found = [each for pattern in patterns for each in pattern.conditions if each.parameter == name]
        values = np.unique(column[_inside(column, found[0])] if found else column)
        if values.size > LISTED and values.dtype.kind in "if":
            space[name] = {"low": values[0].item(), "high": values[-1].item()}
        else:
            space[name] = tuple(values.tolist())
    return space


class _Chance:
    """Tells how many winners there would be by chance."""

    def __init__(self, wins: Bool, tests: int) -> None:
        self._wins, self._tests = wins, tests
        self._log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, wins.size + 1)))))

    def lift(self, inside: Bool) -> float:
        support = int(np.count_nonzero(inside))
        return float(self._wins[inside].mean() / self._wins.mean()) if support and self._wins.any() else 0.0

    def pattern(self, conditions: tuple[Condition, ...], inside: Bool) -> Pattern:
        support, winners = int(np.count_nonzero(inside)), int(np.count_nonzero(inside & self._wins))
        p_value = min(self._tail(support, winners) * self._tests, 1.0)
        return Pattern(conditions, support, winners, self.lift(inside), p_value)

    def joint_pattern(self, conditions: tuple[Condition, ...], one: Bool, other: Bool) -> Pattern:
        rate = float(self._wins.mean()) * self.lift(one) * self.lift(other)
        found = self.pattern(conditions, one & other)
        count = np.arange(found.winners, found.support + 1)
        if 0.0 < rate < 1.0 and found.winners > rate * found.support:
            logs = self._chosen(found.support, count) + count * np.log(rate)
            tail = float(np.exp(logs + (found.support - count) * np.log1p(-rate)).sum())
            return found._replace(p_value=min(tail * self._tests, 1.0))
        return found._replace(p_value=1.0)

    def _tail(self, support: int, winners: int) -> float:
        """Return the probability of so many winners or more among so many trials: hypergeometric."""
        size, total = self._wins.size, int(np.count_nonzero(self._wins))
        count = np.arange(winners, min(support, total) + 1)
        count = count[support - count <= size - total]
        logs = self._chosen(total, count) + self._chosen(size - total, support - count)
        return float(np.exp(logs - self._chosen(size, np.array([support]))).sum())

    def _chosen(self, size: int, count: np.ndarray) -> Float64:
        logs = self._log_factorial
        return np.asarray(logs[size] - logs[count] - logs[size - count], np.float64)


def _clarity(pattern: Pattern) -> tuple[float, int]:
    return pattern.p_value, pattern.support


def _ranges(name: str, column: Column, groups: int) -> Iterator[tuple[tuple[Condition, ...], Bool]]:
    """Yield all sets of values that are tested, but for that of all values, with the trials in each."""
    values = np.unique(column)
    if values.dtype.kind not in "if":
        for value in values if values.size > 1 else ():
            yield (Condition(name, np.nan, np.nan, str(value)),), column == value
        return
    if values.size > groups:
        numbers = column.astype(np.float64)
        quantiles = np.quantile(numbers, np.arange(1, groups) / groups, method="inverted_cdf")
        starts = np.unique(np.concatenate(([0], np.searchsorted(values, quantiles, side="right"))))
        starts = starts[starts < values.size]
    else:
        starts = np.arange(values.size)
    ends = np.append(starts[1:], values.size) - 1
    for first in range(starts.size):
        for last in range(first, starts.size):
            if last - first + 1 < starts.size:
                condition = Condition(name, float(values[starts[first]]), float(values[ends[last]]))
                yield (condition,), _inside(column, condition)


def _inside(column: Column, condition: Condition) -> Bool:
    if condition.word:
        return np.asarray(column.astype(np.str_) == condition.word, np.bool_)
    numbers = column.astype(np.float64)
    return np.asarray((numbers >= condition.low) & (numbers <= condition.high), np.bool_)
