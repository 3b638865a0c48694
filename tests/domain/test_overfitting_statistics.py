"""Statistics of overfitting: golden numbers of the papers, and what they say of chance and of an edge."""

from itertools import combinations, pairwise
from math import sqrt

import numpy as np
import pytest
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.statistics.bootstrap import (
    bootstrap_interval,
    max_drawdowns,
    resampled_bars,
    total_returns,
)
from admf.domain.statistics.overfitting import block_sums, overfitting
from admf.domain.statistics.sharpe import (
    Record,
    deflated_sharpe,
    expected_maximum,
    minimum_record_length,
    probabilistic_sharpe,
    record_of,
)
from hypothesis import given
from hypothesis import strategies as st

SEEDS = range(50)


def test_the_deflated_sharpe_ratio_of_the_paper():
    """Bailey and Lopez de Prado (2014), section "a numerical example"."""
    found = Record(2.5 / sqrt(250), 1250, -3.0, 10.0)
    assert expected_maximum(0.5 / 250, 100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(found, 0.5 / 250, 100) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(found, 0.5 / 250, 46) == pytest.approx(0.9505, abs=5e-5)
    assert deflated_sharpe(Record(2.5 / sqrt(250), 1250), 0.5 / 250, 88) == pytest.approx(0.9505, abs=5e-5)


def test_the_probabilistic_sharpe_ratio_of_the_paper():
    """Bailey and Lopez de Prado (2012): 24 months with mean 0.036 and deviation 0.079."""
    assert probabilistic_sharpe(Record(0.458, 24, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)
    assert probabilistic_sharpe(Record(0.458, 24)) == pytest.approx(0.982, abs=5e-4)


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_the_minimum_record_length_of_the_paper(per_year, years):
    """Bailey and Lopez de Prado (2012): years until an annual ratio of 2 is above 1 with 95 %."""
    length = minimum_record_length(Record(2 / sqrt(per_year), 0), 1 / sqrt(per_year))
    assert length / per_year == pytest.approx(years, abs=5e-3)


@given(st.floats(-0.3, 0.3), st.integers(30, 3000), st.integers(2, 1000))
def test_more_trials_deflate_more_and_a_longer_record_less(ratio, bars, trials):
    record = Record(ratio, bars)
    one, many = (deflated_sharpe(record, 0.001, count) for count in (1, trials))
    assert 0.0 <= many <= one <= 1.0
    assert one == probabilistic_sharpe(record)
    if ratio > 0.01:
        length = minimum_record_length(record)
        assert probabilistic_sharpe(Record(ratio, round(length) + 1)) >= 0.95


def test_the_expected_maximum_is_what_chance_leads_to():
    highest = np.random.default_rng(1).normal(0, 0.05, (20_000, 30)).max(axis=1)
    assert expected_maximum(0.05**2, 30) == pytest.approx(highest.mean(), rel=0.02)


def test_moments_of_a_record():
    returns = np.random.default_rng(2).exponential(1.0, 200_000)
    record = record_of(returns)
    assert record.ratio == pytest.approx(1.0, rel=0.02)
    assert record.skewness == pytest.approx(2.0, rel=0.05)
    assert record.kurtosis == pytest.approx(9.0, rel=0.1)
    assert np.isnan(probabilistic_sharpe(record_of(np.zeros(9))))
    assert np.isnan(probabilistic_sharpe(record_of(np.array([0.1]))))


def overfitting_by_definition(returns, blocks):
    """Straight from the paper: matrices of rows of bars, joined anew for every split."""
    parts = np.array_split(returns, blocks, axis=1)
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        inside, outside = (
            np.concatenate([parts[block] for block in range(blocks) if (block in chosen) is wanted], axis=1)
            for wanted in (True, False)
        )
        best = np.argmax(inside.mean(axis=1) / inside.std(axis=1))
        ratios = outside.mean(axis=1) / outside.std(axis=1)
        rank = (np.argsort(np.argsort(ratios))[best] + 1) / (len(returns) + 1)
        logits.append(np.log(rank / (1 - rank)))
    return np.mean(np.array(logits) <= 0), logits


@pytest.mark.parametrize(("trials", "bars", "blocks"), [(2, 8, 4), (7, 240, 6), (30, 400, 8)])
def test_sums_of_blocks_give_what_the_definition_gives(trials, bars, blocks):
    returns = np.random.default_rng(trials).normal(0.0002, 0.01, (trials, bars))
    found = overfitting(block_sums(returns, blocks))
    probability, logits = overfitting_by_definition(returns, blocks)
    assert found.probability == probability
    assert found.logits == pytest.approx(logits)


def test_trials_that_are_all_alike_are_overfitted_and_an_odd_cut_is_refused():
    alike = np.tile(np.random.default_rng(0).normal(0, 0.01, 100), (5, 1))
    assert overfitting(block_sums(alike, 4)).probability == 1.0
    for blocks in (0, 3, 52):
        with pytest.raises(ConfigurationError, match="blocks: must be an even number"):
            block_sums(alike, blocks)
    with pytest.raises(ConfigurationError, match="takes at least 2 trials"):
        overfitting(block_sums(alike[:1], 4))


def study(seed, edge):
    """Daily returns of 40 trials over four years: noise, and one of them with an edge per bar."""
    returns = np.random.default_rng(seed).normal(0.0, 0.01, (40, 1000))
    returns[17] += edge
    records = [record_of(row) for row in returns]
    best = max(range(40), key=lambda row: records[row].ratio)
    variance = float(np.var([record.ratio for record in records], ddof=1))
    return (
        deflated_sharpe(records[best], variance, 40),
        overfitting(block_sums(returns, 10)).probability,
        bootstrap_interval(returns[best], seed=seed, samples=300),
    )


def test_of_fifty_random_walks_hardly_any_passes_and_of_fifty_edges_nearly_all_do():
    chance = [study(seed, 0.0) for seed in SEEDS]
    assert sum(deflated > 0.95 for deflated, _, _ in chance) <= 4
    assert np.mean([probability for _, probability, _ in chance]) == pytest.approx(0.5, abs=0.12)
    assert sum(deflated > 0.95 and probability < 0.05 for deflated, probability, _ in chance) <= 1
    found = [study(seed, 0.0025) for seed in SEEDS]
    assert sum(deflated > 0.95 and probability < 0.05 for deflated, probability, _ in found) >= 48
    assert all(interval.low > 0.0 for _, _, interval in found)


@pytest.mark.parametrize("blocks", ["stationary", "circular"])
def test_blocks_follow_each_other_around_the_end_and_have_their_size(blocks):
    drawn = resampled_bars(np.random.default_rng(3), 200, 500, 8, blocks)
    breaks = np.array([[b != (a + 1) % 500 for a, b in pairwise(row)] for row in drawn.tolist()])
    assert 499 / breaks.sum(axis=1).mean() == pytest.approx(8, rel=0.1)
    assert np.bincount(drawn.ravel(), minlength=500).std() / 200 < 0.15
    if blocks == "circular":
        assert set(np.flatnonzero(breaks.any(axis=0)) + 1) == set(range(8, 500, 8))


def test_an_interval_covers_the_truth_as_often_as_it_says():
    chance = np.random.default_rng(4)
    covered = 0
    for seed in range(200):
        returns = chance.normal(0.0005, 0.01, 400)
        interval = bootstrap_interval(returns, seed=seed, level=0.9, samples=300, block=1)
        covered += interval.low <= 0.05 <= interval.high
    assert covered / 200 == pytest.approx(0.9, abs=0.05)


def test_blocks_widen_the_interval_of_returns_that_depend_on_each_other():
    noise = np.random.default_rng(5).normal(0, 0.01, 2100)
    returns = np.convolve(noise, np.ones(20) / 20, "valid")
    single, whole = (bootstrap_interval(returns, seed=1, samples=500, block=block) for block in (1, 60))
    assert whole.high - whole.low > 2 * (single.high - single.low)
    assert single.value == whole.value


def test_other_statistics_and_the_seed():
    returns = np.random.default_rng(6).normal(0.001, 0.01, 300)
    for statistic, value in (
        (total_returns, np.prod(1 + returns) - 1),
        (
            max_drawdowns,
            -(
                np.cumprod([1, *(1 + returns)]) / np.maximum.accumulate(np.cumprod([1, *(1 + returns)])) - 1
            ).min(),
        ),
    ):
        one, same, other = (bootstrap_interval(returns, statistic, seed=seed) for seed in (1, 1, 2))
        assert one.value == pytest.approx(value)
        assert one == same != other
        assert one.low < one.high


def test_what_can_not_be_resampled_is_refused():
    with pytest.raises(ConfigurationError, match="at least 2 bars"):
        bootstrap_interval(np.array([0.1]), seed=1)
    with pytest.raises(ConfigurationError, match="blocks of 5"):
        bootstrap_interval(np.zeros(4), seed=1, block=5)
    with pytest.raises(UnknownNameError, match="unknown kind of blocks 'moving'"):
        bootstrap_interval(np.zeros(9), seed=1, blocks="moving")
