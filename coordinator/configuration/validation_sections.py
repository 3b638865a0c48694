"""The sections by which a validation cuts its period: folds that go forward, or groups tested in turn."""

from typing import Literal, Self

from pydantic import Field, model_validator

from .section import Section


class WalkForwardSection(Section):
    """Walk-forward folds, in bars; see `admf.domain.folds.walk_forward`."""

    train_size: int = Field(gt=0)
    test_size: int = Field(gt=0)
    purge_size: int = Field(0, ge=0)
    mode: Literal["rolling", "anchored"] = "rolling"


class CrossValidationSection(Section):
    """Groups of bars that are tested in turn; see `admf.domain.cross_validation.combinatorial_purged`."""

    folds: int = Field(ge=2)
    test_folds: int = Field(1, ge=1)
    purge_size: int = Field(0, ge=0)
    embargo_size: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _leaves_some_to_train_on(self) -> Self:
        if self.test_folds >= self.folds:
            raise ValueError(
                f"test_folds must be less than folds; they were {self.test_folds} and {self.folds}"
            )
        return self
