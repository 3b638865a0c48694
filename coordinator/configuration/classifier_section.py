"""The section by which a phase classifies regimes."""

from datetime import date
from typing import Self

from pydantic import Field, model_validator

from ...domain.regimes.classifiers import CLASSIFIERS, Setting
from .section import Section


class FitSection(Section):
    """The bars that a classifier is fitted to: from `start` to `end`, both days included.

    By default they are the first and the last day of the phase's period.
    """

    start: date | None = None
    end: date | None = None


class ClassifierSection(Section):
    """How regimes are told; by default a classifier is fitted to the whole period."""

    type: str
    states: int = Field(2, ge=2, le=8)
    window: int = Field(20, ge=2)
    threshold: float = Field(1.0, ge=0.0)
    fit: FitSection = FitSection()

    @model_validator(mode="before")
    @classmethod
    def _by_its_type(cls, raw: object) -> object:
        return {"type": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.type in CLASSIFIERS:
            of_no_use = ({"states", "window", "threshold"} & self.model_fields_set) - CLASSIFIERS.get(
                self.type
            ).uses
            if any(getattr(self, name) != getattr(Setting(), name) for name in of_no_use):
                raise ValueError(
                    f"a classifier of type {self.type!r} makes no use of {', '.join(sorted(of_no_use))}"
                )
        return self

    @property
    def setting(self) -> Setting:
        """As the classifier takes it."""
        return Setting(self.states, self.window, self.threshold)
