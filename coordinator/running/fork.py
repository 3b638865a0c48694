"""A run that takes over the first phases of another by reference to their streams, and executes the rest."""

from collections.abc import Iterable

import msgspec

from ...domain.bars import Window
from ...domain.errors import ConfigurationError, ConflictError, NotFoundError
from ...domain.events import Feed, PhaseReused, WorkflowForked
from ...domain.panel import Panel
from ...eventstore.store import EventStore
from ..configuration.data_section import Calendar, DataSection
from ..configuration.references import REFERENCE
from ..configuration.sections import PhaseSection
from ..market.data_files import DataFiles
from ..market.market_log import MarketLog
from ..streams.differences import settings
from ..streams.run_history import RunHistory, run_history
from ..streams.stream_writer import StreamWriter
from ..streams.trace_query import phase_stream
from ..workflows.loading import Workflow, changed_workflow, resolved_workflow


class Fork(msgspec.Struct, frozen=True):
    """What a fork is to do.

    Attributes
    ----------
    address
        Where it parts from the run that it is forked from: the address at which the first phase that the two
        don't share begins.
    workflow
        The workflow of that run, with the changes.
    sections
        Its phases in the order of execution, resolved before the first has run.
    reused
        The phases that are taken over, by name.
    feeds
        The bars of the phases whose data are those that the run has read, by name; the others read files.
    """

    address: str
    workflow: Workflow
    sections: tuple[PhaseSection, ...]
    reused: dict[str, PhaseReused]
    feeds: dict[str, tuple[Feed, ...]]

    def panel(self, market: MarketLog, section: PhaseSection) -> tuple[Panel, Window]:
        """Return the bars of a phase, from the log if it has them, and the window that the phase trades."""
        if section.name in self.feeds:
            return market.window(section, self.feeds[section.name])
        return DataFiles(self.workflow.folder).panel(section)

    def kept_feeds(self, market: MarketLog) -> dict[str, tuple[Feed, ...]]:
        """Return the feeds of every phase, and append bars that the log does not hold yet."""
        return {
            section.name: self.feeds.get(section.name) or market.keep(self.panel(market, section)[0])
            for section in self.sections
        }


def plan_fork(store: EventStore, run: str, phase: str, changes: Iterable[str] = ()) -> Fork:
    """Plan a fork: nothing is written yet.

    Parameters
    ----------
    store, run
        The run to fork, which may still be under way.
    phase
        The first phase that the fork executes; those before it, in the order of execution, are reused.
    changes
        Settings to replace, as ``path=value``; see `load_workflow`.

    Raises
    ------
    NotFoundError
        There is no such run or phase, or a phase before it has not been completed.
    ConfigurationError
        A change does not fit, or replaces what a reused phase has read.
    """
    history = run_history(store, run)
    order = history.started.phases
    if phase not in order:
        raise NotFoundError(f"the run {run} has no phase {phase!r}; its phases are {', '.join(order)}.")
    before_it = [name for name in order[: order.index(phase)] if name not in history.skipped]
    reused = {name: _reused(history, run, name) for name in before_it}
    written = Workflow.from_json(history.started.configuration, history.started.folder)
    workflow = changed_workflow(written, changes)
    after = resolved_workflow(workflow).phases
    read = {section.name: section for section in resolved_workflow(written).phases}
    stated = {section.name: section for section in after}
    for name in reused:
        _require_unchanged(run, _settings(written, read[name]), _settings(workflow, stated[name]), name)
    feeds = {
        section.name: history.started.feeds[section.name]
        for section in after
        if section.name in read and _source(section.data) == _source(read[section.name].data)
    }
    return Fork(f"{phase_stream(run, phase)}#1", workflow, after, reused, feeds)


def record_fork(store: EventStore, address: str, fork: str) -> None:
    """Append to the run that was forked, unless it says so already, which run parted from it at an address.

    The run may still be under way: whoever carries it on takes note, and goes on.
    """
    stream, _, _ = address.rpartition("#")
    source, _, phase = stream.partition("/")
    event = WorkflowForked(run=fork, phase=phase)
    while all(recorded.event != event for recorded in store.read(source, topics=(WorkflowForked.__name__,))):
        try:
            StreamWriter(store, store.head(source)).append([event], cause=f"{fork}#1")
        except ConflictError:
            # The run went on in between.
            continue


def _reused(history: RunHistory, run: str, phase: str) -> PhaseReused:
    """Refer to a phase by the stream of the run that executed it, also where that is a fork of another."""
    if phase in history.reused:
        return msgspec.structs.replace(history.reused[phase], cached=False)
    if phase not in history.completed:
        raise NotFoundError(
            f"a fork reuses the phases before the one that it starts from, and the run {run} has not "
            f"completed {phase!r}. Resume the run first, or fork from {phase!r}."
        )
    done = history.completed[phase]
    return PhaseReused(
        phase=phase, stream=done.stream, events=done.events, rows=done.rows, head_hash=done.head_hash
    )


def _settings(workflow: Workflow, section: PhaseSection) -> dict[str, object]:
    """Return what a phase states, with the references that are resolved only when it begins."""
    node = next(node for node in workflow.graph.nodes if node.name == section.name)
    stated = section.model_dump(mode="json", exclude_none=True)
    return dict(settings(stated)) | {
        key: text for key, text in settings(node.work) if REFERENCE.search(str(text))
    }


def _require_unchanged(run: str, old: dict[str, object], new: dict[str, object], name: str) -> None:
    """Refuse a change that reaches a phase which was executed without it."""
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            raise ConfigurationError(
                f"a fork can't change what the phases that it reuses have read, but {name}.{key} was "
                f"{old.get(key, 'not set')} in the run {run}, and would be {new.get(key, 'not set')}. "
                f"Make the change for later phases only, or fork from {name!r}."
            )


def _source(data: DataSection | None) -> tuple[dict[str, str], str, str, dict[str, Calendar]] | None:
    return (data.sources, data.timeframe, data.resample, data.calendars) if data else None
