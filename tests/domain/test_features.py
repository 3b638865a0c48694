import numpy as np
import pytest
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.features import FEATURES, LARGEST, compute_feature, feature, feature_table
from admf.domain.strategies import sma_crossover
from admf.domain.topology import Market, StrategySlot, needed_features

CLOSE = [10.0, 12.0, 11.0, 15.0, 15.0, 9.0, 12.0, 18.0]


WIDTH = 1.5


def parameters_of(name, period):
    return {key: {"period": period, "width": WIDTH}[key] for key in FEATURES.get(name).minimum}


def spec_of(name, **parameters):
    return feature(name, **parameters).fill({})


def windows(values, period):
    return np.lib.stride_tricks.sliding_window_view(np.asarray(values), period)


def zscore(close, period):
    found = windows(close, period)
    return (close[period - 1 :] - found.mean(axis=1)) / found.std(axis=1)


def ema(close, period):
    """Starts with the mean of the first period."""
    values = [close[:period].mean()]
    for price in close[period:]:
        values.append(values[-1] + (price - values[-1]) * 2 / (period + 1))
    return np.array(values)


def wilder(values, period):
    """Wilder's average: starts with the mean of the first period."""
    averages = [values[:period].mean()]
    for value in values[period:]:
        averages.append((averages[-1] * (period - 1) + value) / period)
    return np.array(averages)


def rsi(close, period):
    change = np.diff(close)
    gain, loss = wilder(np.maximum(change, 0), period), wilder(np.maximum(-change, 0), period)
    return 100 * gain / (gain + loss)


def average_true_range(bars, period):
    before = bars.close[:-1]
    high, low = bars.high[1:], bars.low[1:]
    return wilder(np.max([high - low, abs(high - before), abs(low - before)], axis=0), period)


def bollinger(close, period, width):
    found = windows(close, period)
    return found.mean(axis=1) + width * found.std(axis=1)


FORMULAS = {
    "sma": (-1, lambda bars, n: windows(bars.close, n).mean(axis=1)),
    "ema": (-1, lambda bars, n: ema(bars.close, n)),
    "rate_of_change": (0, lambda bars, n: bars.close[n:] / bars.close[:-n] - 1),
    "rsi": (0, lambda bars, n: rsi(bars.close, n)),
    "standard_deviation": (-1, lambda bars, n: windows(bars.close, n).std(axis=1)),
    "zscore": (-1, lambda bars, n: zscore(bars.close, n)),
    "bollinger_upper": (-1, lambda bars, n: bollinger(bars.close, n, WIDTH)),
    "bollinger_lower": (-1, lambda bars, n: bollinger(bars.close, n, -WIDTH)),
    "highest": (0, lambda bars, n: windows(bars.high, n).max(axis=1)[:-1]),
    "lowest": (0, lambda bars, n: windows(bars.low, n).min(axis=1)[:-1]),
    "average_true_range": (0, lambda bars, n: average_true_range(bars, n)),
}
"""Of each feature: how many bars more than its period have no value, and the values after them."""


@pytest.mark.parametrize("period", [3, 14])
@pytest.mark.parametrize("name", list(FEATURES))
def test_a_feature_is_its_formula_after_a_warm_up_of_nan(random_bars, name, period):
    bars = random_bars(1, 90)
    longer, formula = FORMULAS[name]
    expected = np.concatenate((np.full(period + longer, np.nan), formula(bars, period)))
    values = compute_feature(spec_of(name, **parameters_of(name, period)), bars)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9)


def test_small_features_by_hand(make_bars):
    bars = make_bars(CLOSE)
    assert compute_feature(spec_of("sma", period=4), bars)[3:].tolist() == [12.0, 13.25, 12.5, 12.75, 13.5]
    assert compute_feature(spec_of("ema", period=3), bars)[2:].tolist() == [
        11.0,
        13.0,
        14.0,
        11.5,
        11.75,
        14.875,
    ]
    assert compute_feature(spec_of("highest", period=2), bars)[2:].tolist() == [
        12.5, 12.5, 15.5, 15.5, 15.5, 12.5,
    ]  # fmt: skip
    # Gains 2, 0, 4 and losses 0, 1, 0 over three bars; after them Wilder's averages.
    assert compute_feature(spec_of("rsi", period=3), bars)[3] == pytest.approx(100 * 6 / 7)


def test_a_score_of_prices_that_do_not_move_is_zero(make_bars):
    values = compute_feature(spec_of("zscore", period=3), make_bars([5.0] * 6))
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0, 0, 0, 0])


@pytest.mark.parametrize("name", list(FEATURES))
def test_too_few_bars_give_no_value_at_all(make_bars, name):
    values = compute_feature(spec_of(name, **parameters_of(name, 20)), make_bars(CLOSE))
    assert values.shape == (len(CLOSE),)
    assert np.isnan(values).all()


@pytest.mark.parametrize("name", list(FEATURES))
def test_the_smallest_and_the_largest_parameters_are_accepted(make_bars, name):
    definition = FEATURES.get(name)
    for parameters in (definition.minimum, dict.fromkeys(definition.minimum, LARGEST)):
        values = compute_feature(spec_of(name, **parameters), make_bars(CLOSE))
        assert values.shape == (len(CLOSE),)


@pytest.mark.parametrize("name", list(FEATURES))
def test_no_feature_looks_ahead(changed_past, name):
    spec = spec_of(name, **parameters_of(name, 7))
    found = changed_past(lambda bars: compute_feature(spec, bars))
    assert found is None, f"feature {spec} at bar {found[0]} changes with the bars from {found[1]} on"


def test_a_feature_that_looks_ahead_would_be_found(changed_past):
    assert changed_past(lambda bars: np.append(bars.close[1:], 0.0)) == (0, 1)
    assert changed_past(lambda bars: bars.close - bars.close.mean()) == (0, 1)
    assert changed_past(lambda bars: np.where(np.arange(len(bars)) == 50, bars.close[-1], 0.0)) == (50, 60)


@pytest.mark.parametrize("period", [0, -3, 2.5, np.nan, np.inf, LARGEST + 1, "fast", True])
def test_a_period_that_is_no_number_of_bars_is_refused(make_bars, period):
    with pytest.raises(
        ConfigurationError, match=r"feature sma\(period=.*\): period must be a whole number from 1"
    ):
        compute_feature(spec_of("sma", period=period), make_bars(CLOSE))


def test_a_whole_number_written_as_a_fraction_is_a_period(make_bars):
    bars = make_bars(CLOSE)
    whole, fraction = (compute_feature(spec_of("sma", period=period), bars) for period in (3, 3.0))
    np.testing.assert_array_equal(whole, fraction)


def test_a_width_below_zero_is_refused(make_bars):
    with pytest.raises(ConfigurationError, match="width must be a number from 0 to 100000, was -1"):
        compute_feature(spec_of("bollinger_upper", period=3, width=-1), make_bars(CLOSE))


def test_an_unknown_feature_or_parameter_is_refused_with_what_is_known():
    with pytest.raises(UnknownNameError, match=r"unknown feature 'smaa'. Did you mean sma"):
        feature("smaa", period=3)
    with pytest.raises(ConfigurationError, match="'sma' takes the parameters period; it was given length"):
        feature("sma", length=3)


def test_a_template_takes_its_parameters_from_the_strategy():
    template = feature("bollinger_upper", period="lookback", width=2.0)
    filled = template.fill({"lookback": 20, "width": 9.0})
    assert filled == spec_of("bollinger_upper", period=20, width=2.0)
    assert str(filled) == "bollinger_upper(period=20, width=2.0)"


def test_a_table_has_one_read_only_row_for_each_feature(make_bars):
    bars = make_bars(CLOSE)
    specs = (spec_of("sma", period=2), spec_of("sma", period=3))
    table = feature_table(specs, bars)
    assert table.shape == (2, len(CLOSE))
    np.testing.assert_array_equal(
        Market(bars, specs, table).feature(specs[1]), compute_feature(specs[1], bars)
    )
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1.0


def test_each_distinct_feature_is_found_once_whatever_the_number_of_containers(
    make_topology, make_containers
):
    topology = make_topology(
        StrategySlot(name="a", strategy=sma_crossover, parameters={"fast": 5, "slow": 20}),
        StrategySlot(name="b", strategy=sma_crossover, parameters={"fast": 20, "slow": 30}),
    )
    containers = make_containers([(0, 9)], a__fast=[5, 10] * 500, a__slow=[20, 30] * 500)
    assert [str(spec) for spec in needed_features(topology, containers)] == [
        "sma(period=10)",
        "sma(period=20)",
        "sma(period=30)",
        "sma(period=5)",
    ]


def test_a_phase_without_variations_needs_the_features_of_its_own_parameters(make_topology, make_containers):
    topology = make_topology(
        StrategySlot(name="a", strategy=sma_crossover, parameters={"fast": 5, "slow": 20})
    )
    found = needed_features(topology, make_containers([(0, 9)]))
    assert [str(spec) for spec in found] == ["sma(period=20)", "sma(period=5)"]
