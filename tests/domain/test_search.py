import numpy as np
import pytest
from admf.domain.errors import ConfigurationError
from admf.domain.search import best_row, grid


def test_a_grid_holds_every_combination_ordered_by_name_with_the_last_varying_fastest():
    columns = grid({"b": [1, 2, 3], "a": [0.5, 1]})
    assert list(columns) == ["a", "b"]
    assert columns["a"].tolist() == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert columns["b"].tolist() == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 2], np.int64), ([1, 2.5], np.float64), ([True, False], np.bool_), (["ab", "c"], np.dtype("<U2"))],
)
def test_a_column_has_the_kind_of_its_values(values, dtype):
    (column,) = grid({"a": values}).values()
    assert column.dtype == dtype
    assert column.tolist() == values


def test_an_empty_space_is_an_empty_grid():
    assert grid({}) == {}


def test_a_parameter_without_values_is_refused():
    with pytest.raises(ConfigurationError, match="search space: fast has no values"):
        grid({"fast": []})


def test_values_of_different_kinds_are_refused():
    with pytest.raises(ConfigurationError, match=r"the values of fast must be of one kind, were \[1, 'a'\]"):
        grid({"fast": [1, "a"]})
    with pytest.raises(ConfigurationError, match="must be of one kind"):
        grid({"fast": [1, True]})


def test_the_best_row_is_the_first_among_equals_and_never_undefined():
    values = np.array([np.nan, 1.0, 3.0, 3.0, -2.0, -2.0])
    assert best_row(values, "maximize") == 2
    assert best_row(values, "minimize") == 4


def test_an_objective_that_is_undefined_everywhere_is_refused():
    with pytest.raises(ConfigurationError, match="undefined in all 2 trials"):
        best_row(np.array([np.nan, np.nan]), "maximize")
