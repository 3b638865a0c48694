"""The sections by which phases analyze what earlier ones did."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .section import Section


class ResamplingSection(Section):
    """How returns are drawn anew: so many `samples`, in blocks of `block` bars on average."""

    level: float = Field(0.95, gt=0.5, lt=1.0)
    samples: int = Field(2000, ge=100)
    block: float | None = Field(None, ge=1.0)
    seed: int | None = Field(None, ge=0, lt=2**32)


class AnalysisSection(ResamplingSection):
    """What is asked about the trials of an earlier phase: whether the best is more than luck."""

    type: Literal["overfitting"] = "overfitting"
    blocks: int = Field(16, ge=2, le=20, multiple_of=2)

    @model_validator(mode="before")
    @classmethod
    def _by_its_type(cls, raw: object) -> object:
        return {"type": raw} if isinstance(raw, str) else raw


class TolerableSection(Section):
    """What a year may bring: a drawdown of more than `max_drawdown` percent with at most a `probability`."""

    max_drawdown: float = Field(30.0, gt=0.0, lt=100.0)
    probability: float = Field(0.05, ge=0.0, lt=1.0)


class PatternsSection(Section):
    """Which trials win, and in which searches: that named by `of`, and those of other `runs` in the store.

    The `best` part of each search wins. `runs` are ids, or their ends, or `all`; of all those, only runs of
    the `workflow` of a name, if one is stated.
    """

    best: float = Field(0.2, gt=0.0, lt=1.0)
    level: float = Field(0.95, gt=0.5, lt=1.0)
    runs: Literal["all"] | tuple[str, ...] = ()
    workflow: str = ""

    @model_validator(mode="after")
    def _of_all(self) -> Self:
        if self.workflow and not self.runs:
            raise ValueError("workflow chooses among runs; state `runs: all` beside it")
        return self
