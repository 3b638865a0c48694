"""A search for the parameters that do best by the objective."""

from ...domain.bars import Window
from ...domain.events import PhaseOutput
from ...domain.topology import Containers, Topology
from ..configuration.sections import OptimizationSection, PhaseSection
from .context import PhaseContext
from .study import Stretch, findings, output_of, planned_study


def plan_optimization(section: PhaseSection, topology: Topology, window: Window) -> Containers:
    """Plan one container for each trial of a grid, or those at the ends of a space that is sampled."""
    return planned_study(section.optimization or OptimizationSection(), topology, [Stretch((window,))])


def optimization(context: PhaseContext) -> PhaseOutput:
    """Carry the study out over the whole period and choose the best trial; the first one among equals."""
    study = context.section.optimization or OptimizationSection()
    (finding,) = findings(context, study, [Stretch((context.window,))])
    return output_of(study, finding)
