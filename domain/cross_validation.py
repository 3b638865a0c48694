"""Splits for cross-validation over time: what is near the tests is purged from training.

Lopez de Prado (2018), Advances in Financial Machine Learning, chapters 7 and 12.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import comb

import msgspec
import numpy as np

from .bars import Window
from .errors import ConfigurationError


class Split(msgspec.Struct, frozen=True):
    """Where one split trains and where it tests: stretches of bars, each in the order of time.

    Attributes
    ----------
    train, test
        Stretches that touch neither each other nor those of the other kind.
    groups
        Numbers of the groups that are tested.
    """

    train: tuple[Window, ...]
    test: tuple[Window, ...]
    groups: tuple[int, ...]


def purged_k_fold(
    window: Window, *, folds: int, purge_size: int = 0, embargo_size: int = 0
) -> tuple[Split, ...]:
    """Cut a window into groups, and test each of them on what is learned from the others.

    That is `combinatorial_purged` with one group to test.
    """
    return combinatorial_purged(
        window, folds=folds, test_folds=1, purge_size=purge_size, embargo_size=embargo_size
    )


def combinatorial_purged(
    window: Window, *, folds: int, test_folds: int = 2, purge_size: int = 0, embargo_size: int = 0
) -> tuple[Split, ...]:
    """Cut a window into groups, and test each combination of them on what is learned from the others.

    Parameters
    ----------
    window
        The bars to cut, into groups whose sizes differ by at most one.
    folds, test_folds
        Number of groups, and of those that a split tests.
    purge_size
        Number of bars before and after each test stretch that are left out of training: what is decided on
        them may reach into it, or from it.
    embargo_size
        Number of further bars left out after each test stretch, whose features still see it.

    Returns
    -------
    tuple[Split, ...]
        In the order of the tested groups; adjacent stretches are one.

    Raises
    ------
    ConfigurationError
        A size is out of range, there are fewer bars than groups, or a split has nothing to train on.
    """
    if not 1 <= test_folds < folds or purge_size < 0 or embargo_size < 0:
        raise ConfigurationError(
            "cross-validation needs more folds than test_folds, at least one of those, and sizes not "
            f"below zero; found folds {folds}, test_folds {test_folds}, purge_size {purge_size}, "
            f"embargo_size {embargo_size}."
        )
    if len(window) < folds:
        raise ConfigurationError(
            f"cross-validation: {len(window)} bars can't be cut into {folds} folds; choose fewer folds or a "
            "longer period."
        )
    windows = group_windows(window, folds)
    splits = []
    for groups in combinations(range(folds), test_folds):
        test = _joined([windows[group] for group in groups])
        train = _between(window, test, purge_size, purge_size + embargo_size)
        if not train:
            raise ConfigurationError(
                f"cross-validation: testing the folds {groups} leaves nothing to train on, with purge_size "
                f"{purge_size} and embargo_size {embargo_size}; choose smaller ones or fewer folds."
            )
        splits.append(Split(train, test, groups))
    return tuple(splits)


def group_windows(window: Window, folds: int) -> tuple[Window, ...]:
    """Return the groups that a window is cut into; their sizes differ by at most one."""
    edges = np.linspace(window.first, window.stop, folds + 1).astype(np.int64).tolist()
    return tuple(Window(first, stop) for first, stop in pairwise(edges))


def paths(folds: int, test_folds: int) -> tuple[tuple[int, ...], ...]:
    """Return which split tests each group on each path: every path tests all groups once.

    Splits are numbered in the order of `combinatorial_purged`; there are ``comb(folds - 1, test_folds - 1)``
    paths, each a tuple of ``folds`` numbers of splits.
    """
    tested: list[list[int]] = [[] for _ in range(folds)]
    for number, groups in enumerate(combinations(range(folds), test_folds)):
        for group in groups:
            tested[group].append(number)
    return tuple(
        tuple(tested[group][path] for group in range(folds))
        for path in range(comb(folds - 1, test_folds - 1))
    )


def _joined(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Make one of windows that follow each other without a gap."""
    found: list[Window] = []
    for window in windows:
        if found and found[-1].stop == window.first:
            found[-1] = Window(found[-1].first, window.stop)
        else:
            found.append(window)
    return tuple(found)


def _between(window: Window, test: Sequence[Window], before: int, after: int) -> tuple[Window, ...]:
    """Return what is left of a window beside its test stretches and some bars before and after each."""
    starts = [window.first, *(stretch.stop + after for stretch in test)]
    stops = [*(stretch.first - before for stretch in test), window.stop]
    return tuple(Window(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop)
