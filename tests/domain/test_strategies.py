import numpy as np
import pytest
from admf.domain.errors import ConfigurationError, StrategyError, UnknownNameError
from admf.domain.events import SignalsEmitted
from admf.domain.features import feature
from admf.domain.market import Market
from admf.domain.panel import Panel
from admf.domain.strategies import (
    STRATEGIES,
    bollinger,
    breakout,
    mean_reversion,
    momentum,
    rsi,
    sma_crossover,
    strategy,
    strategy_from,
)
from admf.domain.targets import strategy_targets
from admf.domain.topology import StrategySlot

NAN = np.nan


def slot_of(made, **parameters):
    return StrategySlot(name="mine", strategy=made, parameters=made.resolve(parameters))


def plain(function, **declared):
    return strategy_from(function, **({"features": {}, "parameters": {}, "space": {}} | declared))


def targets_of(made, bars, **parameters):
    slot = slot_of(made, **parameters)
    needs = tuple(slot.strategy.needs(slot.parameters).values())
    targets, _ = strategy_targets(slot, slot.parameters, Market(Panel([bars]), needs))
    return targets


def test_sma_crossover_waits_for_a_cross_and_then_reverses_at_each(make_bars):
    bars = make_bars([5, 6, 7, 8, 4, 3, 9, 12, 2])
    targets = targets_of(sma_crossover, bars, fast=1, slow=3)
    # Averages over three bars:  6, 7, 6.33, 5, 5.33, 8, 7.67. Above from the first one, which is no cross.
    np.testing.assert_array_equal(targets, [NAN, NAN, NAN, NAN, -1, -1, 1, 1, -1])


def test_sma_crossover_takes_equal_averages_for_neither_side(make_bars):
    targets = targets_of(sma_crossover, make_bars([4, 6, 6, 6, 2, 8]), fast=1, slow=2)
    np.testing.assert_array_equal(targets, [NAN, NAN, NAN, NAN, -1, 1])


def test_momentum_follows_a_change_beyond_the_threshold_and_is_flat_within(make_bars):
    bars = make_bars([100, 100, 110, 111, 100, 105])
    targets = targets_of(momentum, bars, lookback=1, threshold=0.0501)
    np.testing.assert_array_equal(targets, [NAN, 0, 1, 0, -1, 0])


def test_mean_reversion_fades_an_outlier_until_the_mean(make_bars):
    bars = make_bars([10, 10, 10, 4, 6, 7, 20, 13, 10])
    targets = targets_of(mean_reversion, bars, lookback=3, threshold=1.2)
    # Scores: 0, -1.41, -0.27, 1.07, 1.41, -0.06, -1.03. Long until above zero, short until below it.
    np.testing.assert_array_equal(targets, [NAN, NAN, 0, 1, 1, 0, -1, 0, 0])


@pytest.mark.parametrize("outlier", [4, 16])
def test_mean_reversion_leaves_at_the_mean_itself(make_bars, outlier):
    bars = make_bars([10, 10, 10, outlier, (10 + outlier) / 2])
    assert targets_of(mean_reversion, bars, lookback=3, threshold=1.2)[-1] == 0


def test_mean_reversion_reverses_from_one_outlier_to_the_opposite_one(make_bars):
    targets = targets_of(mean_reversion, make_bars([10, 10, 10, 4, 20]), lookback=3, threshold=1.2)
    np.testing.assert_array_equal(targets, [NAN, NAN, 0, 1, -1])


def test_rsi_fades_extremes_until_the_middle(make_bars):
    bars = make_bars([10, 9, 8, 7, 9, 12, 16, 15, 11])
    targets = targets_of(rsi, bars, period=2, oversold=20.0, overbought=80.0)
    # Index: 0, 0, 66.7, 90.9, 97.3, 75.8, 24.4. Long below 20 until 50, short above 80 until 50.
    np.testing.assert_array_equal(targets, [NAN, NAN, 1, 1, 0, -1, -1, -1, 0])


def test_bollinger_fades_a_close_outside_the_bands_until_the_middle(make_bars):
    bars = make_bars([10, 10.5, 10, 4, 6, 7, 20, 13, 10])
    targets = targets_of(bollinger, bars, period=3, width=1.2)
    np.testing.assert_array_equal(targets, [NAN, NAN, 0, 1, 1, 0, -1, 0, 0])


def test_bollinger_has_no_opinion_where_the_bands_are_one_line(make_bars):
    targets = targets_of(bollinger, make_bars([10, 10, 10, 10]), period=2, width=2.0)
    assert np.isnan(targets).all()


def test_breakout_reverses_where_the_close_leaves_the_range_of_the_bars_before(make_bars):
    bars = make_bars([10, 11, 11.4, 13, 12, 9, 12, 14])
    targets = targets_of(breakout, bars, lookback=2)
    # High is half above the close, low a tenth below. Ranges before bars 2 to 7: 9-11.5, 9.9-11.9, ...
    np.testing.assert_array_equal(targets, [NAN, NAN, NAN, 1, NAN, -1, NAN, 1])


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_no_strategy_looks_ahead(changed_past, name):
    made = STRATEGIES.get(name)
    traded = []

    def compute(bars):
        targets = targets_of(made, bars)
        traded.append(np.nansum(np.abs(targets)))
        return targets

    found = changed_past(compute)
    assert traded[0] > 0, f"strategy {name} never trades on these bars, which proves nothing"
    assert found is None, f"strategy {name} at bar {found[0]} changes with the bars from {found[1]} on"


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_is_described_and_can_be_searched(name):
    made = STRATEGIES.get(name)
    assert made.name == name
    assert made.description.endswith(".")
    assert set(made.space) <= set(made.parameters)
    assert made.resolve({}) == dict(made.parameters)


def test_a_plain_function_is_a_strategy_and_its_defaults_are_parameters(trade, make_bars):
    def rising(close, volume, fast=1, *, scale=0.5):
        assert volume.size == close.size
        return np.concatenate((np.full(fast, NAN), scale * np.sign(close[fast:] - close[:-fast])))

    made = plain(rising)
    assert (made.name, dict(made.parameters)) == ("rising", {"fast": 1, "scale": 0.5})
    outcome = trade(make_bars([1, 2, 3, 2, 2]), slot_of(made))
    assert outcome.rows(SignalsEmitted, "bar", "target") == [(1, 0.5), (3, -0.5), (4, 0.0)]
    outcome = trade(make_bars([1, 2, 3, 2, 2]), slot_of(made, fast=2, scale=1.0))
    assert outcome.rows(SignalsEmitted, "bar", "target") == [(2, 1.0), (3, 0.0), (4, -1.0)]


def test_a_function_may_use_features_and_parameters_that_only_they_need(make_bars):
    made = plain(
        lambda close, average: np.where(close > average, 1.0, 0.0),
        features={"average": feature("sma", period="length")},
        parameters={"length": 3},
        name="above",
    )
    assert targets_of(made, make_bars([1, 2, 6, 1]), length=2).tolist() == [0.0, 1.0, 1.0, 0.0]
    assert made.needs({"length": 2}) == {"average": feature("sma", period=2).fill({})}


def test_a_registered_function_is_found_by_its_name():
    @strategy(parameters={"level": 1.0}, space={"level": (1.0, 2.0)}, name="above_a_level")
    def above(close, level):
        """Long above a level.

        Told in more words.
        """
        return np.where(close > level, 1.0, 0.0)

    assert STRATEGIES.get("above_a_level") is above
    assert above.description == "Long above a level."


def test_an_argument_that_nothing_provides_is_refused():
    def follow(close, avrage):
        return close * avrage

    with pytest.raises(
        ConfigurationError, match="'follow': the argument 'avrage' is neither a feature, nor a column"
    ):
        plain(follow)
    with pytest.raises(ConfigurationError, match="the argument 'anything'"):
        plain(lambda close, *anything: close + anything)


def test_a_feature_that_names_a_missing_parameter_is_refused_at_once():
    with pytest.raises(
        UnknownNameError, match=r"period of the feature 'average'.*'lenght'. Did you mean length"
    ):
        plain(
            lambda average: average,
            features={"average": feature("sma", period="lenght")},
            parameters={"length": 3},
        )


def test_an_unknown_parameter_is_refused_with_the_nearest_match():
    with pytest.raises(
        UnknownNameError, match=r"here: unknown parameter of momentum 'lookbak'. Did you mean lookback"
    ):
        momentum.resolve({"lookbak": 3}, "here")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros(3), r"one target exposure for each of the 4 bars; it returned ndarray of shape \(3,\)"),
        (np.zeros((4, 1)), r"it returned ndarray of shape \(4, 1\)"),
        (None, r"it returned NoneType of shape \(\)"),
        (["long"] * 4, "must return an array of numbers, one target exposure for each bar; it returned list"),
        ([0, 0, 1.5, 0], r"must lie in \[-1, 1\], was 1.5 at bar 2 \(1970-01-03\)"),
        ([0, -np.inf, 0, 0], r"must lie in \[-1, 1\], was -inf at bar 1 \(1970-01-02\)"),
    ],
    ids=["too short", "two dimensions", "nothing", "text", "too large", "infinite"],
)
def test_what_is_no_target_exposure_is_refused(trade, make_bars, result, message):
    def mine(close):
        return result

    with pytest.raises(StrategyError, match=f"strategy 'mine'.*{message}"):
        trade(make_bars([1, 2, 3, 4]), slot_of(plain(mine)))


def test_a_strategy_that_raises_is_named_with_its_parameters(trade, make_bars):
    def mine(close, level=2):
        raise KeyError(level)

    with pytest.raises(
        StrategyError, match=r"strategy 'mine' raised KeyError: 2; its parameters were {'level': 2}"
    ) as caught:
        trade(make_bars([1, 2]), slot_of(plain(mine)))
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_strategy_cannot_change_the_bars_and_features_that_containers_share(trade, make_bars):
    def careless(close, average):
        average[:2] = 0.0
        return average

    made = plain(careless, features={"average": feature("sma", period=2)})
    with pytest.raises(StrategyError, match="read-only"):
        targets_of(made, make_bars([1, 2, 3, 4]))
    with pytest.raises(StrategyError, match="read-only"):
        targets_of(plain(lambda close: np.negative(close, out=close)), make_bars([1, 2]))
