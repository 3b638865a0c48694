"""One container over the whole period, with the parameters that the configuration states."""

from ...domain.bars import Window
from ...domain.events import PhaseOutput
from ...domain.topology import Containers, Topology
from ..configuration.sections import PhaseSection
from .context import PhaseContext, containers_over, trial_at


def plan_backtest(section: PhaseSection, topology: Topology, window: Window) -> Containers:  # noqa: ARG001
    """Plan the single container."""
    return containers_over(window, {})


def backtest(context: PhaseContext) -> PhaseOutput:
    """Simulate the configured strategies once."""
    only = trial_at(context.simulate(context.planned), 0)
    return PhaseOutput(objective="", direction="", best=only, metrics=only.metrics, trials=1)
