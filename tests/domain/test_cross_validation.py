from math import comb

import pytest
from admf.domain.bars import Window
from admf.domain.cross_validation import combinatorial_purged, paths, purged_k_fold
from admf.domain.errors import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st


def bars(windows):
    return [bar for window in windows for bar in range(window.first, window.stop)]


def test_three_folds_with_a_purge_and_an_embargo():
    splits = purged_k_fold(Window(10, 40), folds=3, purge_size=2, embargo_size=1)
    assert [split.test for split in splits] == [(Window(10, 20),), (Window(20, 30),), (Window(30, 40),)]
    assert [split.train for split in splits] == [
        (Window(23, 40),),
        (Window(10, 18), Window(33, 40)),
        (Window(10, 28),),
    ]


def test_adjacent_groups_are_tested_as_one_stretch():
    splits = combinatorial_purged(Window(0, 40), folds=4, test_folds=2, purge_size=1)
    assert [split.groups for split in splits] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert splits[3].test == (Window(10, 30),)
    assert splits[3].train == (Window(0, 9), Window(31, 40))
    assert splits[1].train == (Window(11, 19), Window(31, 40))


@given(
    first=st.integers(0, 20),
    folds=st.integers(2, 7),
    spare=st.integers(0, 40),
    purge=st.integers(0, 3),
    embargo=st.integers(0, 3),
    data=st.data(),
)
def test_tests_cover_everything_and_training_keeps_its_distance(first, folds, spare, purge, embargo, data):
    test_folds = data.draw(st.integers(1, folds - 1))
    window = Window(first, first + 12 * folds + spare)
    splits = combinatorial_purged(
        window, folds=folds, test_folds=test_folds, purge_size=purge, embargo_size=embargo
    )
    assert len(splits) == comb(folds, test_folds)
    tested = sorted(bar for split in splits for bar in bars(split.test))
    assert tested == sorted(bars([window]) * comb(folds - 1, test_folds - 1))
    for split in splits:
        train, test = set(bars(split.train)), set(bars(split.test))
        near = {bar + step for bar in test for step in range(-purge, purge + embargo + 1)}
        assert train == set(bars([window])) - near


@given(st.integers(2, 8), st.data())
def test_every_path_tests_each_group_once_and_no_split_twice(folds, data):
    test_folds = data.draw(st.integers(1, folds - 1))
    splits = combinatorial_purged(Window(0, 20 * folds), folds=folds, test_folds=test_folds)
    found = paths(folds, test_folds)
    assert len(found) == comb(folds - 1, test_folds - 1)
    for path in found:
        assert all(group in splits[split].groups for group, split in enumerate(path))
    used = [(group, split) for path in found for group, split in enumerate(path)]
    assert len(set(used)) == len(used) == test_folds * len(splits)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"folds": 3, "test_folds": 3}, "more folds than test_folds"),
        ({"folds": 3, "test_folds": 0}, "more folds than test_folds"),
        ({"folds": 3, "test_folds": 1, "purge_size": -1}, "below zero"),
        ({"folds": 31, "test_folds": 1}, "30 bars can't be cut into 31 folds"),
        ({"folds": 3, "test_folds": 2, "purge_size": 20}, r"testing the folds \(0, 1\) leaves nothing"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ConfigurationError, match=message):
        combinatorial_purged(Window(0, 30), **sizes)
