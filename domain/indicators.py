"""Features that TA-Lib computes, under the names and parameters of the field.

A source such as ``MACD.1`` is the second output of TA-Lib's function; arguments stand in its order. Averages
that go on from their last value (``ema``, ``rma``, ``rsi``, ``adx``, ...) start with a plain mean and forget
it only gradually, so that they depend a little on where the bars begin.
"""

from collections.abc import Callable
from functools import cache
from inspect import unwrap

import numpy as np

from .events import Float64
from .feature_functions import Row, register_row, table_rows
from .ta_lib import functions as talib

OVERLAP = """
sma | SMA | close | period=20:1 | price
    Simple moving average.
ema | EMA | close | period=20:1 | price
    Exponential moving average, weight 2 / (period + 1); it starts with the simple one.
rma | RMA | close | period=14:1 | price
    Wilder's moving average: exponential, with the weight 1 / period.
wma | WMA | close | period=20:1 | price
    Weighted moving average: the weights rise from 1 to period.
dema | DEMA | close | period=20:1 | price
    Double exponential moving average: 2 ema - ema of ema.
tema | TEMA | close | period=20:1 | price
    Triple exponential moving average: 3 ema - 3 ema of ema + ema of ema of ema.
t3 | T3 | close | period=5:1 factor=0.7:0.0:1.0 | price
    Tillson's T3: six exponential averages, one of the other.
trima | TRIMA | close | period=20:1 | price
    Triangular moving average: a simple average of a simple average.
hma | HMA | close | period=20:1 | price
    Hull's moving average: little lag, of weighted averages.
zlema | ZLEMA | close | period=20:1 | price
    Exponential average of the close plus its change over half a period: zero lag.
kama | KAMA | close | period=30:1 | price
    Kaufman's adaptive moving average: fast in a trend, slow in noise.
mama | MAMA.0 | close | fast_limit=0.5:0.01:0.99 slow_limit=0.05:0.01:0.99 | price
    Ehlers' MESA adaptive moving average.
fama | MAMA.1 | close | fast_limit=0.5:0.01:0.99 slow_limit=0.05:0.01:0.99 | price
    The average that follows `mama` with half its weight.
hilbert_trendline | HT_TRENDLINE | close | | price
    Trend line of the Hilbert transform: the close without its dominant cycle.
midpoint | MIDPOINT | close | period=14:2 | price
    Middle of the highest and the lowest close.
midprice | MIDPRICE | high low | period=14:2 | price
    Middle of the highest high and the lowest low.
donchian_upper | DONCHIAN.0 | high low | period=20:2 | price
    Highest high, of the bar itself too (`highest` leaves it out).
donchian_middle | DONCHIAN.1 | high low | period=20:2 | price
    Middle of the Donchian channel.
donchian_lower | DONCHIAN.2 | high low | period=20:2 | price
    Lowest low, of the bar itself too (`lowest` leaves it out).
keltner_upper | KC.0 | high low close | period=20:2 atr_period=10:1 width=2.0:0.0 | price
    `keltner_middle` plus width average true ranges; both averages start at the same bar.
keltner_middle | KC.1 | high low close | period=20:2 atr_period=10:1 width=2.0:0.0 | price
    Middle of the Keltner channel: exponential average of the typical price.
keltner_lower | KC.2 | high low close | period=20:2 atr_period=10:1 width=2.0:0.0 | price
    `keltner_middle` less width average true ranges.
acceleration_upper | ACCBANDS.0 | high low close | period=20:2 | price
    Upper one of Headley's acceleration bands.
acceleration_lower | ACCBANDS.2 | high low close | period=20:2 | price
    Lower one of Headley's acceleration bands.
parabolic_sar | SAR | high low | acceleration=0.02:0.0 maximum=0.2:0.0 | price
    Wilder's parabolic stop and reverse.
supertrend | SUPERTREND.0 | high low close | period=10:2 width=3.0:0.0 | price
    Trailing band, width average true ranges from the middle of the bar.
supertrend_direction | SUPERTREND.1 | high low close | period=10:2 width=3.0:0.0 | sign
    1 while the close is above its `supertrend`, -1 while it is below.
"""
MOMENTUM = """
rate_of_change | ROCP | close | period=10:1 | fraction
    Change of the close over the period.
momentum | MOM | close | period=10:1 | price
    Close less the close a period ago.
rsi | RSI | close | period=14:2 | 0 to 100
    Relative strength index: Wilder's average gain against the average gain and loss.
macd | MACD.0 | close | fast=12:2 slow=26:2 1 | price
    Fast less slow exponential average; both start at the same bar.
macd_signal | MACD.1 | close | fast=12:2 slow=26:2 signal=9:1 | price
    Exponential average of `macd`.
macd_histogram | MACD.2 | close | fast=12:2 slow=26:2 signal=9:1 | price
    `macd` less `macd_signal`.
absolute_price_oscillator | APO | close | fast=12:2 slow=26:2 1 | price
    Fast less slow exponential average, each from its own first bar.
percentage_price_oscillator | PPO | close | fast=12:2 slow=26:2 1 | percent
    Fast less slow exponential average, of the slow one.
stochastic_k | STOCH.0 | high low close | period=14:1 smoothing=3:1 0 1 0 | 0 to 100
    Place of the close between lowest low and highest high, averaged over `smoothing` bars; 1 is the fast one.
stochastic_d | STOCH.1 | high low close | period=14:1 smoothing=3:1 0 signal=3:1 0 | 0 to 100
    Simple average of `stochastic_k` over `signal` bars.
stochastic_rsi_k | STOCHRSI.0 | close | period=14:2 window=14:1 1 0 | 0 to 100
    Place of the rsi between its lowest and highest of the window.
stochastic_rsi_d | STOCHRSI.1 | close | period=14:2 window=14:1 signal=3:1 0 | 0 to 100
    Simple average of `stochastic_rsi_k` over `signal` bars.
kdj_k | KDJ.0 | high low close | period=9:1 smoothing=3:1 13 1 13 | 0 to 100
    Stochastic with Wilder's average in place of the simple one.
kdj_d | KDJ.1 | high low close | period=9:1 smoothing=3:1 13 signal=3:1 13 | 0 to 100
    Wilder's average of `kdj_k`.
kdj_j | KDJ.2 | high low close | period=9:1 smoothing=3:1 13 signal=3:1 13 | points
    3 `kdj_k` - 2 `kdj_d`: may leave 0 to 100.
stochastic_momentum_index | SMI.0 | high low close | period=13:2 fast=2:2 slow=25:2 2 | -100 to 100
    Blau's: distance of the close from the middle of the range, smoothed twice.
stochastic_momentum_signal | SMI.1 | high low close | period=13:2 fast=2:2 slow=25:2 signal=9:2 | -100 to 100
    Exponential average of `stochastic_momentum_index`.
adx | ADX | high low close | period=14:2 | 0 to 100
    Wilder's average directional index: how strong a trend is, either way.
adx_rating | ADXR | high low close | period=14:2 | 0 to 100
    Mean of the adx and the adx a period ago.
directional_index | DX | high low close | period=14:2 | 0 to 100
    Difference of `plus_di` and `minus_di`, of their sum.
plus_di | PLUS_DI | high low close | period=14:1 | 0 to 100
    Wilder's positive directional indicator.
minus_di | MINUS_DI | high low close | period=14:1 | 0 to 100
    Wilder's negative directional indicator.
plus_dm | PLUS_DM | high low | period=14:1 | price
    Wilder's sum of positive directional movements.
minus_dm | MINUS_DM | high low | period=14:1 | price
    Wilder's sum of negative directional movements.
aroon_up | AROON.1 | high low | period=14:2 | 0 to 100
    How recent the highest high is: 100 where it is this bar's.
aroon_down | AROON.0 | high low | period=14:2 | 0 to 100
    How recent the lowest low is: 100 where it is this bar's.
aroon_oscillator | AROONOSC | high low | period=14:2 | -100 to 100
    `aroon_up` less `aroon_down`.
awesome_oscillator | AO | high low | fast=5:2 slow=34:2 | price
    Williams': fast less slow simple average of the middle of the bar.
accelerator_oscillator | AC | high low | fast=5:2 slow=34:2 signal=5:2 | price
    `awesome_oscillator` less its simple average.
balance_of_power | BOP | open high low close | | -1 to 1
    (close - open) / (high - low).
commodity_channel_index | CCI | high low close | period=20:2 | points
    Lambert's: distance of the typical price from its mean, of 0.015 mean deviations.
chande_momentum_oscillator | CMOU | close | period=14:2 | -100 to 100
    Sum of gains less sum of losses, of both together.
chande_momentum_smoothed | CMO | close | period=14:2 | -100 to 100
    `chande_momentum_oscillator` with Wilder's averages in place of the sums.
coppock_curve | COPPOCK | close | smoothing=10:1 fast=11:1 slow=14:1 | percent
    Weighted average of the sum of two rates of change.
detrended_price_oscillator | DPO | close | period=20:2 | price
    The close of period / 2 + 1 bars ago less the simple average: looks back only.
efficiency_ratio | ER | close | period=10:2 | 0 to 1
    Kaufman's: change over the period, of the sum of all changes within.
elder_bull_power | ERI.0 | high low close | period=13:1 | price
    High less the exponential average of the close.
elder_bear_power | ERI.1 | high low close | period=13:1 | price
    Low less the exponential average of the close.
forecast_oscillator | FOSC | close | period=5:2 | percent
    Close less what the regression over the bars before foretold, of the close.
fractal_high | FRACTAL.0 | high low | left=2:1 right=2:1 | flag
    1 at the bar that confirms a swing high `right` bars before it.
fractal_low | FRACTAL.1 | high low | left=2:1 right=2:1 | flag
    1 at the bar that confirms a swing low `right` bars before it.
intraday_momentum_index | IMI | open close | period=14:2 | 0 to 100
    Gains from open to close, of gains and losses from open to close.
money_flow_index | MFI | high low close volume | period=14:2 | 0 to 100
    Relative strength of the typical price, weighted by volume.
qstick | QSTICK | open close | period=10:1 | price
    Simple average of close less open.
trix | TRIX | close | period=15:1 | percent
    One bar's change of an exponential average taken three times.
true_strength_index | TSI | close | slow=25:2 fast=13:2 | -100 to 100
    Blau's: momentum smoothed twice, of its size smoothed twice.
ultimate_oscillator | ULTOSC | high low close | fast=7:1 middle=14:1 slow=28:1 | 0 to 100
    Williams': buying pressure over three periods, weighted 4, 2 and 1.
vertical_horizontal_filter | VHF | close | period=28:2 | fraction
    Range of the close, of the sum of its changes: high in a trend.
vortex_plus | VORTEX.0 | high low close | period=14:1 | fraction
    Movements up, of the sum of true ranges.
vortex_minus | VORTEX.1 | high low close | period=14:1 | fraction
    Movements down, of the sum of true ranges.
williams_r | WILLR | high low close | period=14:2 | -100 to 0
    Place of the close below the highest high, of the range.
williams_accumulation_distribution | WAD | high low close | | price
    Sum of closes less true lows (up) or true highs (down), from the first bar on.
"""
VOLATILITY = """
true_range | TRANGE | high low close | | price
    The bar's range, with the close before it.
average_true_range | ATR | high low close | period=14:1 | price
    Wilder's average of the true range.
normalized_average_true_range | NATR | high low close | period=14:1 | percent
    `average_true_range` of the close.
average_range | ADR | high low | period=14:1 | price
    Simple average of high less low.
chaikin_volatility | CVI | high low | period=10:2 change=10:1 | percent
    Change of the exponential average of high less low.
mass_index | MASSI | high low | fast=9:2 slow=25:2 | bars
    Dorsey's: sum over `slow` bars of the range's average, of that average's average.
relative_volatility_index | RVI | close | period=14:1 deviation=10:2 | 0 to 100
    Dorsey's: relative strength of the standard deviation.
"""
VOLUME = """
average_volume | SMA | volume | period=20:1 | volume
    Simple moving average of the volume.
on_balance_volume | OBV | close volume | | volume
    Volume of rising closes less that of falling ones, from the first bar on.
accumulation_distribution | AD | high low close volume | | volume
    Chaikin's line: volume times the place of the close in the bar, summed from the first bar on.
chaikin_oscillator | ADOSC | high low close volume | fast=3:2 slow=10:2 | volume
    Fast less slow exponential average of `accumulation_distribution`.
chaikin_money_flow | CMF | high low close volume | period=20:2 | -1 to 1
    Volume times the place of the close in the bar, of the volume.
force_index | EFI | close volume | period=13:1 | price*volume
    Elder's: exponential average of the change of the close times the volume.
market_facilitation_index | MARKETFI | high low volume | | price/volume
    Williams': high less low, of the volume; 0 where nothing was traded.
negative_volume_index | NVI | close volume | | points
    Grows with the close on bars of falling volume, from 1000 at the first bar.
positive_volume_index | PVI | close volume | | points
    Grows with the close on bars of rising volume, from 1000 at the first bar.
percentage_volume_oscillator | PVO | volume | fast=12:2 slow=26:2 1 | percent
    Fast less slow exponential average of the volume, of the slow one.
price_volume_trend | PVT | close volume | | volume
    Volume times the change of the close, summed from the first bar on.
"""
PRICE = """
average_price | AVGPRICE | open high low close | | price
    Mean of open, high, low and close.
median_price | MEDPRICE | high low | | price
    Middle of high and low.
typical_price | TYPPRICE | high low close | | price
    Mean of high, low and close.
weighted_close | WCLPRICE | high low close | | price
    Mean of high, low and twice the close.
heikin_ashi_open | HA.0 | open high low close | | price
    Middle of the smoothed candle before; the first one is the bar's own.
heikin_ashi_high | HA.1 | open high low close | | price
    High of the smoothed candle.
heikin_ashi_low | HA.2 | open high low close | | price
    Low of the smoothed candle.
heikin_ashi_close | HA.3 | open high low close | | price
    Close of the smoothed candle: `average_price`.
"""
STATISTICS = """
standard_deviation | STDDEV | close | period=20:2 | price
    Standard deviation of the close, of the whole window (ddof 0).
variance | VAR | close | period=20:2 | price^2
    Variance of the close, of the whole window (ddof 0).
average_deviation | AVGDEV | close | period=14:2 | price
    Mean distance of the close from its mean.
linear_regression | LINEARREG | close | period=14:2 | price
    Last point of the regression line through the closes.
linear_regression_slope | LINEARREG_SLOPE | close | period=14:2 | price
    Slope of the regression line, a bar.
linear_regression_intercept | LINEARREG_INTERCEPT | close | period=14:2 | price
    First point of the regression line.
linear_regression_angle | LINEARREG_ANGLE | close | period=14:2 | degrees
    Angle of the slope, which changes with the unit of the prices.
time_series_forecast | TSF | close | period=14:2 | price
    The regression line one bar on.
percentile | PERCENTILE | close | period=30:2 percentile=50.0:0.0:100.0 | price
    Close at this rank of the window (nearest rank).
percent_rank | PERCENTRANK | close | period=100:2 | 0 to 100
    Share of the closes before that are not above this one.
price_volume_correlation | CORREL | close volume | period=20:2 | -1 to 1
    Pearson's correlation of close and volume.
"""
CYCLE = """
dominant_cycle_period | HT_DCPERIOD | close | | bars
    Ehlers' Hilbert transform: length of the dominant cycle.
dominant_cycle_phase | HT_DCPHASE | close | | degrees
    Ehlers' Hilbert transform: where in its cycle the close is.
hilbert_in_phase | HT_PHASOR.0 | close | | price
    In-phase component of the dominant cycle.
hilbert_quadrature | HT_PHASOR.1 | close | | price
    Quadrature component of the dominant cycle.
hilbert_sine | HT_SINE.0 | close | | -1 to 1
    Sine of the phase.
hilbert_lead_sine | HT_SINE.1 | close | | -1 to 1
    Sine of the phase 45 degrees on.
hilbert_trend_mode | HT_TRENDMODE | close | | flag
    1 in a trend, 0 in a cycle.
"""
GROUPS = {
    "overlap": OVERLAP,
    "momentum": MOMENTUM,
    "volatility": VOLATILITY,
    "volume": VOLUME,
    "price transform": PRICE,
    "statistics": STATISTICS,
    "cycle": CYCLE,
}
"""Tables of features by group."""


@cache
def warm_up(function: str, arguments: tuple[int | float, ...]) -> int:
    """Return how many bars TA-Lib's function gives no value for."""
    described = talib.Function(function, getattr(talib, function))  # type: ignore[attr-defined]  # not in its stubs
    described.parameters = dict(zip(described.parameters, arguments, strict=True))
    bars: int = described.lookback
    return bars


def signs(values: np.ndarray, bars: int) -> Float64:
    """Return the signs of whole numbers, NaN for the first bars: TA-Lib has zeros there."""
    found: Float64 = np.sign(values).astype(np.float64)
    found[:bars] = np.nan
    return found


def _computed(row: Row) -> Callable[..., Float64]:
    name, _, output = row.source.partition(".")
    # The package wraps them for pandas, where that is there: a function of arrays then takes twice as long.
    function, columns = unwrap(getattr(talib, name)), len(row.inputs)

    def compute(*given: Float64 | int | float) -> Float64:
        named = dict(zip(row.parameters, given[columns:], strict=True))
        arguments = [named[each] if isinstance(each, str) else each for each in row.arguments]
        result = function(*given[:columns], *arguments)
        values: Float64 = result[int(output)] if output else result
        return values if values.dtype == np.float64 else signs(values, warm_up(name, tuple(arguments)))

    return compute


for _group, _table in GROUPS.items():
    for _listed in table_rows(_table):
        register_row(_listed, _computed(_listed), _group)
