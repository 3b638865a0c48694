"""What analyses have in common: they name a phase, plan nothing, and look at that phase's best trial."""

from typing import NamedTuple

import numpy as np

from ...domain.bars import Window
from ...domain.desk import Records
from ...domain.errors import ConfigurationError
from ...domain.events import Float64, PhaseOutput, Trial
from ...domain.market import Market
from ...domain.statistics.trade_record import TradeRecord, trade_record
from ...domain.topology import Containers
from ..configuration.sections import PhaseSection
from .context import PhaseContext, containers_over


class BestTrial(NamedTuple):
    """The best trial of the phase that is analyzed.

    Attributes
    ----------
    trial
        It itself; of walk-forward folds, the one account of all tests.
    window
        The bars that it traded.
    returns
        Its returns at each of them, shape (n_bars,).
    fills
        Its fills.
    """

    trial: Trial
    window: Window
    returns: Float64
    fills: Records

    def equity(self, capital: float) -> Float64:
        """Return its equity at each close, shape (n_bars,)."""
        return np.asarray(capital * np.cumprod(1.0 + self.returns), np.float64)


def planned_for_analysis(section: PhaseSection, window: Window) -> Containers:
    """Plan nothing: an analysis reads trials, and simulates none.

    Raises
    ------
    ConfigurationError
        The phase does not name what it analyzes.
    """
    if not section.inherit_best_from:
        raise ConfigurationError(
            f"phase {section.name!r}: `of` must name the phase whose trials it analyzes."
        )
    return containers_over(window, {}, count=0)


def best_trial(context: PhaseContext) -> BestTrial:
    """Read the best trial of the phase that is analyzed.

    Raises
    ------
    ConfigurationError
        That phase has no trials: it simulated nothing.
    """
    best = context.earlier.output.best if context.earlier else None
    if context.earlier and best:
        for shard in context.earlier.shards(best.container):
            row = int(np.flatnonzero(shard.trials.container == best.container)[0])
            start = int(shard.fill_ends[row - 1]) if row else 0
            window = Window(int(shard.trials.first_bar[row]), int(shard.trials.stop_bar[row]))
            return BestTrial(best, window, shard.returns[row], shard.fills[start : shard.fill_ends[row]])
    raise ConfigurationError(
        f"phase {context.section.name!r}: there are no trials to analyze in "
        f"{context.section.inherit_best_from!r}; name a phase that simulates."
    )


def trades_in(context: PhaseContext, best: BestTrial) -> TradeRecord:
    """Return the closed trades of the best trial."""
    execution = context.section.execution
    return trade_record(
        Market(context.panel, ()).prices,
        best.window.stop,
        best.fills,
        context.section.capital,
        slippage=execution.slippage.bps / 10_000.0,
        opens=execution.fill == "next_open",
    )


def concluded(context: PhaseContext, figures: dict[str, float], verdict: str) -> PhaseOutput:
    """Hand on the best trial as it was, with what was found about it."""
    if context.earlier is None or context.earlier.output.best is None:
        raise ConfigurationError(f"phase {context.section.name!r}: there are no trials to analyze.")
    output = context.earlier.output
    return PhaseOutput(
        objective=output.objective,
        direction=output.direction,
        best=output.best,
        metrics=context.earlier.output.best.metrics,
        trials=output.trials,
        figures=figures,
        verdict=verdict,
    )
