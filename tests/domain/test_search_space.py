import numpy as np
import pytest
from admf.domain.errors import ConfigurationError
from admf.domain.search import grid
from admf.domain.search_space import Range, axes_of, columns_of, derived_seed, size_of
from hypothesis import given
from hypothesis import strategies as st

SPACE = {
    "listed": [30, 5, 10, 5],
    "text": ["b", "a"],
    "flag": [True, False],
    "whole": Range(3, 9, 2),
    "log_whole": Range(1, 1000, log=True),
    "stepped": Range(0.1, 0.3, 0.1),
    "real": Range(0.5, 2.0),
    "log_real": Range(0.01, 100.0, log=True),
}
ALLOWED = {
    "listed": {5, 10, 30},
    "text": {"a", "b"},
    "flag": {True, False},
    "whole": {3, 5, 7, 9},
    "log_whole": set(range(1, 1001)),
    "stepped": {0.1, 0.2, 0.1 + 2 * 0.1},
}


@pytest.mark.parametrize(
    ("range_", "values"),
    [
        (Range(2, 5), [2, 3, 4, 5]),
        (Range(5, 50, 20), [5, 25, 45]),
        (Range(0.1, 0.3, 0.1), [0.1, 0.2, 0.1 + 2 * 0.1]),
        (Range(1, 2, 0.5), [1.0, 1.5, 2.0]),
        (Range(1, 3, log=True), [1, 2, 3]),
    ],
)
def test_a_range_holds_both_ends_in_steps(range_, values):
    (column,) = grid({"a": range_}).values()
    assert column.tolist() == values
    assert column.dtype == (np.int64 if isinstance(values[0], int) else np.float64)


def test_a_grid_refuses_a_continuous_range():
    with pytest.raises(
        ConfigurationError, match="a is continuous, and a grid tries every value; give it a step"
    ):
        grid({"a": Range(0.1, 0.3)})


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=len(SPACE), max_size=len(SPACE)))
def test_every_place_is_a_value_of_the_space(shares):
    axes = axes_of(SPACE)
    for draw in ("place", "drawn"):
        point = tuple(getattr(axis, draw)(share) for axis, share in zip(axes, shares, strict=True))
        for name, column in columns_of(axes, [point]).items():
            (value,) = column.tolist()
            if name in ALLOWED:
                assert value in ALLOWED[name]
            else:
                assert SPACE[name].low <= value <= SPACE[name].high


@given(st.floats(0, 1), st.sampled_from(sorted(set(SPACE) - {"text"})))
def test_the_share_of_a_place_leads_back_to_it(share, name):
    (axis,) = axes_of({name: SPACE[name]})
    place = axis.place(share)
    assert axis.place(axis.share(place)) == pytest.approx(place)
    if axis.values is None:
        assert axis.share(place) == pytest.approx(share, abs=1e-9)


def test_every_value_is_drawn_equally_often_and_a_logarithmic_one_by_its_logarithm():
    shares = (np.arange(7000) + 0.5) / 7000
    (axis,) = axes_of({"a": Range(1, 7)})
    assert np.bincount([axis.drawn(share) for share in shares]).tolist() == [1000] * 7
    (axis,) = axes_of({"a": Range(0.01, 100.0, log=True)})
    assert np.median([axis.drawn(share) for share in shares]) == pytest.approx(1.0, rel=0.01)


def test_a_space_with_a_continuous_axis_has_infinitely_many_points():
    assert size_of(axes_of({"a": [1, 2, 2], "b": Range(1, 3)})) == 6
    assert size_of(axes_of({"a": [1, 2], "b": Range(1.0, 3.0)})) == np.inf


def test_seeds_differ_by_name_and_seed_and_fit_into_32_bits():
    seeds = {derived_seed(seed, name) for seed in range(50) for name in ("a", "b")}
    assert len(seeds) == 100
    assert max(seeds) < 2**32
