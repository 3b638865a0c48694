from itertools import pairwise

import pytest
from admf.domain.bars import Window
from admf.domain.errors import ConfigurationError
from admf.domain.folds import FoldWindows, walk_forward
from hypothesis import given
from hypothesis import strategies as st

SIZES = {
    "first": st.integers(0, 50),
    "spare": st.integers(0, 60),
    "train_size": st.integers(1, 40),
    "test_size": st.integers(1, 20),
    "purge_size": st.integers(0, 10),
}


@given(**SIZES, mode=st.sampled_from(["rolling", "anchored"]))
def test_folds_train_before_they_test_and_test_in_one_stretch(
    first, spare, train_size, test_size, purge_size, mode
):
    window = Window(first, first + train_size + purge_size + test_size + spare)
    folds = walk_forward(window, train_size=train_size, test_size=test_size, purge_size=purge_size, mode=mode)
    assert folds[0].train == Window(first, first + train_size)
    assert 0 <= window.stop - folds[-1].test.stop < test_size
    for fold in folds:
        assert window.first <= fold.train.first < fold.train.stop
        assert fold.test.first - fold.train.stop == purge_size
        assert len(fold.test) == test_size
    for fold, following in pairwise(folds):
        assert fold.test.stop == following.test.first


@given(**SIZES)
def test_rolling_folds_keep_the_size_of_training(first, spare, train_size, test_size, purge_size):
    window = Window(first, first + train_size + purge_size + test_size + spare)
    folds = walk_forward(window, train_size=train_size, test_size=test_size, purge_size=purge_size)
    assert {len(fold.train) for fold in folds} == {train_size}


@given(**SIZES)
def test_anchored_folds_grow_from_the_first_bar(first, spare, train_size, test_size, purge_size):
    window = Window(first, first + train_size + purge_size + test_size + spare)
    folds = walk_forward(
        window, train_size=train_size, test_size=test_size, purge_size=purge_size, mode="anchored"
    )
    assert {fold.train.first for fold in folds} == {first}
    assert [len(fold.train) for fold in folds] == [train_size + k * test_size for k in range(len(folds))]


def test_walk_forward_by_hand():
    folds = walk_forward(Window(0, 12), train_size=4, test_size=3, purge_size=1)
    assert folds == (
        FoldWindows(Window(0, 4), Window(5, 8)),
        FoldWindows(Window(3, 7), Window(8, 11)),
    )


def test_too_few_bars_for_one_fold_are_refused_with_the_number_needed():
    with pytest.raises(ConfigurationError, match=r"needs 10 bars for its first fold .*, found 9\."):
        walk_forward(Window(5, 14), train_size=6, test_size=3, purge_size=1)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"train_size": 0, "test_size": 1}, "train_size must be at least 1, found 0"),
        ({"train_size": 1, "test_size": 0}, "test_size must be at least 1, found 0"),
        ({"train_size": 1, "test_size": 1, "purge_size": -1}, "purge_size must be at least 0, found -1"),
        (
            {"train_size": 1, "test_size": 1, "mode": "anchord"},
            "unknown walk-forward mode 'anchord'. Did you mean",
        ),
    ],
)
def test_sizes_out_of_range_and_unknown_modes_are_refused(sizes, reason):
    with pytest.raises(ConfigurationError, match=reason):
        walk_forward(Window(0, 100), **sizes)
