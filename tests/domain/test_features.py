"""What holds for every registered feature, and how features are named, checked and computed."""

import numpy as np
import pytest
from admf.domain.bars import DAY, HOUR, MINUTE, checked_bars
from admf.domain.errors import ConfigurationError, UnknownNameError
from admf.domain.events import BarsLoaded
from admf.domain.features import FEATURES, LARGEST, compute_feature, feature, feature_table
from admf.domain.market import Market
from admf.domain.panel import Panel
from admf.domain.strategies import sma_crossover
from admf.domain.topology import StrategySlot, needed_features

CLOSE = [10.0, 12.0, 11.0, 15.0, 15.0, 9.0, 12.0, 18.0]
SIZE = 260
CUTS = (1, 2, 8, 33, 60, 101, 163, 230, SIZE - 1)
ON_DATA = ("previous_session_high", "previous_session_low", "previous_session_close")
"""Their warm-up is the first session, however long it is."""
UNITS = {
    "price": (1, 0),
    "price^2": (2, 0),
    "volume": (0, 1),
    "price*volume": (1, 1),
    "price/volume": (1, -1),
}
"""With which powers of prices and volumes a unit grows; all others with none."""
BOUNDS = {
    "0 to 100": (0, 100),
    "-100 to 100": (-100, 100),
    "-100 to 0": (-100, 0),
    "-1 to 1": (-1, 1),
    "0 to 1": (0, 1),
    "flag": (0, 1),
    "sign": (-1, 1),
}


def spec_of(name, **parameters):
    return feature(name, **parameters).fill({})


def usual(name):
    return {key: each.usual for key, each in FEATURES.get(name).parameters.items()}


def variants(name):
    """A feature with its usual parameters, with the least ones, and with others in between."""
    known = FEATURES.get(name).parameters
    least = {key: each.minimum for key, each in known.items()}
    between = {
        key: min(each.minimum + (3 + place if each.whole else 0.37), each.maximum)
        for place, (key, each) in enumerate(known.items())
    }
    return [spec_of(name, **values) for values in (usual(name), least, between)]


def columns_of(seed, *, size=SIZE, step=15 * MINUTE, kind=""):
    """Bars of 15 minutes over days of 6.5 hours: a random walk, or of a kind that is hard on formulas."""
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.01, size)))
    opens = close * np.exp(random.normal(0, 0.004, size))
    high = np.maximum(opens, close) * (1 + random.exponential(0.004, size))
    low = np.minimum(opens, close) * (1 - random.exponential(0.004, size))
    volume = np.round(random.lognormal(8, 1, size))
    if kind == "flat":
        close[60:] = opens[60:] = high[60:] = low[60:] = close[60]
    if kind == "never moved":
        opens = high = low = close = np.full(size, 0.1)
    if kind == "coarse":
        close, opens = np.ceil(close), np.ceil(opens)
        high, low = np.maximum(opens, close), np.minimum(opens, close)
    if kind == "thin":
        volume = np.where(random.random(size) < 0.7, 0.0, 1.0)
        volume[100:200] = 0
    if kind == "no volume":
        volume = np.zeros(size)
    bar = np.arange(size)
    time = bar // 26 * DAY + 14 * HOUR + bar % 26 * step
    return {"time": time, "open": opens, "high": high, "low": low, "close": close, "volume": volume}


def bars_of(columns):
    return checked_bars(BarsLoaded(**columns), symbol="TEST", timeframe="15m", source="test")


def scaled(columns, prices, volumes):
    factors = dict.fromkeys(("open", "high", "low", "close"), prices) | {"volume": volumes, "time": 1}
    return bars_of({name: column * factors[name] for name, column in columns.items()})


def bits(values):
    return values.view(np.int64)


PAST = columns_of(1)
BARS = bars_of(PAST)
FUTURE = columns_of(2, step=20 * MINUTE) | {"time": columns_of(2, step=20 * MINUTE)["time"] + 3 * HOUR}


def changed_before(compute, cut):
    """Find the first value before a cut that changes with the bars from the cut on."""
    whole = compute(BARS)
    perturbed = bars_of({name: np.concatenate((PAST[name][:cut], FUTURE[name][cut:])) for name in PAST})
    for changed in (BARS.head(cut), perturbed):
        differs = bits(whole[:cut]) != bits(compute(changed)[:cut])
        if differs.any():
            return int(np.argmax(differs))
    return None


@pytest.mark.parametrize("name", list(FEATURES))
def test_no_feature_looks_ahead(name):
    for spec in variants(name):
        for cut in CUTS:
            found = changed_before(lambda bars, spec=spec: compute_feature(spec, bars), cut)
            assert found is None, f"{spec} at bar {found} changes with the bars from {cut} on"


@pytest.mark.parametrize(
    "leak",
    [
        lambda bars: np.append(bars.close[1:], 0.0),
        lambda bars: bars.close - bars.close.mean(),
        lambda bars: np.where(np.arange(len(bars)) == 50, bars.volume[-1], 0.0),
        lambda bars: np.append(np.diff(bars.time), 0).astype(float),
        lambda bars: np.convolve(bars.high, np.ones(3), "same"),
        lambda bars: np.full(len(bars), float(len(bars))),
    ],
)
def test_a_feature_that_looks_ahead_would_be_found(leak):
    assert any(changed_before(leak, cut) is not None for cut in CUTS)


def warm_up_of(values):
    """Count the values that are missing at the beginning, after which none may be."""
    missing = np.isnan(values)
    first = int(np.argmin(missing)) if not missing.all() else values.size
    assert np.isfinite(values[first:]).all(), (
        f"no value at bar {first + np.argmin(np.isfinite(values[first:]))}"
    )
    return first


@pytest.mark.parametrize("name", list(FEATURES))
def test_after_its_warm_up_a_feature_has_a_value_at_every_bar_of_whatever_market(name):
    kinds = ("", "flat", "never moved", "coarse", "thin", "no volume")
    for spec in variants(name):
        lengths = {warm_up_of(compute_feature(spec, bars_of(columns_of(3, kind=kind)))) for kind in kinds}
        assert len(lengths) == 1, f"the warm-up of {spec} depends on the market: {lengths}"
        assert lengths != {SIZE}


@pytest.mark.parametrize("name", sorted({*FEATURES} - {*ON_DATA}))
def test_a_warm_up_does_not_depend_on_how_many_bars_follow(name):
    for spec in variants(name):
        length = warm_up_of(compute_feature(spec, BARS))
        for size in {max(length, 1), min(length + 1, SIZE)}:
            assert warm_up_of(compute_feature(spec, BARS.head(size))) == length


@pytest.mark.parametrize("name", sorted({*FEATURES} - {"linear_regression_angle"}))
def test_a_feature_grows_with_its_unit(name):
    definition = FEATURES.get(name)
    price, volume = UNITS.get(definition.unit, (0, 0))
    spec = spec_of(name, **usual(name))
    values = compute_feature(spec, BARS)
    size = np.nanmax(np.abs(values))
    for prices, volumes in ((8.0, 1.0), (1.0, 8.0)):
        found = compute_feature(spec, scaled(PAST, prices, volumes))
        factor = prices**price * volumes**volume
        np.testing.assert_allclose(found, values * factor, rtol=1e-9, atol=1e-11 * size * factor)


@pytest.mark.parametrize("name", [name for name in FEATURES if FEATURES.get(name).unit in BOUNDS])
def test_a_feature_keeps_within_its_bounds(name):
    lowest, highest = BOUNDS[FEATURES.get(name).unit]
    for spec in variants(name):
        values = compute_feature(spec, BARS)
        values = values[~np.isnan(values)]
        assert (values >= lowest - 1e-9).all(), spec
        assert (values <= highest + 1e-9).all(), spec
        if FEATURES.get(name).unit in ("flag", "sign"):
            assert set(values) <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("name", list(FEATURES))
def test_a_feature_is_described_and_named_in_the_form_of_all(name):
    definition = FEATURES.get(name)
    assert name == name.lower()
    assert definition.description.endswith(".")
    assert definition.unit
    assert definition.inputs
    for parameter in definition.parameters.values():
        assert parameter.minimum <= parameter.usual <= parameter.maximum
        assert isinstance(parameter.usual, int) == isinstance(parameter.minimum, int)


@pytest.mark.parametrize("name", list(FEATURES))
def test_the_smallest_and_the_largest_parameters_are_accepted(make_bars, name):
    known = FEATURES.get(name).parameters
    for size in (1, len(CLOSE)):
        bars = make_bars(CLOSE[:size])
        for parameters in (
            {key: each.minimum for key, each in known.items()},
            {key: each.maximum for key, each in known.items()},
        ):
            assert compute_feature(spec_of(name, **parameters), bars).shape == (size,)


@pytest.mark.parametrize("name", list(FEATURES))
def test_a_parameter_beyond_its_bounds_is_refused(make_bars, name):
    bars = make_bars(CLOSE)
    for key, parameter in FEATURES.get(name).parameters.items():
        for value in (parameter.minimum - 1, parameter.maximum + 1):
            with pytest.raises(ConfigurationError, match=f"feature {name}.*: {key} must be"):
                compute_feature(spec_of(name, **usual(name) | {key: value}), bars)


@pytest.mark.parametrize("name", list(FEATURES))
def test_the_inputs_of_a_feature_are_not_changed(name):
    before = {column: getattr(BARS, column).copy() for column in PAST}
    for spec in variants(name):
        compute_feature(spec, BARS)
    for column, values in before.items():
        np.testing.assert_array_equal(getattr(BARS, column), values)


def test_too_few_bars_give_no_value_at_all(make_bars):
    values = compute_feature(spec_of("sma", period=20), make_bars(CLOSE))
    assert values.shape == (len(CLOSE),)
    assert np.isnan(values).all()


@pytest.mark.parametrize("period", [0, -3, 2.5, np.nan, np.inf, LARGEST + 1, "fast", True])
def test_a_period_that_is_no_number_of_bars_is_refused(make_bars, period):
    with pytest.raises(
        ConfigurationError, match=r"feature sma\(period=.*\): period must be a whole number from 1 to 100000,"
    ):
        compute_feature(spec_of("sma", period=period), make_bars(CLOSE))


@pytest.mark.parametrize("key", ["fast", "slow", "signal"])
def test_whatever_counts_bars_is_whole(make_bars, key):
    parameters = {"fast": 12, "slow": 26, "signal": 9} | {key: 9.5}
    with pytest.raises(ConfigurationError, match=f"{key} must be a whole number from .*, was 9.5"):
        compute_feature(spec_of("macd_signal", **parameters), make_bars(CLOSE))


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
        Market(Panel([bars]), specs, [table]).feature(specs[1]), compute_feature(specs[1], bars)
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
