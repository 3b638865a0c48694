"""Features over a window of bars that TA-Lib lacks, or that need a rule of our own.

Volatilities are per bar: times the square root of the bars per year, they are annual. Sources: Parkinson
(1980), Garman and Klass (1980), Rogers and Satchell (1991), Yang and Zhang (2000).
"""

import math
from collections.abc import Callable

import numpy as np

from .compiled import compiled
from .events import Float64
from .feature_functions import register_row, table_rows
from .ta_lib import functions as talib

TABLES = {
    "overlap": """
highest | highest | high | period=20:2 | price
    Highest high of the bars before, without the bar itself.
lowest | lowest | low | period=20:2 | price
    Lowest low of the bars before, without the bar itself.
bollinger_upper | bollinger_upper | close | period=20:2 width=2.0:0.0 | price
    Simple moving average plus width standard deviations (ddof 0).
bollinger_lower | bollinger_lower | close | period=20:2 width=2.0:0.0 | price
    Simple moving average less width standard deviations (ddof 0).
vwma | weighted_mean | close volume | period=20:1 | price
    Mean of the close, weighted by volume; the plain mean where nothing was traded.
vwap | vwap | high low close volume | period=20:1 | price
    Mean of the typical price, weighted by volume; the plain mean where nothing was traded.
""",
    "momentum": """
log_return | log_return | close | period=1:1 | fraction
    Natural logarithm of the close over the close a period ago.
""",
    "volatility": """
realized_volatility | realized | close | period=20:2 | fraction
    Root of the mean square of the bars' log returns: their mean counts as zero.
historical_volatility | historical | close | period=20:2 | fraction
    Standard deviation of the bars' log returns, of a sample (ddof 1).
parkinson_volatility | parkinson | high low | period=20:2 | fraction
    Root of the mean of ln(high / low)^2 / (4 ln 2).
garman_klass_volatility | garman_klass | open high low close | period=20:2 | fraction
    Root of the mean of ln(high / low)^2 / 2 - (2 ln 2 - 1) ln(close / open)^2.
rogers_satchell_volatility | rogers_satchell | open high low close | period=20:2 | fraction
    Root of the mean of ln(high / close) ln(high / open) + ln(low / close) ln(low / open).
yang_zhang_volatility | yang_zhang | open high low close | period=20:2 | fraction
    Of gaps, of moves from open to close, and Rogers and Satchell's; k = 0.34 / (1.34 + (n + 1) / (n - 1)).
""",
    "volume": """
relative_volume | relative_volume | volume | period=20:1 | fraction
    Volume, of the mean of the bars before; 1 where nothing was traded in them.
""",
    "statistics": """
zscore | zscore | close | period=20:2 | deviations
    Close less its mean, in standard deviations (ddof 0); 0 where the close does not move.
""",
}
"""Tables by group; the source is the function below that computes the feature."""


def _highest(high: Float64, period: int) -> Float64:
    return _previous(talib.MAX(high, period))


def _lowest(low: Float64, period: int) -> Float64:
    return _previous(talib.MIN(low, period))


def _previous(values: Float64) -> Float64:
    return np.concatenate(([np.nan], values))[: values.size]


def _bollinger_upper(close: Float64, period: int, width: float) -> Float64:
    return talib.SMA(close, period) + width * talib.STDDEV(close, period)


def _bollinger_lower(close: Float64, period: int, width: float) -> Float64:
    return talib.SMA(close, period) - width * talib.STDDEV(close, period)


def _zscore(close: Float64, period: int) -> Float64:
    deviation = talib.STDDEV(close, period)
    return np.divide(
        close - talib.SMA(close, period),
        deviation,
        out=np.where(np.isnan(deviation), np.nan, 0.0),
        where=deviation > 0,
    )


@compiled
def _weighted_mean(values: Float64, weights: Float64, period: int) -> Float64:
    result = np.full(values.size, np.nan)
    weighted = plain = weight = 0.0
    traded = 0
    for t in range(values.size):
        weighted += values[t] * weights[t]
        plain += values[t]
        weight += weights[t]
        traded += int(weights[t] > 0.0)
        if t >= period:
            weighted -= values[t - period] * weights[t - period]
            plain -= values[t - period]
            weight -= weights[t - period]
            traded -= int(weights[t - period] > 0.0)
        if t + 1 < period:
            continue
        # Sums that are added to and taken from drift; once a period they are found anew.
        if t % period == 0:
            weighted = plain = weight = 0.0
            for k in range(t + 1 - period, t + 1):
                weighted += values[k] * weights[k]
                plain += values[k]
                weight += weights[k]
        if traded == 0:
            weighted = weight = 0.0
        result[t] = weighted / weight if weight > 0.0 else plain / period
    return result


def _vwap(high: Float64, low: Float64, close: Float64, volume: Float64, period: int) -> Float64:
    return _weighted_mean(talib.TYPPRICE(high, low, close), volume, period)


def _relative_volume(volume: Float64, period: int) -> Float64:
    usual = _previous(talib.SMA(volume, period))
    return np.divide(volume, usual, out=np.where(np.isnan(usual), np.nan, 1.0), where=usual > 0)


def _log_return(close: Float64, period: int) -> Float64:
    logarithm = np.log(close)
    return np.concatenate(
        (np.full(min(period, close.size), np.nan), logarithm[period:] - logarithm[:-period])
    )


def _root_mean_square(values: Float64, period: int) -> Float64:
    # A rolling sum of squares would leave noise of earlier, larger squares.
    return np.hypot(talib.STDDEV(values, period), talib.SMA(values, period))


def _sample_variance(values: Float64, period: int) -> Float64:
    variance: Float64 = talib.VAR(values, period)
    return variance * period / (period - 1)


def _realized(close: Float64, period: int) -> Float64:
    return _root_mean_square(_log_return(close, 1), period)


def _historical(close: Float64, period: int) -> Float64:
    return np.sqrt(_sample_variance(_log_return(close, 1), period))


def _parkinson(high: Float64, low: Float64, period: int) -> Float64:
    return _root_mean_square(np.log(high / low), period) / math.sqrt(4 * math.log(2))


def _garman_klass(opens: Float64, high: Float64, low: Float64, close: Float64, period: int) -> Float64:
    squares = np.log(high / low) ** 2 / 2 - (2 * math.log(2) - 1) * np.log(close / opens) ** 2
    return _root_mean_square(np.sqrt(squares), period)


def _rogers_satchell(opens: Float64, high: Float64, low: Float64, close: Float64, period: int) -> Float64:
    above = np.log(high / close) * np.log(high / opens)
    below = np.log(low / close) * np.log(low / opens)
    return _root_mean_square(np.sqrt(above + below), period)


def _yang_zhang(opens: Float64, high: Float64, low: Float64, close: Float64, period: int) -> Float64:
    gaps = _sample_variance(np.log(opens / _previous(close)), period)
    moves = _sample_variance(np.log(close / opens), period)
    share = 0.34 / (1.34 + (period + 1) / (period - 1))
    within = _rogers_satchell(opens, high, low, close, period)
    return np.sqrt(gaps + share * moves + (1 - share) * within**2)


FUNCTIONS: dict[str, Callable[..., Float64]] = {
    "highest": _highest,
    "lowest": _lowest,
    "bollinger_upper": _bollinger_upper,
    "bollinger_lower": _bollinger_lower,
    "weighted_mean": _weighted_mean,
    "vwap": _vwap,
    "log_return": _log_return,
    "realized": _realized,
    "historical": _historical,
    "parkinson": _parkinson,
    "garman_klass": _garman_klass,
    "rogers_satchell": _rogers_satchell,
    "yang_zhang": _yang_zhang,
    "relative_volume": _relative_volume,
    "zscore": _zscore,
}

for _group, _table in TABLES.items():
    for _row in table_rows(_table):
        register_row(_row, FUNCTIONS[_row.source], _group)
