"""Features against their formulas, written down a second time in plain NumPy, window by window."""

import numpy as np
import pytest
from admf.domain.bars import DAY, HOUR, MINUTE, checked_bars
from admf.domain.events import BarsLoaded
from admf.domain.features import FEATURES, compute_feature, feature

SIZE = 240


def walk():
    random = np.random.default_rng(11)
    close = 80 * np.exp(np.cumsum(random.normal(0, 0.012, SIZE)))
    opens = close * np.exp(random.normal(0, 0.004, SIZE))
    bar = np.arange(SIZE)
    columns = BarsLoaded(
        time=bar // 13 * DAY + 14 * HOUR + bar % 13 * 30 * MINUTE,
        open=opens,
        high=np.maximum(opens, close) * (1 + random.exponential(0.004, SIZE)),
        low=np.minimum(opens, close) * (1 - random.exponential(0.004, SIZE)),
        close=close,
        volume=np.round(random.lognormal(8, 1, SIZE)),
    )
    return checked_bars(columns, symbol="TEST", timeframe="30m", source="test")


BARS = walk()
OPEN, HIGH, LOW, CLOSE, VOLUME = BARS.open, BARS.high, BARS.low, BARS.close, BARS.volume
TYPICAL = (HIGH + LOW + CLOSE) / 3
NAN = np.nan


def rolled(function, period, *columns):
    """Apply a function to the last `period` values of columns, from where all of them have values."""
    result = np.full(SIZE, NAN)
    first = max(int(np.argmin(np.isnan(column))) for column in columns)
    for t in range(first + period - 1, SIZE):
        result[t] = function(*(column[t + 1 - period : t + 1] for column in columns))
    return result


def before(values, bars=1):
    return np.concatenate((np.full(bars, NAN), values[:-bars]))


def change(values, bars=1):
    return values - before(values, bars)


def mean(values, period):
    return rolled(np.mean, period, values)


def total(values, period):
    return rolled(np.sum, period, values)


def recursive(values, period, weight):
    """Start with the mean of the first `period` values; go a share `weight` of the way to each later one."""
    result = np.full(SIZE, NAN)
    first = int(np.argmin(np.isnan(values)))
    result[first + period - 1] = values[first : first + period].mean()
    for t in range(first + period, SIZE):
        result[t] = result[t - 1] + weight * (values[t] - result[t - 1])
    return result


def ema(values, period):
    return recursive(values, period, 2 / (period + 1))


def wilder(values, period):
    return recursive(values, period, 1 / period)


def weighted(values, period):
    weights = np.arange(1, period + 1)
    return rolled(lambda window: window @ weights / weights.sum(), period, values)


def true_range():
    return np.where(
        np.isnan(before(CLOSE)),
        NAN,
        np.max([HIGH - LOW, abs(HIGH - before(CLOSE)), abs(LOW - before(CLOSE))], axis=0),
    )


def macd(fast, slow):
    """Both averages start at the bar at which the slow one can: the fast one from the `fast` bars before."""
    late = CLOSE.copy()
    late[: slow - fast] = NAN
    return ema(late, fast) - ema(CLOSE, slow)


def late_range(period, atr_period):
    """The average true range that starts at the bar at which an average over more bars can."""
    late = true_range()
    late[: period - atr_period] = NAN
    return wilder(late, atr_period)


def stochastic(period, smoothing):
    lowest, highest = rolled(np.min, period, LOW), rolled(np.max, period, HIGH)
    return mean(100 * (CLOSE - lowest) / (highest - lowest), smoothing)


def movements():
    up, down = change(HIGH), -change(LOW)
    plus = np.where((up > down) & (up > 0), up, 0.0)
    minus = np.where((down > up) & (down > 0), down, 0.0)
    plus[0] = minus[0] = NAN
    return plus, minus


def wilder_sum(values, period):
    """Wilder's running sum: that of the first period - 1 values, of which each bar takes 1 / period."""
    result = np.full(SIZE, NAN)
    result[period - 1] = values[1:period].sum()
    for t in range(period, SIZE):
        result[t] = result[t - 1] * (1 - 1 / period) + values[t]
    return result


def directional(period):
    ranges = wilder_sum(true_range(), period)
    plus, minus = (100 * wilder_sum(moved, period) / ranges for moved in movements())
    plus[period - 1] = minus[period - 1] = NAN
    return plus, minus


def directional_index(period):
    plus, minus = directional(period)
    return 100 * abs(plus - minus) / (plus + minus)


def sums_of_gains(values, period, average):
    moved = change(values)
    gain = np.where(np.isnan(moved), NAN, np.maximum(moved, 0))
    loss = np.where(np.isnan(moved), NAN, np.maximum(-moved, 0))
    return average(gain, period), average(loss, period)


def line(values, period):
    """Slope and last point of the regression line through each window."""
    slope = rolled(lambda window: np.polyfit(np.arange(period), window, 1)[0], period, values)
    return slope, mean(values, period) + slope * (period - 1) / 2


def money_flow_index(period):
    flow = TYPICAL * VOLUME
    up = np.where(change(TYPICAL) > 0, flow, 0.0)
    down = np.where(change(TYPICAL) < 0, flow, 0.0)
    up[0] = down[0] = NAN
    return 100 * total(up, period) / (total(up, period) + total(down, period))


def place():
    """Chaikin's place of the close in the bar, from -1 to 1."""
    return ((CLOSE - LOW) - (HIGH - CLOSE)) / (HIGH - LOW)


def since(function, *columns):
    """Sum from the first bar on."""
    return np.cumsum(function(*columns))


def index_of(which):
    result = np.full(SIZE, 1000.0)
    for t in range(1, SIZE):
        result[t] = result[t - 1] * (CLOSE[t] / CLOSE[t - 1] if which(VOLUME[t], VOLUME[t - 1]) else 1)
    return result


def kaufman(period):
    share = abs(change(CLOSE, period)) / total(abs(change(CLOSE)), period)
    result = np.full(SIZE, NAN)
    held = CLOSE[period - 1]
    for t in range(period, SIZE):
        held += (share[t] * (2 / 3 - 2 / 31) + 2 / 31) ** 2 * (CLOSE[t] - held)
        result[t] = held
    return result


def ultimate(*periods):
    low, high = np.minimum(LOW, before(CLOSE)), np.maximum(HIGH, before(CLOSE))
    low[0] = high[0] = NAN
    parts = [total(CLOSE - low, period) / total(high - low, period) for period in periods]
    return 100 * (4 * parts[0] + 2 * parts[1] + parts[2]) / 7


def candles():
    opens, closes = OPEN.copy(), (OPEN + HIGH + LOW + CLOSE) / 4
    opens[0] = (OPEN[0] + CLOSE[0]) / 2
    for t in range(1, SIZE):
        opens[t] = (opens[t - 1] + closes[t - 1]) / 2
    return (
        opens,
        np.maximum(HIGH, np.maximum(opens, closes)),
        np.minimum(LOW, np.minimum(opens, closes)),
        closes,
    )


def aroon(column, pick, period):
    """The later one of equals counts, hence the reversal."""
    return rolled(lambda window: 100 * (period - pick(window[::-1])) / period, period + 1, column)


def recent(values, period):
    return before(mean(values, period))


def score(period):
    return (CLOSE - mean(CLOSE, period)) / rolled(np.std, period, CLOSE)


def band(period, width):
    return mean(CLOSE, period) + width * rolled(np.std, period, CLOSE)


def root_mean(values, period):
    return np.sqrt(mean(values, period))


def yang_zhang(n):
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    gaps = rolled(lambda window: window.var(ddof=1), n, np.log(OPEN / before(CLOSE)))
    moves = rolled(lambda window: window.var(ddof=1), n, np.log(CLOSE / OPEN))
    return np.sqrt(gaps + k * moves + (1 - k) * mean(rogers_satchell(), n))


def rogers_satchell():
    return np.log(HIGH / CLOSE) * np.log(HIGH / OPEN) + np.log(LOW / CLOSE) * np.log(LOW / OPEN)


def vwap(price, volume):
    return (price @ volume) / volume.sum()


def in_sessions(function, *columns):
    """Apply a function to the bars of the session so far."""
    days = BARS.time // DAY
    return np.array(
        [function(*(column[: t + 1][days[: t + 1] == days[t]] for column in columns)) for t in range(SIZE)],
        float,
    )


def opening(minutes, pick):
    def found(time, values):
        return pick(values[time < time[0] + minutes * MINUTE])

    return found


def previous_session(function, column):
    days = BARS.time // DAY
    return np.array(
        [function(column[days == days[t] - 1]) if days[t] > days[0] else NAN for t in range(SIZE)]
    )


def moment(unit):
    return BARS.time.astype("datetime64[ns]").astype(f"datetime64[{unit}]")


FORMULAS = [
    ("sma", {"period": 14}, lambda: mean(CLOSE, 14)),
    ("ema", {"period": 14}, lambda: ema(CLOSE, 14)),
    ("rma", {"period": 14}, lambda: wilder(CLOSE, 14)),
    ("wma", {"period": 9}, lambda: weighted(CLOSE, 9)),
    ("dema", {"period": 5}, lambda: 2 * ema(CLOSE, 5) - ema(ema(CLOSE, 5), 5)),
    (
        "tema",
        {"period": 5},
        lambda: 3 * ema(CLOSE, 5) - 3 * ema(ema(CLOSE, 5), 5) + ema(ema(ema(CLOSE, 5), 5), 5),
    ),
    ("trima", {"period": 9}, lambda: mean(mean(CLOSE, 5), 5)),
    ("trima", {"period": 10}, lambda: mean(mean(CLOSE, 5), 6)),
    ("hma", {"period": 16}, lambda: weighted(2 * weighted(CLOSE, 8) - weighted(CLOSE, 16), 4)),
    ("kama", {"period": 10}, lambda: kaufman(10)),
    ("midpoint", {"period": 9}, lambda: (rolled(np.max, 9, CLOSE) + rolled(np.min, 9, CLOSE)) / 2),
    ("midprice", {"period": 9}, lambda: (rolled(np.max, 9, HIGH) + rolled(np.min, 9, LOW)) / 2),
    ("donchian_upper", {"period": 9}, lambda: rolled(np.max, 9, HIGH)),
    ("donchian_middle", {"period": 9}, lambda: (rolled(np.max, 9, HIGH) + rolled(np.min, 9, LOW)) / 2),
    ("donchian_lower", {"period": 9}, lambda: rolled(np.min, 9, LOW)),
    ("highest", {"period": 9}, lambda: before(rolled(np.max, 9, HIGH))),
    ("lowest", {"period": 9}, lambda: before(rolled(np.min, 9, LOW))),
    ("bollinger_upper", {"period": 14, "width": 1.5}, lambda: band(14, 1.5)),
    ("bollinger_lower", {"period": 14, "width": 1.5}, lambda: band(14, -1.5)),
    (
        "keltner_upper",
        {"period": 20, "atr_period": 10, "width": 1.5},
        lambda: ema(TYPICAL, 20) + 1.5 * late_range(20, 10),
    ),
    ("keltner_middle", {"period": 20, "atr_period": 10, "width": 1.5}, lambda: ema(TYPICAL, 20)),
    (
        "keltner_lower",
        {"period": 20, "atr_period": 10, "width": 1.5},
        lambda: ema(TYPICAL, 20) - 1.5 * late_range(20, 10),
    ),
    ("vwma", {"period": 9}, lambda: rolled(vwap, 9, CLOSE, VOLUME)),
    ("vwap", {"period": 9}, lambda: rolled(vwap, 9, TYPICAL, VOLUME)),
    ("rate_of_change", {"period": 14}, lambda: CLOSE / before(CLOSE, 14) - 1),
    ("momentum", {"period": 14}, lambda: CLOSE - before(CLOSE, 14)),
    ("log_return", {"period": 3}, lambda: np.log(CLOSE / before(CLOSE, 3))),
    ("rsi", {"period": 14}, lambda: share_of_gains(sums_of_gains(CLOSE, 14, wilder))),
    ("macd", {"fast": 12, "slow": 26}, lambda: macd(12, 26)),
    ("macd_signal", {"fast": 12, "slow": 26, "signal": 9}, lambda: ema(macd(12, 26), 9)),
    (
        "macd_histogram",
        {"fast": 12, "slow": 26, "signal": 9},
        lambda: macd(12, 26) - ema(macd(12, 26), 9),
    ),
    ("absolute_price_oscillator", {"fast": 5, "slow": 9}, lambda: ema(CLOSE, 5) - ema(CLOSE, 9)),
    (
        "percentage_price_oscillator",
        {"fast": 5, "slow": 9},
        lambda: 100 * (ema(CLOSE, 5) / ema(CLOSE, 9) - 1),
    ),
    (
        "percentage_volume_oscillator",
        {"fast": 5, "slow": 9},
        lambda: 100 * (ema(VOLUME, 5) / ema(VOLUME, 9) - 1),
    ),
    ("stochastic_k", {"period": 14, "smoothing": 3}, lambda: stochastic(14, 3)),
    ("stochastic_k", {"period": 14, "smoothing": 1}, lambda: stochastic(14, 1)),
    ("stochastic_d", {"period": 14, "smoothing": 3, "signal": 5}, lambda: mean(stochastic(14, 3), 5)),
    ("williams_r", {"period": 14}, lambda: stochastic(14, 1) - 100),
    ("plus_di", {"period": 14}, lambda: directional(14)[0]),
    ("minus_di", {"period": 14}, lambda: directional(14)[1]),
    ("directional_index", {"period": 14}, lambda: directional_index(14)),
    ("adx", {"period": 14}, lambda: wilder(directional_index(14), 14)),
    ("aroon_up", {"period": 14}, lambda: aroon(HIGH, np.argmax, 14)),
    ("aroon_down", {"period": 14}, lambda: aroon(LOW, np.argmin, 14)),
    ("aroon_oscillator", {"period": 14}, lambda: aroon(HIGH, np.argmax, 14) - aroon(LOW, np.argmin, 14)),
    ("awesome_oscillator", {"fast": 5, "slow": 34}, lambda: awesome()),
    (
        "accelerator_oscillator",
        {"fast": 5, "slow": 34, "signal": 5},
        lambda: awesome() - mean(awesome(), 5),
    ),
    ("balance_of_power", {}, lambda: (CLOSE - OPEN) / (HIGH - LOW)),
    (
        "commodity_channel_index",
        {"period": 20},
        lambda: (TYPICAL - mean(TYPICAL, 20)) / (0.015 * mean_deviation(TYPICAL, 20)),
    ),
    ("chande_momentum_oscillator", {"period": 9}, lambda: chande(sums_of_gains(CLOSE, 9, total))),
    ("chande_momentum_smoothed", {"period": 9}, lambda: chande(sums_of_gains(CLOSE, 9, wilder))),
    (
        "coppock_curve",
        {"smoothing": 10, "fast": 11, "slow": 14},
        lambda: weighted(100 * (CLOSE / before(CLOSE, 11) - 1) + 100 * (CLOSE / before(CLOSE, 14) - 1), 10),
    ),
    ("detrended_price_oscillator", {"period": 20}, lambda: before(CLOSE, 11) - mean(CLOSE, 20)),
    ("efficiency_ratio", {"period": 10}, lambda: abs(change(CLOSE, 10)) / total(abs(change(CLOSE)), 10)),
    ("elder_bull_power", {"period": 13}, lambda: HIGH - ema(CLOSE, 13)),
    ("elder_bear_power", {"period": 13}, lambda: LOW - ema(CLOSE, 13)),
    ("money_flow_index", {"period": 14}, lambda: money_flow_index(14)),
    ("qstick", {"period": 10}, lambda: mean(CLOSE - OPEN, 10)),
    ("trix", {"period": 5}, lambda: trix(5)),
    ("ultimate_oscillator", {"fast": 7, "middle": 14, "slow": 28}, lambda: ultimate(7, 14, 28)),
    (
        "vertical_horizontal_filter",
        {"period": 10},
        lambda: (rolled(np.max, 10, CLOSE) - rolled(np.min, 10, CLOSE)) / total(abs(change(CLOSE)), 10),
    ),
    ("vortex_plus", {"period": 14}, lambda: total(abs(HIGH - before(LOW)), 14) / total(true_range(), 14)),
    ("vortex_minus", {"period": 14}, lambda: total(abs(LOW - before(HIGH)), 14) / total(true_range(), 14)),
    ("true_range", {}, true_range),
    ("average_true_range", {"period": 14}, lambda: wilder(true_range(), 14)),
    ("normalized_average_true_range", {"period": 14}, lambda: 100 * wilder(true_range(), 14) / CLOSE),
    ("average_range", {"period": 14}, lambda: mean(HIGH - LOW, 14)),
    (
        "chaikin_volatility",
        {"period": 10, "change": 5},
        lambda: 100 * (ema(HIGH - LOW, 10) / before(ema(HIGH - LOW, 10), 5) - 1),
    ),
    (
        "mass_index",
        {"fast": 9, "slow": 25},
        lambda: total(ema(HIGH - LOW, 9) / ema(ema(HIGH - LOW, 9), 9), 25),
    ),
    ("realized_volatility", {"period": 20}, lambda: root_mean(np.log(CLOSE / before(CLOSE)) ** 2, 20)),
    (
        "historical_volatility",
        {"period": 20},
        lambda: rolled(lambda window: window.std(ddof=1), 20, np.log(CLOSE / before(CLOSE))),
    ),
    (
        "parkinson_volatility",
        {"period": 20},
        lambda: root_mean(np.log(HIGH / LOW) ** 2 / (4 * np.log(2)), 20),
    ),
    (
        "garman_klass_volatility",
        {"period": 20},
        lambda: root_mean(np.log(HIGH / LOW) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(CLOSE / OPEN) ** 2, 20),
    ),
    ("rogers_satchell_volatility", {"period": 20}, lambda: root_mean(rogers_satchell(), 20)),
    ("yang_zhang_volatility", {"period": 20}, lambda: yang_zhang(20)),
    ("average_volume", {"period": 20}, lambda: mean(VOLUME, 20)),
    ("relative_volume", {"period": 20}, lambda: VOLUME / recent(VOLUME, 20)),
    (
        "on_balance_volume",
        {},
        lambda: VOLUME[0] + since(lambda: np.sign(np.diff(CLOSE, prepend=CLOSE[0])) * VOLUME),
    ),
    ("accumulation_distribution", {}, lambda: since(lambda: place() * VOLUME)),
    ("chaikin_money_flow", {"period": 20}, lambda: total(place() * VOLUME, 20) / total(VOLUME, 20)),
    ("force_index", {"period": 13}, lambda: ema(change(CLOSE) * VOLUME, 13)),
    ("market_facilitation_index", {}, lambda: (HIGH - LOW) / VOLUME),
    ("negative_volume_index", {}, lambda: index_of(lambda now, then: now < then)),
    ("positive_volume_index", {}, lambda: index_of(lambda now, then: now > then)),
    ("average_price", {}, lambda: (OPEN + HIGH + LOW + CLOSE) / 4),
    ("median_price", {}, lambda: (HIGH + LOW) / 2),
    ("typical_price", {}, lambda: TYPICAL),
    ("weighted_close", {}, lambda: (HIGH + LOW + 2 * CLOSE) / 4),
    ("heikin_ashi_open", {}, lambda: candles()[0]),
    ("heikin_ashi_high", {}, lambda: candles()[1]),
    ("heikin_ashi_low", {}, lambda: candles()[2]),
    ("heikin_ashi_close", {}, lambda: candles()[3]),
    ("standard_deviation", {"period": 14}, lambda: rolled(np.std, 14, CLOSE)),
    ("variance", {"period": 14}, lambda: rolled(np.var, 14, CLOSE)),
    ("average_deviation", {"period": 14}, lambda: mean_deviation(CLOSE, 14)),
    ("zscore", {"period": 14}, lambda: score(14)),
    ("linear_regression", {"period": 14}, lambda: line(CLOSE, 14)[1]),
    ("linear_regression_slope", {"period": 14}, lambda: line(CLOSE, 14)[0]),
    ("linear_regression_intercept", {"period": 14}, lambda: line(CLOSE, 14)[1] - 13 * line(CLOSE, 14)[0]),
    ("linear_regression_angle", {"period": 14}, lambda: np.degrees(np.arctan(line(CLOSE, 14)[0]))),
    ("time_series_forecast", {"period": 14}, lambda: np.sum(line(CLOSE, 14), axis=0)),
    (
        "forecast_oscillator",
        {"period": 5},
        lambda: 100 * (CLOSE - before(np.sum(line(CLOSE, 5), axis=0))) / CLOSE,
    ),
    ("percentile", {"period": 30, "percentile": 25.0}, lambda: rolled(lambda w: np.sort(w)[7], 30, CLOSE)),
    (
        "percent_rank",
        {"period": 20},
        lambda: rolled(lambda window: 100 * np.mean(window[:-1] <= window[-1]), 21, CLOSE),
    ),
    (
        "price_volume_correlation",
        {"period": 20},
        lambda: rolled(lambda c, v: np.corrcoef(c, v)[0, 1], 20, CLOSE, VOLUME),
    ),
    ("session_first_bar", {}, lambda: in_sessions(lambda time: time.size == 1, BARS.time)),
    ("session_bar", {}, lambda: in_sessions(lambda time: time.size - 1, BARS.time)),
    ("session_minutes", {}, lambda: in_sessions(lambda time: (time[-1] - time[0]) / MINUTE, BARS.time)),
    ("session_open", {}, lambda: in_sessions(lambda opens: opens[0], OPEN)),
    ("session_high", {}, lambda: in_sessions(np.max, HIGH)),
    ("session_low", {}, lambda: in_sessions(np.min, LOW)),
    ("session_vwap", {}, lambda: in_sessions(vwap, TYPICAL, VOLUME)),
    ("opening_range_high", {"minutes": 90}, lambda: in_sessions(opening(90, np.max), BARS.time, HIGH)),
    ("opening_range_low", {"minutes": 45}, lambda: in_sessions(opening(45, np.min), BARS.time, LOW)),
    ("previous_session_high", {}, lambda: previous_session(np.max, HIGH)),
    ("previous_session_low", {}, lambda: previous_session(np.min, LOW)),
    ("previous_session_close", {}, lambda: previous_session(lambda close: close[-1], CLOSE)),
    ("minute_of_day", {}, lambda: (moment("m") - moment("D")).astype(float)),
    ("day_of_week", {}, lambda: np.array([day.weekday() for day in moment("D").tolist()], float)),
    ("month", {}, lambda: np.array([day.month for day in moment("D").tolist()], float)),
]
"""Features, parameters, and their formulas."""


def share_of_gains(sums):
    gains, losses = sums
    return 100 * gains / (gains + losses)


def chande(sums):
    gains, losses = sums
    return 100 * (gains - losses) / (gains + losses)


def awesome():
    return mean((HIGH + LOW) / 2, 5) - mean((HIGH + LOW) / 2, 34)


def trix(period):
    thrice = ema(ema(ema(CLOSE, period), period), period)
    return 100 * (thrice / before(thrice) - 1)


def mean_deviation(values, period):
    return rolled(lambda window: np.mean(abs(window - window.mean())), period, values)


@pytest.mark.parametrize(
    ("name", "parameters", "formula"),
    FORMULAS,
    ids=[f"{name}{[*given.values()]}" for name, given, _ in FORMULAS],
)
def test_a_feature_is_its_formula_after_a_warm_up_of_nan(name, parameters, formula):
    values = compute_feature(feature(name, **parameters).fill({}), BARS)
    np.testing.assert_allclose(values, formula(), rtol=1e-8, atol=1e-8)


def test_the_features_of_our_own_are_all_compared_with_formulas():
    modules = ("admf.domain.rolling", "admf.domain.sessions")
    own = {name for name in FEATURES if FEATURES.get(name).function.__module__ in modules}
    assert len(own) == 30
    assert own - {name for name, _, _ in FORMULAS} == set()


def test_small_features_by_hand(make_bars):
    bars = make_bars([10.0, 12.0, 11.0, 15.0, 15.0, 9.0, 12.0, 18.0])

    def values(name, **parameters):
        return compute_feature(feature(name, **parameters).fill({}), bars)

    assert values("sma", period=4)[3:].tolist() == [12.0, 13.25, 12.5, 12.75, 13.5]
    assert values("ema", period=3)[2:].tolist() == [11.0, 13.0, 14.0, 11.5, 11.75, 14.875]
    assert values("highest", period=2)[2:].tolist() == [12.5, 12.5, 15.5, 15.5, 15.5, 12.5]
    # Gains 2, 0, 4 and losses 0, 1, 0 over three bars; after them Wilder's averages.
    assert values("rsi", period=3)[3] == pytest.approx(100 * 6 / 7)
    assert values("on_balance_volume").tolist() == [1, 2, 1, 2, 2, 1, 2, 3]


def test_a_score_of_prices_that_do_not_move_is_zero(make_bars):
    values = compute_feature(feature("zscore", period=3).fill({}), make_bars([5.0] * 6))
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0, 0, 0, 0])


def test_a_swing_high_is_known_only_at_the_bar_that_confirms_it(make_bars):
    bars = make_bars([1.0, 2.0, 5.0, 3.0, 2.0, 1.0])
    values = compute_feature(feature("fractal_high", left=2, right=2).fill({}), bars)
    np.testing.assert_array_equal(values, [np.nan] * 4 + [1.0, 0.0])


def test_a_bar_that_opens_and_closes_at_one_price_is_a_doji(random_bars, make_bars):
    close = random_bars(4, 40).close.copy()
    opens = close * 1.02
    opens[30] = close[30]
    values = compute_feature(feature("pattern_doji").fill({}), make_bars(close, opens))
    assert np.flatnonzero(values[10:] == 1.0).tolist() == [20]
    assert np.isnan(values[:10]).all()


def test_an_engulfing_bar_is_named_by_its_direction(make_bars):
    close = np.array([10.0, 10.5] * 10 + [10.0, 11.0, 9.0])
    opens = np.array([10.5, 10.0] * 10 + [10.4, 9.5, 11.5])
    values = compute_feature(feature("pattern_engulfing").fill({}), make_bars(close, opens))
    assert values[-2:].tolist() == [1.0, -1.0]


def test_a_volume_spike_leaves_no_trace_in_averages_by_volume_after_its_window(make_bars):
    close = np.linspace(10, 20, 60)
    volume = np.full(60, 3.0)
    volume[20] = 1e17
    volume[40:] = 0.0
    columns = make_bars(close)
    spiked = BarsLoaded(
        **{name: getattr(columns, name) for name in ("time", "open", "high", "low", "close")}, volume=volume
    )
    bars = checked_bars(spiked, symbol="TEST", timeframe="1d", source="test")
    values = compute_feature(feature("vwma", period=5).fill({}), bars)
    expected = [close[t - 4 : t + 1].mean() for t in range(60)[4:]]
    for t in [*range(4, 20), *range(30, 40), *range(45, 60)]:
        assert values[t] == pytest.approx(expected[t - 4], rel=1e-9), t
