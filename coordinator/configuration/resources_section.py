"""What a workflow description may say about what a run may take."""

from pydantic import Field

from .section import Section


class ResourcesSection(Section):
    """What a run may take; what is not stated has no limit.

    Worker processes; MiB of a shard, by an upper estimate; events in the streams of its phases, row by row;
    and seconds since a process took it over.
    """

    workers: int | None = Field(None, gt=0)
    memory_per_shard: float | None = Field(None, gt=0.0)
    max_events: int | None = Field(None, gt=0)
    max_seconds: float | None = Field(None, gt=0.0)
