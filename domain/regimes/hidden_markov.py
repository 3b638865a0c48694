"""A hidden Markov model of returns: fitted by expectation maximization, read by the forward filter only.

Hamilton (1989), A new approach to the economic analysis of nonstationary time series, Econometrica 57(2).
"""

from typing import NamedTuple

import numpy as np

from ..errors import DataError
from ..events import Float64

PERSISTENCE = 0.95
"""The probability of staying in a state from which fitting starts."""
ITERATIONS = 1000
LEAST = 50
"""Returns for each state that a sample must have."""


class FilteredMarkov(NamedTuple):
    """Normal returns whose mean and variance depend on a hidden state; states in the order of variance.

    Attributes
    ----------
    start
        Probabilities of the states at the first return, shape (n_states,).
    transition
        From the state of the row to that of the column, shape (n_states, n_states).
    mean, variance
        Of returns, shape (n_states,).
    """

    start: Float64
    transition: Float64
    mean: Float64
    variance: Float64

    def probabilities(self, returns: Float64) -> Float64:
        """Return the probability of each state given the returns up to then, shape (n_returns, n_states).

        This is the forward recursion: later returns change nothing, as they would with smoothing.
        """
        distance = (returns[:, np.newaxis] - self.mean) ** 2 / self.variance
        logs = -0.5 * (distance + np.log(self.variance))
        likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
        found: Float64 = np.empty(likelihood.shape)
        expected = self.start
        for row in range(len(found)):
            joint = expected * likelihood[row]
            total = joint.sum()
            # What is impossible by all that came before says nothing about the states.
            found[row] = joint / total if total > 0.0 else expected
            expected = found[row] @ self.transition
        return found


def fitted_markov(returns: Float64, states: int, symbol: str) -> FilteredMarkov:
    """Fit a model to the returns of a sample, shape (n_returns,), none of them NaN.

    Fitting starts from states that differ in the size of their returns, cut at its quantiles; nothing is left
    to chance. States are in the order of their variance, so that labels mean the same in every sample.

    Raises
    ------
    DataError
        The sample is too short, does not vary, or leads to no model.
    """
    from hmmlearn.hmm import GaussianHMM

    spread = float(returns.std()) if returns.size else 0.0
    if returns.size < LEAST * states or spread == 0.0:
        raise DataError(
            f"{symbol}: a hidden Markov model of {states} states needs a sample of at least {LEAST * states} "
            f"returns that vary; found {returns.size}. Choose a longer sample."
        )
    scaled = returns / spread
    size = np.abs(scaled)
    group = np.searchsorted(np.quantile(size, np.arange(1, states) / states), size, side="right")
    model = GaussianHMM(states, n_iter=ITERATIONS, tol=1e-3, init_params="", params="stmc")
    model.startprob_ = np.full(states, 1.0 / states)
    away = (1.0 - PERSISTENCE) / max(states - 1, 1)
    model.transmat_ = np.full((states, states), away) + np.eye(states) * (PERSISTENCE - away)
    model.means_ = np.full((states, 1), scaled.mean())
    model.covars_ = np.array([[max(np.mean(scaled[group == each] ** 2), 1e-3)] for each in range(states)])
    model.fit(scaled[:, np.newaxis])
    variance = np.asarray(model.covars_, np.float64).reshape(states)
    found = (model.startprob_, model.transmat_, model.means_, variance)
    if not model.monitor_.converged or not all(np.isfinite(values).all() for values in found):
        raise DataError(
            f"{symbol}: fitting a hidden Markov model of {states} states came to no end after {ITERATIONS} "
            "rounds; choose fewer states or a longer sample."
        )
    order = np.argsort(variance, kind="stable")
    return FilteredMarkov(
        model.startprob_[order],
        model.transmat_[np.ix_(order, order)],
        model.means_[order, 0] * spread,
        variance[order] * spread**2,
    )
