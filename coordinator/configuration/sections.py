"""What a workflow description may say: the sections of a YAML file, checked key by key.

Every section refuses keys that it does not know. A phase inherits what it does not state from the workflow's
own sections of the same names.
"""

import re
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from ...domain.events import Scalar
from .analysis_sections import AnalysisSection, PatternsSection, ResamplingSection, TolerableSection
from .classifier_section import ClassifierSection
from .convergence_section import ConvergenceSection
from .course_section import CourseSection as CourseSection
from .course_section import RepeatSection as RepeatSection
from .data_section import DataSection as DataSection
from .ensemble_section import EnsembleSection
from .resources_section import ResourcesSection
from .section import TAGS, Section, section_tag
from .validation_sections import CrossValidationSection, WalkForwardSection

OPTIONAL = frozenset(
    {
        "optimization",
        "walk_forward",
        "cross_validation",
        "trials",
        "analysis",
        "monte_carlo",
        "limits",
        "patterns",
        "classifier",
        "classifiers",
        "convergence",
        "minimum_bars",
        "minimum_trades",
        "more_signals_from",
        "regimes",
        "ensemble",
    }
)
"""Sections that only some types of phase use."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _name(value: object) -> object:
    if isinstance(value, str) and not NAME.fullmatch(value):
        raise ValueError(f"a name must consist of letters, digits, '_' and '-', was {value!r}")
    return value


def _phase_name(value: object) -> object:
    if isinstance(value, str):
        for part in value.split("."):
            _name(part)
    return value


def _value(value: object) -> object:
    finite = not isinstance(value, float) or isfinite(value)
    storable = not isinstance(value, int) or -(2**63) <= value < 2**63
    if not (isinstance(value, bool | int | float | str) and finite and storable):
        raise ValueError("a value must be a number (finite, whole ones of 64 bits), a text, true or false")
    return value


Name = Annotated[str, BeforeValidator(_name)]
PhaseName = Annotated[str, BeforeValidator(_phase_name)]
Value = Annotated[Scalar, BeforeValidator(_value)]


class CommissionSection(Section):
    """What each fill costs: a percentage of its value, an amount per unit and a fixed one; or `minimum`."""

    percent: float = Field(0.0, ge=0.0, lt=100.0)
    per_unit: float = Field(0.0, ge=0.0)
    fixed: float = Field(0.0, ge=0.0)
    minimum: float = Field(0.0, ge=0.0)


class SlippageSection(Section):
    """How much worse than the bar's price a fill is, in basis points, and how much of its volume it may take.

    `volume_limit` is the largest percentage of a bar's volume; a fill of the share v of the volume is worse
    by the fraction `price_impact * v**2`.
    """

    bps: float = Field(0.0, ge=0.0, lt=10_000.0)
    volume_limit: float = Field(0.0, ge=0.0, le=100.0)
    price_impact: float = Field(0.0, ge=0.0)


class MarginSection(Section):
    """Borrowing: how much, what it costs, and when it ends in a margin call.

    All positions are closed when equity is at most `maintenance` percent of what they are worth. Units sold
    short cost `borrow_rate` percent of their value per year, and borrowed cash `interest_rate` percent.
    """

    leverage: float = Field(1.0, ge=1.0)
    maintenance: float = Field(0.0, ge=0.0, lt=100.0)
    borrow_rate: float = Field(0.0, ge=0.0)
    interest_rate: float = Field(0.0, ge=0.0)


class ExecutionSection(Section):
    """How orders become fills."""

    fill: Literal["next_open", "same_close", "next_close"] = "next_open"
    limit: Literal["touch", "through"] = "touch"
    rounding: Literal["fraction", "floor", "lot"] = "fraction"
    lot: float = Field(1.0, gt=0.0)
    end: Literal["mark", "close", "close_at_open"] = "mark"
    commission: CommissionSection = CommissionSection()
    slippage: SlippageSection = SlippageSection()
    margin: MarginSection = MarginSection()


class StrategySection(Section):
    """A strategy in a phase: `type` is a registered type, or `file.py:function`.

    It trades `symbols`, or all of the phase's, each with an equal part of its weight. Its features are
    computed over bars of a coarser `timeframe`, where one is stated. `weights` are its weights in the regimes
    of the phase's classifier, by their names; in others, and where the regime is not known, `weight` holds.
    """

    type: str
    name: Name = ""
    symbols: tuple[str, ...] = ()
    timeframe: str = ""
    parameters: dict[str, Value] = Field({})
    direction: Literal["both", "long", "short"] = "both"
    weight: float | None = Field(None, ge=0.0, le=1.0)
    weights: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_after_its_type(cls, raw: object) -> object:
        if isinstance(raw, dict) and not raw.get("name") and isinstance(raw.get("type"), str):
            return {**raw, "name": raw["type"].rpartition(":")[2]}
        return raw


class SizerSection(Section):
    """How large a position is.

    `percentage`: that part of equity. `fixed`: a `size` in currency, or a number of `units`. `volatility`: as
    much as makes the position's volatility `percentage` of equity per year, measured over `period` bars.
    `kelly`: `percentage` of the Kelly fraction of the trades so far, and `start` percent of equity until
    there are `minimum_trades` of them.
    """

    name: Name = "position_size"
    type: Literal["percentage", "fixed", "volatility", "kelly"]
    percentage: float | None = Field(None, gt=0.0)
    size: float | None = Field(None, gt=0.0)
    units: float | None = Field(None, gt=0.0)
    period: int = Field(20, ge=2)
    minimum_trades: int = Field(20, ge=1)
    start: float = Field(10.0, gt=0.0)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        given = {key for key in ("percentage", "size", "units") if getattr(self, key) is not None}
        accepted = {"size", "units"} if self.type == "fixed" else {"percentage"}
        if len(given) != 1 or not given <= accepted:
            raise ValueError(
                f"a sizer of type {self.type!r} takes exactly one of {', '.join(sorted(accepted))}; "
                f"it was given {', '.join(sorted(given)) or 'none'}"
            )
        return self


class LimitsSection(Section):
    """What the account's own rules forbid: orders beyond a limit are denied; a loss beyond one halts trading.

    In percent of equity, but for `max_leverage`, a multiple of it; zero for no limit.
    """

    max_position: float = Field(0.0, ge=0.0)
    max_leverage: float = Field(0.0, ge=0.0)
    max_drawdown: float = Field(0.0, ge=0.0, lt=100.0)
    daily_loss: float = Field(0.0, ge=0.0, lt=100.0)


class RiskSection(Section):
    """Position sizing, exits attached to every position in percent of its entry price, and limits."""

    position_sizers: Annotated[tuple[SizerSection, ...], Field(max_length=1)] = ()
    stop_loss: float = Field(0.0, ge=0.0)
    take_profit: float = Field(0.0, ge=0.0)
    trailing_stop: float = Field(0.0, ge=0.0, lt=100.0)
    limits: LimitsSection = LimitsSection()


class RangeSection(Section):
    """Numbers to search between, both ends included; see `admf.domain.search_space.Range`."""

    low: int | float
    high: int | float
    step: int | float | None = Field(None, gt=0)
    log: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high; they were {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range must begin above zero, and can have no step")
        return self


Searched = Annotated[
    Annotated[RangeSection, Tag(TAGS[0])] | Annotated[tuple[Value, ...], Tag(TAGS[1])],
    Discriminator(section_tag),
]


class ObjectiveSection(Section):
    """One of several objectives: a metric, and whether more or less of it is better."""

    metric: str
    direction: Literal["maximize", "minimize"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: object) -> object:
        return {"metric": raw} if isinstance(raw, str) else raw


class StopSection(Section):
    """Ends a search where `patience` suggestions in a row improve the best by no more than `tolerance`."""

    patience: int = Field(gt=0)
    tolerance: float = Field(0.0, ge=0.0)


class OptimizationSection(Section):
    """A search: without `parameters`, the strategies' own search spaces are used."""

    algorithm: Literal["grid", "random", "tpe", "gp", "genetic", "cma_es", "gradient"] = "grid"
    trials: int = Field(200, gt=0)
    batch: int = Field(20, gt=0)
    seed: int | None = Field(None, ge=0, lt=2**32)
    parameters: dict[str, Searched] = Field({})
    constraints: tuple[str, ...] = ()
    objective: str = "sharpe_ratio"
    direction: Literal["maximize", "minimize"] | None = None
    objectives: tuple[ObjectiveSection, ...] = ()
    start: dict[str, Value] = Field({})
    stop: StopSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, raw: object) -> object:
        """Name the first of several objectives as the one by which the best trial is chosen."""
        if not isinstance(raw, dict) or not isinstance(raw.get("objectives"), list | tuple):
            return raw
        first = next(iter(raw["objectives"]), None)
        name = first.get("metric") if isinstance(first, dict) else first
        if name is None:
            return raw
        if raw.get("objective", name) != name or raw.get("direction") is not None:
            raise ValueError("objectives stand instead of objective and direction; keep one of the two")
        return {**raw, "objective": name}


class TopSection(Section):
    """The best trials of a phase by its objective, so many of them."""

    top: int = Field(gt=0)


class MetricsSection(Section):
    """By which formulas metrics are computed; `bars_per_year` follows from the timeframe unless given."""

    profile: str = "admf"
    bars_per_year: float | None = Field(None, gt=0.0)


class WorkSection(Section):
    """What a phase does."""

    name: PhaseName
    type: str
    depends_on: tuple[str, ...] = ()
    inherit_best_from: str = ""
    more_signals_from: tuple[str, ...] | None = None
    trials: Literal["best", "all"] | TopSection | None = None
    regimes: str | None = None
    ensemble: EnsembleSection | None = None
    data: DataSection | None = None
    capital: float = Field(100_000.0, gt=0.0)
    execution: ExecutionSection = ExecutionSection()
    strategies: tuple[StrategySection, ...] = ()
    risk: RiskSection = RiskSection()
    optimization: OptimizationSection | None = None
    walk_forward: WalkForwardSection | None = None
    cross_validation: CrossValidationSection | None = None
    analysis: AnalysisSection | None = None
    monte_carlo: ResamplingSection | None = None
    limits: TolerableSection | None = None
    patterns: PatternsSection | None = None
    classifier: ClassifierSection | None = None
    classifiers: tuple[ClassifierSection, ...] | None = None
    convergence: ConvergenceSection | None = None
    minimum_bars: int | None = Field(None, ge=2)
    minimum_trades: int | None = Field(None, ge=0)
    metrics: MetricsSection = MetricsSection()
    log: Literal["full", "fills", "metrics"] = "full"
    shard_size: int | None = Field(None, gt=0)

    @property
    def signal_sources(self) -> tuple[str, ...]:
        """The phases whose signals it follows, or which it inherits from; the first may be empty."""
        return (self.inherit_best_from, *(self.more_signals_from or ()))


class PhaseSection(CourseSection, WorkSection):
    """One phase."""

    def work_text(self) -> str:
        """Return what the phase does as `json_text`, without what decides whether and when it does so."""
        return self._text({*CourseSection.model_fields})


class WorkflowSection(Section):
    """A whole workflow, resolved: every phase states all that it needs."""

    name: str
    seed: int = 0
    parallel: int = Field(1, ge=1)
    cache: bool = True
    resources: ResourcesSection = ResourcesSection()
    phases: Annotated[tuple[PhaseSection, ...], Field(min_length=1)]
