"""Comparing classifications: numbers of the papers, and what chance leads to."""

import numpy as np
import pytest
from admf.domain.regimes.comparison import (
    adjusted_rand,
    chance_of_separation,
    mean_duration,
    separation,
    switches,
)


def labels(*values):
    return np.array(values, np.int8)


def test_the_adjusted_rand_index_of_two_partitions_by_hand():
    """Of 15 pairs 2 are together in both, 4 in the first, 3 in the second: (2 - 0.8) / (3.5 - 0.8)."""
    one, other = labels(0, 0, 0, 1, 1, 2), labels(0, 0, 1, 1, 2, 2)
    pairs = [(i, j) for i in range(6) for j in range(i)]
    first, second = ({p for p in pairs if each[p[0]] == each[p[1]]} for each in (one, other))
    expected = len(first) * len(second) / 15
    index = (len(first & second) - expected) / ((len(first) + len(second)) / 2 - expected)
    assert adjusted_rand(one, other) == pytest.approx(index)
    assert adjusted_rand(other, one) == pytest.approx(index)


def test_names_of_regimes_and_unknown_bars_do_not_matter():
    one = labels(-1, 0, 0, 1, 1, 2, 2, 0)
    assert adjusted_rand(one, labels(1, 2, 2, 0, 0, 1, 1, 2)) == 1.0
    assert np.isnan(adjusted_rand(one, labels(*[-1] * 8)))
    assert np.isnan(adjusted_rand(labels(0, 0, 0), labels(1, 1, 1)))


def test_independent_labels_agree_by_chance_only():
    chance = np.random.default_rng(1)
    found = [adjusted_rand(*chance.integers(0, 3, (2, 400)).astype(np.int8)) for _ in range(100)]
    assert np.mean(found) == pytest.approx(0.0, abs=0.005)


def test_durations_and_switches_are_counted_from_known_bars():
    found = labels(-1, 0, 0, 0, 1, 0, -1, 1, 1)
    assert mean_duration(found, 0) == 2.0
    assert mean_duration(found, 1) == 1.5
    assert switches(found) == 3
    assert np.isnan(mean_duration(found, 2))


def test_separation_is_epsilon_squared():
    """Within squares 4 with 4 degrees of freedom, in all 17.5 with 5: 1 - 1 / 3.5."""
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert separation(values, labels(0, 0, 0, 1, 1, 1)) == pytest.approx(1 - 1 / 3.5)
    assert np.isnan(separation(values, labels(0, 0, 0, 0, 0, -1)))


def test_regimes_by_chance_separate_nothing_and_planted_ones_do():
    chance, p_values = np.random.default_rng(2), []
    for _ in range(40):
        regimes = np.repeat(chance.integers(0, 2, 40), 10).astype(np.int8)
        values = chance.normal(size=400)
        p_values.append(chance_of_separation(values, regimes))
    assert np.mean(np.array(p_values) <= 0.1) <= 0.25
    assert chance_of_separation(values + regimes, regimes) <= 0.01
