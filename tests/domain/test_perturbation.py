import numpy as np
import pytest
from admf.domain.bars import bars_loaded, checked_bars
from admf.domain.perturbation import PERTURBATIONS, without_first

COLUMNS = ("time", "open", "high", "low", "close", "volume")


@pytest.mark.parametrize("how", list(PERTURBATIONS))
@pytest.mark.parametrize("cut", [1, 30, 59])
def test_perturbed_bars_are_bars_that_differ_from_the_cut_on_alone(random_bars, how, cut):
    bars = random_bars(1, 60)
    changed = PERTURBATIONS[how](bars, cut)
    checked_bars(bars_loaded(changed), symbol="TEST", timeframe="1d", source="test")
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(changed, name)[:cut], getattr(bars, name)[:cut])
        assert not getattr(changed, name).flags.writeable
    assert len(changed) in (cut, len(bars))
    assert (changed.close[cut:] != bars.close[cut : len(changed)]).all()


def test_prices_that_are_turned_over_move_the_other_way(random_bars):
    bars = random_bars(2, 60)
    changed = PERTURBATIONS["turned over"](bars, 20)
    moves, others = np.diff(np.log(bars.close)), np.diff(np.log(changed.close))
    np.testing.assert_allclose(others[19:], -moves[19:], atol=1e-12)


def test_bars_without_the_first_are_those_that_follow(random_bars):
    bars = random_bars(3, 60)
    rest = without_first(bars, 7)
    assert (rest.symbol, rest.timeframe, len(rest)) == (bars.symbol, bars.timeframe, 53)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(rest, name), getattr(bars, name)[7:])
