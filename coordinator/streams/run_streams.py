from ...domain.errors import NotFoundError
from ...domain.events import WorkflowStarted
from ...eventstore.record import Head
from ...eventstore.store import EventStore
from .trace_query import TraceQuery


def run_streams(store: EventStore, run: str) -> tuple[Head, ...]:
    """Return where all streams end that a run consists of and refers to, each after those that it refers to.

    They are those of its bars, its phases, the runs that it took phases from or has read, and its own. What
    is appended meanwhile may be missing, but never something that is referred to by what is not.

    Raises
    ------
    NotFoundError
        There is no such run.
    """
    heads: dict[str, Head] = {}
    _collect(store, run, heads, (run,))
    return tuple(head for head in reversed(heads.values()) if head.version)


def _collect(store: EventStore, run: str, heads: dict[str, Head], above: tuple[str, ...]) -> None:
    """Put a stream before those that it refers to; runs may have taken phases from one another."""
    first = next(store.read(run, topics=(WorkflowStarted.__name__,)), None)
    started = first.event if first else None
    if not isinstance(started, WorkflowStarted):
        raise NotFoundError(f"there is no run {run!r}; `admf runs` lists the runs.")
    _put(store, run, heads)
    trace = TraceQuery(store)
    feeds = [feed.stream for read in started.feeds.values() for feed in read]
    sources: list[str] = []
    phases = [stream for phase in started.phases for stream in trace.turns(run, phase)]
    for stream in phases:
        if stream.startswith(f"{run}/"):
            _put(store, stream, heads)
            if begun := trace.start(stream):
                feeds += [feed.stream for feed in begun.feeds]
                sources += [source.stream for source in begun.sources]
    named = (started.forked_from, *phases, *sources)
    origins = (origin.partition("/")[0].partition("#")[0] for origin in named)
    for origin in dict.fromkeys(filter(None, origins)):
        if origin not in above:
            _collect(store, origin, heads, (*above, origin))
    for stream in feeds:
        _put(store, stream, heads)


def _put(store: EventStore, stream: str, heads: dict[str, Head]) -> None:
    """Put a stream last, with the end that it has now if it has been put before."""
    heads.pop(stream, None)
    heads[stream] = store.head(stream)
