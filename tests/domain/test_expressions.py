import numpy as np
import pytest
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.expressions import LEAST_BREACH, breach, calculated, names_in, satisfied

COLUMNS = {
    "cross.fast": np.array([5, 10, 20]),
    "cross.slow": np.array([10, 10, 10]),
    "kind": np.array(["a", "b", "a"]),
}


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("cross.fast < cross.slow", [True, False, False]),
        ("cross.fast <= cross.slow", [True, True, False]),
        ("cross.fast == 10", [False, True, False]),
        ("cross.fast != 10", [True, False, True]),
        ("5 < cross.fast < 20", [False, True, False]),
        ("cross.fast >= 10 and kind == 'a'", [False, False, True]),
        ("cross.fast > 10 or cross.fast < 10", [True, False, True]),
        ("not kind == 'a'", [False, True, False]),
        ("cross.slow - cross.fast * 2 >= -cross.slow / 2 + 0", [True, False, False]),
        ("-cross.fast + 25 > cross.slow", [True, True, False]),
    ],
)
def test_a_constraint_is_evaluated_for_every_row(constraint, expected):
    assert satisfied(constraint, COLUMNS).tolist() == expected


def test_single_values_are_compared_with_columns():
    assert satisfied("fast < cross.slow and on", {**COLUMNS, "fast": 3, "on": True}).tolist() == [True] * 3


@pytest.mark.parametrize(
    "constraint",
    [
        "cross.fast <",
        "cross.fast in (1, 2)",
        "__import__('os')",
        "cross.fast ** 2 > 3",
        "[x for x in (1,)]",
        "kind < 3",
        "(lambda: 1)()",
        "",
    ],
)
def test_anything_but_a_comparison_is_refused_with_its_path(constraint):
    with pytest.raises(
        ConfigurationError, match=r"^search.constraints: the constraint .* must compare parameters"
    ):
        satisfied(constraint, COLUMNS, "search.constraints")


def test_an_unknown_parameter_is_refused_with_the_nearest_match():
    with pytest.raises(
        UnknownNameError, match=r"^here: unknown parameter 'cross.fats'. Did you mean cross.fast"
    ):
        satisfied("cross.fats < 3", COLUMNS, "here")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("a.b * 2", 10), ("a.b // 2", 2), ("a.b / 2", 2.5), ("-a.b + 1", -4), ("a.b > 4", True), ("kind", "x")],
)
def test_single_values_are_calculated_and_stay_whole_where_they_can(expression, expected):
    found = calculated(expression, {"a.b": 5, "kind": "x"})
    assert (found, type(found)) == (expected, type(expected))


def test_what_cannot_be_calculated_is_refused_with_its_path():
    with pytest.raises(ConfigurationError, match=r"^here: 'a \+' can't be calculated"):
        calculated("a +", {"a": 1}, "here")
    with pytest.raises(UnknownNameError, match=r"^here: unknown value 'ab'. Did you mean abc\?"):
        calculated("ab + 1", {"abc": 1}, "here")


def test_the_names_of_an_expression_are_found_in_their_order():
    assert names_in("b.best.x > 1 and not a.trials < b.best.x + c") == ("b.best.x", "a.trials", "c")
    with pytest.raises(ConfigurationError, match=r"^here: 'b >' is not an expression"):
        names_in("b >", "here")


def test_a_breach_tells_how_far_a_constraint_is_from_being_satisfied():
    values = {"trades": np.array([30.0, 20.0, 10.0, 0.0, np.nan]), "low": 3}
    found = breach("trades >= 30", values)
    assert found.tolist() == [0.0, 10 / 50, 20 / 40, 1.0, 1.0]
    assert breach("low < 3", values) == LEAST_BREACH
    assert breach("trades >= 30 and low < 3", values).tolist() == [1.0] * 5
    assert breach("trades != 20", values).tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
