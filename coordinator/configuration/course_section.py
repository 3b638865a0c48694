"""The sections that say whether, when and how often a phase is carried out."""

from typing import Literal

from pydantic import Field

from .section import Section


class RepeatSection(Section):
    """Turns of a phase until a condition holds, `of` changes by less than `tolerance`, or all `max`."""

    until: str = ""
    max: int = Field(ge=1)
    tolerance: float | None = Field(None, gt=0.0)
    of: str = "best.sharpe_ratio"


class CourseSection(Section):
    """Whether, when and how often a phase is carried out; what it does depends on none of it."""

    when: str = ""
    requires: Literal["completed", "ended"] = "completed"
    continue_on_failure: bool = False
    timeout_seconds: float | None = Field(None, gt=0.0)
    retries: int = Field(0, ge=0)
    retry_delay_seconds: float = Field(1.0, ge=0.0)
    repeat: RepeatSection | None = None
