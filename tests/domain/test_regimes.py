"""Classifiers of regimes: what they find, and that no later bar changes what they said."""

import sys

import numpy as np
import pytest
from admf.domain.bars import Window
from admf.domain.errors import ConfigurationError, DataError
from admf.domain.regimes.classifiers import CLASSIFIERS, UNKNOWN, Setting
from admf.domain.regimes.hidden_markov import FilteredMarkov

SAMPLE = Window(10, 300)


def classified(name, bars, sample=SAMPLE, **setting):
    return CLASSIFIERS.get(name).fit(bars, sample, Setting(**setting)).labels(bars)


def planted(seed, bars=3000, staying=0.99, deviations=(0.005, 0.02)):
    """Returns of two hidden states, and the states."""
    random = np.random.default_rng(seed)
    state = np.cumsum(random.random(bars) > staying) % 2
    return random.normal(0.0, 1.0, bars) * np.array(deviations)[state], state


@pytest.mark.parametrize("name", [*CLASSIFIERS])
@pytest.mark.parametrize("cut", [310, 400])
def test_later_bars_change_no_label(name, cut, make_bars):
    bars = make_bars(100.0 * np.exp(np.cumsum(planted(3, bars=500, staying=0.97)[0])))
    later = np.linspace(1.0, 3.0, 500 - cut) * np.where(np.arange(500 - cut) % 2, 0.7, 1.3)
    factor = np.concatenate((np.ones(cut), later))
    changed = make_bars(
        bars.close * factor, bars.open * factor, high=bars.high * factor * 1.5, low=bars.low * factor * 0.5
    )
    before, after = classified(name, bars), classified(name, changed)
    assert before[:cut].tolist() == after[:cut].tolist()
    assert before[cut:].tolist() != after[cut:].tolist()


@pytest.mark.parametrize("name", [*CLASSIFIERS])
def test_a_label_in_the_sample_too_follows_from_the_bars_up_to_it(name, make_bars):
    bars = make_bars(100.0 * np.exp(np.cumsum(planted(4, bars=400, staying=0.97)[0])))
    label = CLASSIFIERS.get(name).fit(bars, SAMPLE, Setting()).labels
    whole = label(bars)
    assert all(label(bars.head(stop)).tolist() == whole[:stop].tolist() for stop in (2, 25, 60, 200, 301))


@pytest.mark.parametrize("name", [*CLASSIFIERS])
def test_labels_are_those_of_named_regimes(name, make_bars):
    labels = classified(name, make_bars(100.0 * np.exp(np.cumsum(planted(5, bars=400, staying=0.97)[0]))))
    names = CLASSIFIERS.get(name).regimes(2)
    assert labels.dtype == np.int8
    assert set(labels.tolist()) == {UNKNOWN, *range(len(names))}


@pytest.mark.parametrize("seed", range(5))
def test_planted_regimes_are_recovered_by_the_filter(seed, make_bars):
    returns, state = planted(seed)
    bars = make_bars(100.0 * np.exp(np.cumsum(returns)))
    labels = classified("hmm", bars, Window(0, 1500))
    assert np.mean(labels[1500:] == state[1500:]) >= 0.9


def test_states_are_in_the_order_of_their_variance(make_bars):
    returns, state = planted(1, bars=4000, deviations=(0.03, 0.01))
    bars = make_bars(100.0 * np.exp(np.cumsum(returns)))
    labels = classified("hmm", bars, Window(0, 4000))
    assert returns[labels == 0].std() < returns[labels == 1].std()
    assert np.mean(labels == 1 - state) > 0.9


def test_the_filter_is_that_of_the_textbook():
    # Two states, one return of each size: Bayes' rule by hand.
    model = FilteredMarkov(
        np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.2, 0.8]]), np.zeros(2), np.array([1.0, 4.0])
    )
    density = [np.exp(-0.5), np.exp(-0.125) / 2.0]
    first = density[0] / sum(density)
    prior = first * 0.9 + (1.0 - first) * 0.2
    wide = [np.exp(-4.5), np.exp(-1.125) / 2.0]
    second = prior * wide[0] / (prior * wide[0] + (1.0 - prior) * wide[1])
    assert model.probabilities(np.array([1.0, 3.0]))[:, 0] == pytest.approx([first, second])


def test_volatility_is_cut_into_equal_parts_of_the_sample(random_bars):
    bars = random_bars(6, 500)
    labels = classified("volatility", bars, Window(0, 500), states=3, window=20)
    assert labels[:20].tolist() == [UNKNOWN] * 20
    assert np.bincount(labels[20:]).tolist() == [160, 160, 160]


def test_a_straight_line_is_a_trend_and_a_flat_one_is_none(make_bars):
    rising = make_bars(100.0 + np.arange(60.0))
    flat = make_bars(np.full(60, 100.0))
    falling = make_bars(200.0 - np.arange(60.0))
    for bars, expected in ((rising, 2), (flat, 1), (falling, 0)):
        assert classified("trend", bars, Window(0, 60))[20:].tolist() == [expected] * 40


def test_higher_highs_and_higher_lows_are_a_rise(make_bars):
    bars = make_bars(np.r_[np.arange(10.0, 14.0), [13.0, 12.0, 11.0, 10.0]], high=None)
    labels = classified("pattern", bars, Window(0, 8), window=2)
    # From the fourth bar on: 12-13 after 10-11, 13-13 after 11-12, and so on.
    assert labels.tolist() == [-1, -1, -1, 2, 2, 1, 0, 0]


def test_a_sample_that_does_not_suffice_is_refused(random_bars):
    bars = random_bars(7, 200)
    with pytest.raises(
        DataError, match="2 states needs a sample of at least 100 returns that vary; found 49"
    ):
        classified("hmm", bars, Window(0, 50))
    with pytest.raises(DataError, match="too few for a volatility over 20 bars"):
        classified("volatility", bars, Window(0, 10))


def test_without_its_library_the_hidden_markov_model_names_the_remedy(random_bars, monkeypatch):
    monkeypatch.setitem(sys.modules, "hmmlearn", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'admf\[regimes\]'"):
        classified("hmm", random_bars(8, 400))
