"""Patterns of winners: exact p-values, planted patterns that are found, and none where chance decides."""

from math import comb

import numpy as np
import pytest
from admf.domain.statistics.patterns import Condition, discovered_patterns, promising_space


def product(*values):
    columns = np.meshgrid(*values, indexing="ij")
    return [column.ravel() for column in columns]


def test_the_p_value_is_that_of_fishers_exact_test_times_the_number_of_tests():
    """The lady tasting tea (Fisher 1935), all four of four: 1 in 70; two words make two tests."""
    words = np.array(["milk"] * 4 + ["tea"] * 4)
    (found,) = discovered_patterns({"first": words}, words == "milk")
    assert found.conditions[0].word == "milk"
    assert found.p_value == pytest.approx(2 / comb(8, 4))
    assert (found.support, found.winners, found.lift) == (4, 4, 2.0)


def test_a_range_of_numbers_that_wins_is_found_and_narrows_the_space():
    fast, slow = product(np.arange(2, 22), np.arange(30, 50))
    wins = (fast >= 7) & (fast <= 10)
    patterns = discovered_patterns({"fast": fast, "slow": slow}, wins)
    (conditions,) = [pattern.conditions for pattern in patterns]
    assert conditions[0].parameter == "fast"
    assert 6 <= conditions[0].low <= 7 <= 10 <= conditions[0].high <= 11
    space = promising_space({"fast": fast, "slow": slow}, patterns)
    assert set(range(7, 11)) <= set(space["fast"]) < set(range(2, 22))
    assert space["slow"] == tuple(range(30, 50))
    assert all(type(value) is int for value in space["fast"])


def test_two_parameters_that_only_win_together_are_found_together():
    one, other = product(np.arange(20), np.array(["high", "low"]))
    one, other = np.tile(one, 20), np.tile(other, 20)
    wins = (one < 10) == (other == "low")
    (pattern,) = discovered_patterns({"one": one, "other": other}, wins)
    assert len(pattern.conditions) == 2
    assert pattern.lift == pytest.approx(2.0)


def test_what_each_explains_alone_is_not_told_as_a_pair():
    one, other = product(np.arange(20), np.arange(20))
    wins = (one < 5) & (other < 5)
    patterns = discovered_patterns({"one": one, "other": other}, wins)
    assert [len(pattern.conditions) for pattern in patterns[:2]] == [1, 1]
    chance = np.random.default_rng(1)
    noisy = chance.random(400) < np.where(one < 5, 0.6, 0.2) * np.where(other < 5, 1.0, 0.5)
    assert {
        len(pattern.conditions) for pattern in discovered_patterns({"one": one, "other": other}, noisy)
    } == {1}


def test_where_chance_decides_patterns_are_rare():
    one, other = product(np.arange(20), np.arange(20))
    found = 0
    for seed in range(200):
        wins = np.random.default_rng(seed).permutation(400) < 80
        found += bool(discovered_patterns({"one": one, "other": other}, wins))
    assert found <= 10


def test_many_numbers_become_a_range_and_one_value_stays():
    numbers, one = np.linspace(0.0, 1.0, 50), np.full(50, 3)
    space = promising_space({"numbers": numbers, "one": one}, [])
    assert space == {"numbers": {"low": 0.0, "high": 1.0}, "one": (3,)}
    assert discovered_patterns({"one": one}, np.arange(50) < 5) == []
    assert Condition("one", 3.0, 3.0).word == ""
