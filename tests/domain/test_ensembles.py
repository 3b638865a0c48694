"""Weights of ensembles: between their bounds, the same in any order of members, and as good as can be."""

import numpy as np
import pytest
from admf.domain.ensembles.simplex import projected
from admf.domain.ensembles.weights import (
    METHODS,
    WeightRule,
    ensemble_weights,
    kept_members,
    weights_by_regime,
)
from admf.domain.errors import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st


def chance(seed, bars=250, members=3):
    random = np.random.default_rng(seed)
    common = random.normal(0.0, 0.006, (bars, 1))
    return common + random.normal(random.normal(0.0004, 0.0008, members), 0.01, (bars, members))


def compounded_drawdown(returns):
    worth = np.concatenate(([1.0], np.cumprod(1.0 + returns)))
    return (1.0 - worth / np.maximum.accumulate(worth)).max()


def tail_loss(returns, level):
    """The mean of the worst losses, an edge in part; the definition of Rockafellar and Uryasev (2002)."""
    losses = np.sort(-returns)
    places = np.arange(losses.size) + 1.0
    share = np.clip(places - level * losses.size, 0.0, 1.0)
    return (losses * share).sum() / share.sum()


VALUES = {
    "max_sharpe": lambda returns: -returns.mean() / returns.std(ddof=1),
    "min_drawdown": compounded_drawdown,
    "cvar": lambda returns: tail_loss(returns, 0.95),
}


@settings(max_examples=12, deadline=None)
@given(
    method=st.sampled_from([*METHODS]),
    seed=st.integers(0, 10_000),
    members=st.integers(1, 5),
    share=st.floats(0.0, 1.0),
    room=st.floats(0.0, 1.0),
)
def test_weights_sum_to_one_between_their_bounds(method, seed, members, share, room):
    low, high = share / members, 1.0 / members + room * (1.0 - 1.0 / members)
    weights = ensemble_weights(chance(seed, 60, members), WeightRule(method, low, high))
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert weights.min() >= low - 1e-12
    assert weights.max() <= high + 1e-12


@settings(max_examples=12, deadline=None)
@given(method=st.sampled_from([*METHODS]), seed=st.integers(0, 10_000), order=st.permutations(range(4)))
def test_the_order_of_members_changes_no_bit_of_their_weights(method, seed, order):
    returns = chance(seed, 60, 4)
    rule = WeightRule(method, 0.0, 0.7, correlation=0.6)
    assert (
        ensemble_weights(returns, rule)[order].tolist() == ensemble_weights(returns[:, order], rule).tolist()
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("method", [*VALUES])
@pytest.mark.parametrize("high", [1.0, 0.5])
def test_no_weights_of_a_grid_are_better(method, seed, high):
    returns = chance(seed)
    found = VALUES[method](returns @ ensemble_weights(returns, WeightRule(method, 0.05, high)))
    steps = np.arange(0.05, high + 1e-9, 0.025)
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if 0.05 <= 1 - a - b <= high]
    least = min(VALUES[method](returns @ np.array(weights)) for weights in grid)
    assert found <= least + 1e-4 * abs(least)


def test_the_tangency_portfolio_of_two_members_is_found():
    # Of uncorrelated members it is mean by variance: 1 / 1 and 2 / 4, so 2/3 and 1/3.
    one, two = np.tile([1.0, 1.0, -1.0, -1.0], 25), np.tile([2.0, -2.0, 2.0, -2.0], 25)
    returns = np.stack([one + 0.1, two + 0.2], axis=1) * 0.01
    assert ensemble_weights(returns, WeightRule("max_sharpe")) == pytest.approx([2 / 3, 1 / 3], abs=2e-4)


def test_inverse_volatility_halves_the_weight_of_what_varies_twice_as_much():
    base = np.tile([0.01, -0.01], 50)
    returns = np.stack([base, 2.0 * base[::-1] + 0.001], axis=1)
    assert ensemble_weights(returns, WeightRule("inverse_volatility")) == pytest.approx([2 / 3, 1 / 3])
    bounded = ensemble_weights(returns, WeightRule("inverse_volatility", high=0.6))
    assert bounded == pytest.approx([0.6, 0.4])


def test_of_two_that_go_together_the_better_one_is_kept():
    returns = chance(1, members=2)
    copy = returns[:, 0] * 0.5 - 0.001
    weights = ensemble_weights(np.column_stack([copy, returns]), WeightRule("equal", correlation=0.99))
    assert weights.tolist() == [0.0, 0.5, 0.5]
    assert kept_members(np.column_stack([copy, returns]), 1.0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", [*METHODS])
def test_members_that_never_vary_have_no_weight_unless_all_are_such(method):
    still = np.zeros((60, 1))
    assert ensemble_weights(np.hstack([still, chance(2, 60, 2)]), WeightRule(method))[0] == 0.0
    assert ensemble_weights(np.hstack([still] * 4), WeightRule(method)).tolist() == [0.25] * 4
    assert ensemble_weights(chance(2, 60, 1), WeightRule(method)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("rule", "members", "said"),
    [
        (
            WeightRule("equal", low=0.4),
            3,
            "ens.min_weight: 3 members of at least 0.4 each sum to more than one",
        ),
        (WeightRule("cvar", high=0.3), 3, "ens.max_weight: 3 members of at most 0.3 each .* it takes 4"),
        (WeightRule("equal", high=0.5, correlation=0.01), 3, "2 of 3 were dropped"),
        (WeightRule("equal"), 0, "at least one member"),
    ],
)
def test_bounds_that_no_weights_fit_are_refused(rule, members, said):
    with pytest.raises(ConfigurationError, match=said):
        ensemble_weights(chance(3, 60, members), rule, "ens")


def test_returns_that_are_not_finite_are_refused():
    returns = chance(3)
    returns[7, 1] = np.nan
    with pytest.raises(ConfigurationError, match="finite returns"):
        ensemble_weights(returns, WeightRule("equal"))


def test_a_regime_has_weights_of_its_own_if_it_has_enough_bars():
    returns = chance(4, 200)
    known = np.repeat([-1, 0, 1, 2], [20, 100, 70, 10]).astype(np.int8)
    rule = WeightRule("min_drawdown")
    weights = weights_by_regime(returns, known, 3, 60, rule)
    assert weights[0].tolist() == ensemble_weights(returns, rule).tolist()
    assert weights[1].tolist() == ensemble_weights(returns[20:120], rule).tolist()
    assert weights[2].tolist() == ensemble_weights(returns[120:190], rule).tolist()
    assert weights[3].tolist() == weights[0].tolist()


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=8))
def test_projecting_weights_changes_nothing_and_brings_others_to_the_nearest(values):
    point = np.array(values)
    found = projected(point, 0.0, 1.0)
    assert found.sum() == pytest.approx(1.0)
    assert projected(found, 0.0, 1.0) == pytest.approx(found, abs=1e-9)
    distance = ((found - point) ** 2).sum()
    for corner in np.eye(point.size):
        between = 0.9 * found + 0.1 * corner
        assert ((between - point) ** 2).sum() >= distance - 1e-9
