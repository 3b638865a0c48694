"""The section by which a phase weighs earlier trials."""

from typing import Literal

from pydantic import Field

from ...domain.ensembles.weights import WeightRule
from ...domain.events import Scalar
from .section import Section


class MemberSection(Section):
    """A trial of an earlier phase, as a member: where its signals are, and its strategies in the ensemble."""

    phase: str
    container: int
    strategies: tuple[str, ...]
    parameters: dict[str, Scalar] = Field({})

    @property
    def name(self) -> str:
        """What the member is called: as its strategies are."""
        return "+".join(self.strategies)


class EnsembleSection(Section):
    """How weights are found; the phase itself fills in the `members`."""

    method: Literal["equal", "inverse_volatility", "max_sharpe", "min_drawdown", "cvar"] = "equal"
    min_weight: float = Field(0.0, ge=0.0, le=1.0)
    max_weight: float = Field(1.0, gt=0.0, le=1.0)
    max_correlation: float = Field(1.0, gt=0.0, le=1.0)
    level: float = Field(0.95, gt=0.0, lt=1.0)
    per_regime: bool = False
    members: tuple[MemberSection, ...] = ()

    @property
    def rule(self) -> WeightRule:
        """As weights are computed."""
        return WeightRule(self.method, self.min_weight, self.max_weight, self.max_correlation, self.level)
