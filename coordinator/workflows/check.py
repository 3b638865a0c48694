"""What can be said about a workflow before anything is run: whether it is right, and what it would do."""

from collections.abc import Callable, Collection, Sequence

import msgspec

from ...domain.bars import Window, gaps, iso_time
from ...domain.errors import ConfigurationError
from ...domain.features import feature_table
from ...domain.panel import Panel
from ...domain.topology import needed_features
from ...domain.trading_calendar import missing_sessions
from ..configuration.references import referred
from ..configuration.resources_section import ResourcesSection
from ..configuration.sections import PhaseSection
from ..market.data_files import DataFiles
from ..phases import PHASES
from ..phases.ensemble import require_regimes_of
from ..phases.study import planned_trials
from ..simulation.shards import SHARD_STEPS, shard_size
from ..simulation.topology_builder import build_topology
from ..streams.earlier_signals import require_replayable
from ..streams.earlier_trials import require_analyzable
from .loading import Workflow, resolved_workflow

BYTES_A_STEP = 450
"""Memory of a container at a bar, measured for one that turns its position at every bar and logs all."""
NAMED = 5
"""Missing sessions that are named in a warning."""

PhasePanel = Callable[[PhaseSection], tuple[Panel, Window]]


class PhaseCheck(msgspec.Struct, frozen=True):
    """A phase that can be carried out.

    Attributes
    ----------
    section
        Its resolved configuration, with the parameters that it starts from.
    trials
        Number of containers that follow from the configuration alone, of a search by a sampler at most; None
        if it refers to an output.
    bars
        Number of bars between its dates.
    first_time, last_time
        Of the first and the last of them, ISO 8601.
    """

    section: PhaseSection
    trials: int | None
    bars: int
    first_time: str
    last_time: str


class WorkflowCheck(msgspec.Struct, frozen=True):
    """A workflow that can be run: its phases in the order of execution, and what deserves attention."""

    name: str
    seed: int
    phases: tuple[PhaseCheck, ...]
    warnings: tuple[str, ...]


def check_workflow(
    workflow: Workflow, panel_of: PhasePanel | None = None, reused: Collection[str] = ()
) -> WorkflowCheck:
    """Find what is wrong with a workflow before anything is run.

    Parameters
    ----------
    workflow
        The workflow.
    panel_of
        Returns the bars of a phase and the window that it trades; by default those of its data file.
    reused
        Names of phases that will not be executed, and are left out.

    Raises
    ------
    AdmfError
        A section, reference, component or data file is wrong; the message says which and why.
    """
    panel_of = panel_of or DataFiles(workflow.folder).panel
    phases: list[PhaseCheck] = []
    nodes = {node.name: node for node in workflow.graph.nodes}
    warnings: dict[str, None] = {}
    sections = {section.name: section for section in resolved_workflow(workflow).phases}
    for section in sections.values():
        if PHASES.get(section.type).follows and section.inherit_best_from:
            for source in section.signal_sources:
                require_replayable(section, sections[source], section.name)
        if section.regimes:
            require_regimes_of(section, sections[section.regimes])
        if PHASES.get(section.type).analyzes and section.inherit_best_from:
            require_analyzable(section, sections[section.inherit_best_from])
        if section.name in reused:
            continue
        topology = build_topology(section, (workflow.folder,), section.name)
        panel, window = panel_of(section)
        kind, trials = PHASES.get(section.type), None
        if not any(referred(nodes[section.name].work, "")):
            planned = kind.plan(section, topology, window)
            # One bar is enough to find parameters that a feature refuses.
            feature_table(needed_features(topology, planned), panel.bars[0].head(1))
            study = section.optimization if "optimization" in kind.sections else None
            trials = planned_trials(study, planned, section.ensemble)
        _require_memory(workflow.resources, section, trials, window.stop)
        first, last = (iso_time(panel.time[bar]) for bar in (window.first, window.stop - 1))
        phases.append(PhaseCheck(section, trials, len(window), first, last))
        gaps_of = _gap_warnings(section, panel, window)
        warnings |= dict.fromkeys([*gaps_of, *_idle_warnings(section, panel, window)])
    _require_events(workflow.resources, phases)
    return WorkflowCheck(workflow.name, workflow.seed, tuple(phases), tuple(warnings))


def _require_events(resources: ResourcesSection, phases: Sequence[PhaseCheck]) -> None:
    """Refuse more containers than events that may be logged."""
    planned = sum(phase.trials or 0 for phase in phases)
    if resources.max_events and planned > resources.max_events:
        raise ConfigurationError(
            f"resources.max_events: the run may log {resources.max_events:,}, and its phases simulate "
            f"{planned:,} containers, with one event each at least; search fewer, or raise the limit."
        )


def _require_memory(
    resources: ResourcesSection, section: PhaseSection, trials: int | None, bars: int
) -> None:
    """Refuse shards that might take too much: those of containers that trade at every bar."""
    containers = trials or max(1, SHARD_STEPS // bars)
    shard = min(containers, shard_size(section, containers, bars))
    each, most = bars * BYTES_A_STEP / 2**20, resources.memory_per_shard
    if most and shard * each > most:
        remedy = f"give the phase `shard_size: {int(most / each)}`, or " if most > each else ""
        raise ConfigurationError(
            f"resources.memory_per_shard: a shard may take {most:g} MiB, and one of {section.name!r}, of "
            f"{shard:,} containers over {bars:,} bars, takes up to {shard * each:,.1f}; {remedy}raise the "
            "limit."
        )


def _gap_warnings(section: PhaseSection, panel: Panel, window: Window) -> list[str]:
    """Tell where bars are missing: by the calendar, where one is named, else by a guess."""
    calendars = section.data.calendars if section.data else {}
    warnings = []
    for bars, visible in zip(panel.bars, panel.head(window.stop).bars, strict=True):
        if bars.sessions is None:
            warnings += [
                f"{bars.symbol}: {gap.missing} bars seem to be missing between "
                f"{iso_time(gap.previous_time)} and {iso_time(gap.next_time)}."
                for gap in gaps(visible)
                if gap.next_time >= panel.time[window.first]
            ]
        elif days := missing_sessions(bars, bars.sessions):
            warnings.append(
                f"{bars.symbol}: {len(days)} sessions of {calendars[bars.symbol].name} have no bars: "
                f"{', '.join(days[:NAMED])}{', ...' if len(days) > NAMED else '.'}"
            )
    return warnings


def _idle_warnings(section: PhaseSection, panel: Panel, window: Window) -> list[str]:
    if panel.is_dense:
        return []
    return [
        f"{section.name}: {bars.symbol} has no bar between its dates."
        for bars, places in zip(panel.bars, panel.at, strict=True)
        if not ((places >= window.first) & (places < window.stop)).any()
    ]
