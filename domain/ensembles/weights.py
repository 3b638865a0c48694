"""Weights of the members of an ensemble, from their returns alone.

The return of an ensemble at a bar is taken to be the sum of its members' returns times their weights. Weights
are found for that sum over a sample of bars. A member whose returns follow those of a better one too closely,
or don't vary, has none; where no returns vary, all members have the same.
"""

from collections.abc import Callable
from math import ceil

import msgspec
import numpy as np

from ..errors import ConfigurationError
from ..events import Float64, Int8, Int64
from .simplex import minimized, projected, settled

LEAST = 2
"""Bars that a sample must have."""
DRAWDOWN_FLOOR = 1e-9
"""What is left of a portfolio that loses more than all it has."""


class WeightRule(msgspec.Struct, frozen=True):
    """How weights are found.

    Attributes
    ----------
    method
        One of `METHODS`.
    low, high
        Bounds of the weight of each member that is not dropped.
    correlation
        A member is dropped whose correlation with a better one, by its Sharpe ratio, is above it.
    level
        Of ``cvar``: losses beyond this part of all bars count.
    """

    method: str
    low: float = 0.0
    high: float = 1.0
    correlation: float = 1.0
    level: float = 0.95


def ensemble_weights(returns: Float64, rule: WeightRule, where: str = "ensemble") -> Float64:
    """Return the weights of members.

    Parameters
    ----------
    returns
        Of each member alone at each bar of the sample, shape (n_bars, n_members), finite.
    rule
        How weights are found.
    where
        Path of the rule in its configuration, for messages.

    Returns
    -------
    Float64
        Shape (n_members,), sum one. They don't depend on the order of the members.

    Raises
    ------
    ConfigurationError
        There are no members or fewer than two bars, a return is not finite, or no weights of the members that
        are kept lie between the bounds.
    """
    bars, members = returns.shape
    if members == 0 or bars < LEAST or not np.isfinite(returns).all():
        raise ConfigurationError(
            f"{where}: weights need finite returns of at least one member at {LEAST} bars or more; there "
            f"were {members} members and {bars} bars. Choose other trials or a longer period."
        )
    # Sums and ties must not depend on the order in which members are named.
    order = np.array(sorted(range(members), key=lambda member: returns[:, member].tobytes()))
    ordered = np.ascontiguousarray(returns[:, order])
    kept = kept_members(ordered, rule.correlation)
    method = METHODS[rule.method]
    if kept.size == 0:
        kept, method = np.arange(members), equal
    _require_feasible(rule, kept.size, members, where)
    found = method(np.ascontiguousarray(ordered[:, kept]), rule)
    weights = np.zeros(members)
    weights[order[kept]] = settled(np.clip(found, rule.low, rule.high), rule.low, rule.high)
    return weights


def kept_members(returns: Float64, correlation: float) -> Int64:
    """Return the members that are not dropped, in ascending order; shape (n_bars, n_members) is expected.

    From the one with the highest Sharpe ratio downward, a member is kept whose correlation with each of those
    that were kept before is at most `correlation`; one whose returns don't vary never is.
    """
    mean, deviation = returns.mean(axis=0), returns.std(axis=0, ddof=1)
    varies = deviation > 1e-12 * np.maximum(np.abs(returns).max(axis=0), 1e-300)
    standard = (returns - mean) / np.where(varies, deviation, 1.0)
    ratio = np.where(varies, mean / np.where(varies, deviation, 1.0), -np.inf)
    kept: list[int] = []
    for member in np.argsort(-ratio, kind="stable").tolist():
        alike = (standard[:, kept] * standard[:, [member]]).sum(axis=0) / (len(returns) - 1)
        # Of returns that are the same, rounding may leave a correlation above one.
        if varies[member] and (alike <= correlation + 1e-12).all():
            kept.append(member)
    return np.array(sorted(kept), np.int64)


def _require_feasible(rule: WeightRule, kept: int, members: int, where: str) -> None:
    if kept * rule.low > 1.0 + 1e-12:
        raise ConfigurationError(
            f"{where}.min_weight: {kept} members of at least {rule.low:g} each sum to more than one; lower "
            f"it to {1.0 / kept:g}, or take fewer members."
        )
    if kept * rule.high < 1.0 - 1e-12:
        dropped = f" ({members - kept} of {members} were dropped)" if kept < members else ""
        raise ConfigurationError(
            f"{where}.max_weight: {kept} members{dropped} of at most {rule.high:g} each sum to less than "
            f"one, and it takes {ceil(1.0 / rule.high - 1e-12)}; raise it, raise max_correlation, or take "
            "more members."
        )


def equal(returns: Float64, rule: WeightRule) -> Float64:  # noqa: ARG001
    """Give each member the same weight."""
    return np.full(returns.shape[1], 1.0 / returns.shape[1])


def inverse_volatility(returns: Float64, rule: WeightRule) -> Float64:
    """Weigh by one through the standard deviation of returns (naive risk parity), brought to the bounds."""
    inverse = 1.0 / returns.std(axis=0, ddof=1)
    return projected(inverse / inverse.sum(), rule.low, rule.high)


def max_sharpe(returns: Float64, rule: WeightRule) -> Float64:
    """Maximize the mean return by its standard deviation, as in Sharpe (1966), without a risk-free rate.

    Where some weights have a positive mean, the ratio has no other maxima than the largest; else what is
    found is at least as good as equal weights, and as any one member.
    """
    mean = returns.mean(axis=0)
    centered = returns - mean
    covariance = np.einsum("ti,tj->ij", centered, centered) / (len(returns) - 1)

    def objective(weights: Float64) -> tuple[float, Float64]:
        gain, along = (weights * mean).sum(), (covariance * weights).sum(axis=1)
        deviation = np.sqrt(max(float((weights * along).sum()), 1e-24))
        return -gain / deviation, gain * along / deviation**3 - mean / deviation

    return minimized(objective, returns.shape[1], rule.low, rule.high)


def min_drawdown(returns: Float64, rule: WeightRule) -> Float64:
    """Minimize the largest drawdown of the compounded portfolio.

    It is the largest fall of the sum of log returns, which is convex in the weights, as the uncompounded
    drawdown of Chekhlov, Uryasev and Zabarankin (2005, Drawdown measure in portfolio optimization) is.
    """

    def objective(weights: Float64) -> tuple[float, Float64]:
        growth = np.maximum(1.0 + (returns * weights).sum(axis=1), DRAWDOWN_FLOOR)
        level = np.concatenate((np.zeros(1), np.cumsum(np.log(growth))))
        fall = np.maximum.accumulate(level) - level
        end = int(np.argmax(fall))
        begin = int(np.argmax(level[: end + 1]))
        slope = -(returns[begin:end] / growth[begin:end, np.newaxis]).sum(axis=0)
        return float(fall[end]), slope

    return minimized(objective, returns.shape[1], rule.low, rule.high)


def cvar(returns: Float64, rule: WeightRule) -> Float64:
    """Minimize the conditional value at risk: the mean loss of the worst ``1 - level`` of all bars.

    Rockafellar and Uryasev (2000), Optimization of conditional value-at-risk; a bar at the edge counts in
    part.
    """
    worst = max((1.0 - rule.level) * len(returns), 1e-9)

    def objective(weights: Float64) -> tuple[float, Float64]:
        loss = -(returns * weights).sum(axis=1)
        order = np.argsort(-loss, kind="stable")[: ceil(worst - 1e-9) or 1]
        share = np.ones(order.size)
        share[-1] = worst - (order.size - 1)
        share /= share.sum()
        return float((loss[order] * share).sum()), -(returns[order] * share[:, np.newaxis]).sum(axis=0)

    return minimized(objective, returns.shape[1], rule.low, rule.high)


METHODS: dict[str, Callable[[Float64, WeightRule], Float64]] = {
    "equal": equal,
    "inverse_volatility": inverse_volatility,
    "max_sharpe": max_sharpe,
    "min_drawdown": min_drawdown,
    "cvar": cvar,
}
"""Finds weights between the bounds from the returns of the members that are kept; see `ensemble_weights`."""


def weights_by_regime(
    returns: Float64, known: Int8 | None, regimes: int, least: int, rule: WeightRule, where: str = "ensemble"
) -> Float64:
    """Return the weights of members over all bars, and over the bars of each regime.

    Parameters
    ----------
    returns, rule, where
        As for `ensemble_weights`.
    known
        The regime that was known before each bar, shape (n_bars,), -1 for none.
    regimes
        How many there are.
    least
        Bars that a regime must have; one that has fewer takes the weights over all bars.

    Returns
    -------
    Float64
        Shape (1 + regimes, n_members), the weights over all bars first; each row sums to one.
    """
    whole = ensemble_weights(returns, rule, where)
    rows = [whole]
    for regime in range(regimes):
        own = returns[known == regime]
        rows.append(whole if len(own) < least else ensemble_weights(own, rule, where))
    return np.stack(rows)
