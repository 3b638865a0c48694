"""The section by which a phase tells whether a search has converged."""

from pydantic import Field

from .section import Section


class ConvergenceSection(Section):
    """What the best of a search is compared with, and by how much it may differ to have converged."""

    before: float | None = None
    tolerance: float = Field(gt=0.0)
