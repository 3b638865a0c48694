"""How much an observed Sharpe ratio says, given its record's length and shape, and how many were tried.

Ratios are per bar: mean return by standard deviation, neither annualized nor above a risk-free rate.
"""

from math import e, isfinite, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ..events import Float64

EULER = 0.5772156649015329
"""The Euler-Mascheroni constant."""
NORMAL = NormalDist()


class Record(NamedTuple):
    """What a track record is like.

    Attributes
    ----------
    ratio
        Sharpe ratio per bar.
    bars
        Number of returns.
    skewness, kurtosis
        Of the returns; a normal distribution has 0 and 3.
    """

    ratio: float
    bars: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    @property
    def spread(self) -> float:
        """Standard deviation of the estimated ratio times the root of ``bars - 1`` (Mertens 2002)."""
        inner = 1.0 - self.skewness * self.ratio + (self.kurtosis - 1.0) / 4.0 * self.ratio**2
        return sqrt(inner) if inner > 0.0 else float("nan")


def record_of(returns: Float64) -> Record:
    """Measure ``returns``, shape (n_bars,): moments without bias correction, NaN where nothing varies."""
    n = returns.size
    spread = float(returns.std()) if n > 1 else 0.0
    if spread == 0.0:
        return Record(float("nan"), n, float("nan"), float("nan"))
    scaled = (returns - returns.mean()) / spread
    return Record(
        float(returns.mean() / returns.std(ddof=1)), n, float(np.mean(scaled**3)), float(np.mean(scaled**4))
    )


def probabilistic_sharpe(record: Record, benchmark: float = 0.0) -> float:
    """Return the probability that the true ratio is above ``benchmark``; NaN for a record that never varies.

    Bailey and Lopez de Prado (2012), The Sharpe ratio efficient frontier, equation 11.

    Examples
    --------
    >>> round(probabilistic_sharpe(Record(0.458, 24, -2.448, 10.164)), 3)
    0.913
    """
    if not isfinite(record.ratio) or record.bars < 2:
        return float("nan")
    score = (record.ratio - benchmark) * sqrt(record.bars - 1) / record.spread
    return NORMAL.cdf(score) if isfinite(score) else float("nan")


def minimum_record_length(record: Record, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the number of bars at which the probabilistic Sharpe ratio reaches ``confidence``.

    Infinite for a ratio that is not above the benchmark. Bailey and Lopez de Prado (2012), equation 12.
    """
    if not record.ratio > benchmark:
        return float("inf") if isfinite(record.ratio) else float("nan")
    return 1.0 + (record.spread * NORMAL.inv_cdf(confidence) / (record.ratio - benchmark)) ** 2


def expected_maximum(variance: float, trials: int) -> float:
    """Return the expected greatest ratio among independent trials whose true ratio is zero.

    ``variance`` is that of the ratios of the trials; with a single trial nothing was selected, and it is 0.
    Bailey and Lopez de Prado (2014), The deflated Sharpe ratio, equation 1.
    """
    if trials < 2:
        return 0.0
    highest = NORMAL.inv_cdf(1.0 - 1.0 / trials), NORMAL.inv_cdf(1.0 - 1.0 / (trials * e))
    return sqrt(variance) * ((1.0 - EULER) * highest[0] + EULER * highest[1])


def deflated_sharpe(record: Record, variance: float, trials: int) -> float:
    """Return the probability that the true ratio of the best of several trials is above zero.

    That is the probabilistic Sharpe ratio against the greatest ratio that chance alone would lead to. Trials
    that resemble each other count as independent ones, which errs on the side of caution.

    Parameters
    ----------
    record
        The best trial.
    variance
        Of the ratios per bar of all trials.
    trials
        How many there were.

    Examples
    --------
    The example of Bailey and Lopez de Prado (2014): an annual ratio of 2.5 in five years of 250 days.

    >>> found = Record(2.5 / 250**0.5, 1250, -3.0, 10.0)
    >>> round(deflated_sharpe(found, 0.5 / 250, 100), 4)
    0.9004
    """
    return probabilistic_sharpe(record, expected_maximum(variance, trials))
