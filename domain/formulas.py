"""What each metric means: its unit, and its formula in each profile.

Notation: E is equity at each bar's close, r its simple returns, m those of the close, n bars, N bars per
year, T the years between first and last bar (of 365.25 days), d the depth of each bar below the running peak
as a fraction of it, p profit of closed trades net of fees, q the same as a fraction of the value at entry.
The risk-free rate is zero. r starts with the return from the capital to the first E, and m with zero; once E
has fallen to zero or below, r is zero.
"""

from typing import NamedTuple


class Formula(NamedTuple):
    """Unit and formulas of one metric; an empty formula is that of ``admf``."""

    unit: str
    admf: str
    backtesting_py: str = ""
    empyrical: str = ""
    quantstats: str = ""

    def of(self, profile: str) -> str:
        """Return the formula in the profile called ``profile``."""
        formulas = {
            "backtesting_py": self.backtesting_py,
            "empyrical": self.empyrical,
            "quantstats": self.quantstats,
        }
        return formulas.get(profile) or self.admf


FORMULAS = {
    "final_equity": Formula("currency", "last E"),
    "peak_equity": Formula("currency", "highest E, the capital included", "highest E"),
    "total_return": Formula("fraction", "last E / capital - 1"),
    "buy_and_hold_return": Formula(
        "fraction",
        "last close / first close - 1",
        "last close / close of the first bar with all features - 1",
    ),
    "annual_return": Formula(
        "fraction", "(1 + total_return)^(N/n) - 1", "(1 + g)^252 - 1, g the geometric mean of daily r"
    ),
    "cagr": Formula("fraction", "(1 + total_return)^(1/T) - 1", "", "annual_return", "annual_return"),
    "volatility": Formula(
        "fraction", "std(r, ddof 1) sqrt(N)", "sqrt((std(daily r, ddof 1)^2 + (1 + g)^2)^252 - (1 + g)^504)"
    ),
    "downside_risk": Formula(
        "fraction", "sqrt(mean(min(r, 0)^2)) sqrt(N)", "sqrt(mean(min(daily r, 0)^2)) sqrt(252)"
    ),
    "sharpe_ratio": Formula("-", "mean(r) / std(r, ddof 1) sqrt(N)", "annual_return / volatility"),
    "sortino_ratio": Formula("-", "mean(r) N / downside_risk", "annual_return / downside_risk"),
    "calmar_ratio": Formula("-", "annual_return / max_drawdown"),
    "omega_ratio": Formula("-", "sum of r > 0 / -sum of r < 0"),
    "information_ratio": Formula(
        "-",
        "mean(r - m) / std(r - m, ddof 1) sqrt(N)",
        "",
        "mean(r - m) / std(r - m, ddof 1)",
        "mean(r - m) / std(r - m, ddof 1)",
    ),
    "alpha": Formula(
        "fraction",
        "N (mean(r) - beta mean(m))",
        "total_return - beta buy_and_hold_return",
        "(1 + mean(r) - beta mean(m))^N - 1",
    ),
    "beta": Formula("-", "cov(r, m) / var(m)", "cov(r, m) / var(m) of log returns from the first E on"),
    "skewness": Formula(
        "-",
        "mean(c^3) / mean(c^2)^1.5 with c = r - mean(r)",
        quantstats="mean(c^3) / mean(c^2)^1.5 sqrt(n (n - 1)) / (n - 2)",
    ),
    "kurtosis": Formula(
        "-",
        "k = mean(c^4) / mean(c^2)^2 - 3 with c = r - mean(r)",
        quantstats="((n + 1) k + 6) (n - 1) / ((n - 2) (n - 3)) with k that of admf",
    ),
    "best_return": Formula("fraction", "highest r"),
    "worst_return": Formula("fraction", "lowest r"),
    "max_drawdown": Formula(
        "fraction", "highest d; the first peak is the capital", "highest d; the first peak is the first E"
    ),
    "average_drawdown": Formula("fraction", "mean over drawdowns of two bars or more of the highest d"),
    "max_drawdown_days": Formula(
        "days", "longest drawdown, from the bar of its peak to recovery or last bar"
    ),
    "average_drawdown_days": Formula(
        "days",
        "mean over drawdowns of two bars or more, peak to recovery",
        "mean over drawdowns of two bars or more, peak to recovery, rounded up",
    ),
    "time_under_water": Formula("fraction", "bars with d > 0 / n"),
    "ulcer_index": Formula("fraction", "sqrt(sum of d^2 / n)", quantstats="sqrt(sum of d^2 / (n - 1))"),
    "recovery_factor": Formula(
        "-", "total_return / max_drawdown", quantstats="absolute sum of r / max_drawdown"
    ),
    "trades": Formula("count", "closed trades"),
    "long_trades": Formula("count", "closed trades that were long"),
    "short_trades": Formula("count", "closed trades that were short"),
    "win_rate": Formula(
        "fraction", "trades with p > 0 / trades", quantstats="bars with r > 0 / bars with r other than 0"
    ),
    "best_trade": Formula("fraction", "highest q"),
    "worst_trade": Formula("fraction", "lowest q"),
    "average_trade": Formula("fraction", "mean(q)", "geometric mean of q"),
    "average_win": Formula("fraction", "mean of q where p > 0", quantstats="mean of r > 0"),
    "average_loss": Formula("fraction, negative", "mean of q where p < 0", quantstats="mean of r < 0"),
    "payoff_ratio": Formula(
        "-", "mean of p > 0 / -mean of p < 0", quantstats="mean of r > 0 / -mean of r < 0"
    ),
    "max_consecutive_wins": Formula(
        "count", "trades in a row with p > 0", quantstats="bars in a row with r > 0"
    ),
    "max_consecutive_losses": Formula(
        "count", "trades in a row with p < 0", quantstats="bars in a row with r < 0"
    ),
    "max_trade_days": Formula("days", "longest from entry to exit"),
    "average_trade_days": Formula("days", "mean from entry to exit", "mean from entry to exit, rounded up"),
    "profit_factor": Formula(
        "-",
        "sum of p > 0 / -sum of p < 0",
        "sum of q > 0 / -sum of q < 0",
        quantstats="sum of r > 0 / -sum of r < 0",
    ),
    "expectancy": Formula("currency", "mean(p)", "mean(q), a fraction"),
    "sqn": Formula("-", "sqrt(trades) mean(p) / std(p, ddof 1)"),
    "kelly": Formula("fraction", "win_rate - (1 - win_rate) / payoff_ratio"),
    "exposure": Formula(
        "fraction",
        "bars that close with a position / n",
        "bars from a trade's entry to its exit / n",
        quantstats="bars with r other than 0 / n, rounded up to a hundredth",
    ),
    "turnover": Formula("per year", "traded value / mean(E) / T"),
    "fees": Formula("currency", "sum of all fees"),
}
"""All metrics in the order of `admf.domain.metrics.METRICS`."""
