import numpy as np
import pytest
from admf.domain.choice import chosen_rows, front_rows, is_on_metrics
from admf.domain.errors import ConfigurationError, UnknownNameError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

DIRECTIONS = ("maximize", "minimize")
METRICS = {
    "sharpe_ratio": np.array([1.0, 3.0, 2.0, 2.0, np.nan]),
    "max_drawdown": np.array([0.1, 0.4, 0.2, 0.3, 0.0]),
    "trades": np.array([50.0, 5.0, 40.0, 60.0, 0.0]),
}


def choose(constraints=(), objectives=(("sharpe_ratio", "maximize"),), values=None):
    return chosen_rows(objectives, constraints, values or {}, METRICS)


def test_the_best_trial_is_the_best_of_those_that_satisfy_every_constraint():
    assert choose()[0] == 1
    assert choose(["trades >= 30"])[0] == 2
    assert choose(["trades >= 30", "max_drawdown < 0.2"])[0] == 0
    assert choose(["trades > cross.fast"], values={"cross.fast": np.array([60, 4, 50, 50, 0])})[0] == 1


def test_several_objectives_have_a_front_and_its_first_objective_decides():
    best, front = choose(objectives=(("sharpe_ratio", "maximize"), ("max_drawdown", "minimize")))
    assert (best, front.tolist()) == (1, [0, 1, 2])
    best, front = choose(
        ["trades > 10"], objectives=(("max_drawdown", "minimize"), ("sharpe_ratio", "maximize"))
    )
    assert (best, front.tolist()) == (0, [0, 2])


def test_where_no_trial_is_feasible_the_error_counts_what_failed():
    with pytest.raises(
        ConfigurationError,
        match=r"none of the 5 trials satisfies all constraints: 'trades >= 45' failed in 3, "
        r"'max_drawdown < 0.1' failed in 4\. Loosen",
    ):
        choose(["trades >= 45", "max_drawdown < 0.1"])


def test_a_constraint_on_an_undefined_metric_is_not_satisfied():
    with pytest.raises(ConfigurationError, match=r"'sharpe_ratio < 0' failed in 5"):
        choose(["sharpe_ratio < 0"])


def test_a_constraint_is_on_metrics_if_it_names_one():
    known = {"cross.fast": 3, "cross.slow": 9}
    assert not is_on_metrics("cross.fast < cross.slow", known, {"cross.fast": 3})
    assert is_on_metrics("trades > cross.fast", known, {"cross.fast": 3})
    with pytest.raises(UnknownNameError, match=r"^here: unknown parameter 'trads'. Did you mean trades"):
        is_on_metrics("trads > 3", known, {"cross.fast": 3}, "here")
    with pytest.raises(UnknownNameError, match=r"unknown parameter 'cross.slow'"):
        is_on_metrics("trades > cross.slow", known, {"cross.fast": 3}, "here")


VALUES = st.integers(0, 4).map(float) | st.just(np.nan)


@given(st.integers(0, 12).flatmap(lambda count: arrays(np.float64, (count, 2), elements=VALUES)))
def test_the_front_is_what_no_other_row_beats(values):
    costs = values * [-1.0, 1.0]
    front = front_rows(values, DIRECTIONS)
    for row in range(len(costs)):
        others = [other for other in range(len(costs)) if other != row]
        beaten = any(
            (costs[other] <= costs[row]).all() and ((costs[other] < costs[row]).any() or other < row)
            for other in others
        )
        expected = not beaten and not np.isnan(costs[row]).any()
        assert (row in front) == expected
    assert front.tolist() == sorted(front)
