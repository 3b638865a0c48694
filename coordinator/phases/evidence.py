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
from ..streams.earlier_trials import EarlierPhase
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


def analyzed(context: PhaseContext) -> tuple[EarlierPhase, Trial]:
    """Return the phase that is analyzed, and its best trial.

    Raises
    ------
    ConfigurationError
        That phase has no trials: it simulated nothing.
    """
    earlier = context.earlier
    if earlier is None or earlier.output.best is None:
        raise _without_trials(context.section)
    return earlier, earlier.output.best


def best_trial(context: PhaseContext) -> BestTrial:
    """Read the best trial of the phase that is analyzed; raises like `analyzed`."""
    earlier, best = analyzed(context)
    shard = next(earlier.shards(best.container), None)
    if shard is None:
        raise _without_trials(context.section)
    row = int(np.flatnonzero(shard.trials.container == best.container)[0])
    start = int(shard.fill_ends[row - 1]) if row else 0
    window = Window(int(shard.trials.first_bar[row]), int(shard.trials.stop_bar[row]))
    return BestTrial(best, window, shard.returns[row], shard.fills[start : shard.fill_ends[row]])


def _without_trials(section: PhaseSection) -> ConfigurationError:
    return ConfigurationError(
        f"phase {section.name!r}: there are no trials to analyze in {section.inherit_best_from!r}; name a "
        "phase that simulates."
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
    earlier, best = analyzed(context)
    output = earlier.output
    return PhaseOutput(
        objective=output.objective,
        direction=output.direction,
        best=best,
        metrics=best.metrics,
        trials=output.trials,
        figures=figures,
        verdict=verdict,
    )
