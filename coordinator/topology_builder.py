"""From the section of a phase to its topology. It only builds; nothing is executed here."""

from collections.abc import Sequence
from pathlib import Path

from ..domain.bars import parse_timeframe
from ..domain.errors import ConfigurationError
from ..domain.execution import EndOfData, Execution, FillPrice, Rounding, Sizer, SizingRule
from ..domain.metrics import metric_profile
from ..domain.topology import LogLevel, StrategySlot, Topology
from .components import find_strategy
from .configuration import ExecutionSection, PhaseSection, RiskSection

BOUNDS = {"both": (-1.0, 1.0), "long": (0.0, 1.0), "short": (-1.0, 0.0)}


def build_topology(section: PhaseSection, folders: Sequence[Path], where: str = "") -> Topology:
    """Build the topology of a phase.

    Parameters
    ----------
    section
        The phase's resolved configuration.
    folders
        Where files of user strategies are looked for.
    where
        Path of the phase in its configuration, for messages.

    Raises
    ------
    ConfigurationError
        There is no strategy, a type or parameter is unknown, weights don't fit, or data is missing.
    """
    if section.data is None:
        raise ConfigurationError(
            f"{where}.data: a phase needs data; state `data: {{file: ...}}` for the workflow or the phase."
        )
    timeframe = parse_timeframe(section.data.timeframe)
    return Topology(
        slots=_slots(section, folders, where),
        sizer=_sizer(section.risk),
        execution=_execution(section.execution),
        capital=section.capital,
        profile=metric_profile(section.metrics.profile, f"{where}.metrics.profile"),
        bars_per_year=section.metrics.bars_per_year or timeframe.bars_per_year,
        log=LogLevel[section.log.upper()],
    )


def _slots(section: PhaseSection, folders: Sequence[Path], where: str) -> tuple[StrategySlot, ...]:
    strategies = section.strategies
    if not strategies:
        raise ConfigurationError(f"{where}.strategies: a phase needs at least one strategy.")
    names = [strategy.name for strategy in strategies]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"{where}.strategies: names must differ, were {', '.join(names)}.")
    weights = [strategy.weight for strategy in strategies]
    if any(weights) and not all(weights):
        raise ConfigurationError(f"{where}.strategies: give a weight to every strategy, or to none.")
    if sum(weight or 0.0 for weight in weights) > 1.0 + 1e-9:
        raise ConfigurationError(f"{where}.strategies: weights must sum to at most 1, were {weights}.")
    slots = []
    for index, strategy in enumerate(strategies):
        path = f"{where}.strategies[{index}]"
        found = find_strategy(strategy.type, folders, f"{path}.type")
        lowest, highest = BOUNDS[strategy.direction]
        slots.append(
            StrategySlot(
                name=strategy.name,
                strategy=found,
                parameters=found.resolve(strategy.parameters, f"{path}.parameters"),
                weight=strategy.weight or 1.0 / len(strategies),
                lowest=lowest,
                highest=highest,
            )
        )
    return tuple(slots)


def _sizer(risk: RiskSection) -> Sizer:
    if not risk.position_sizers:
        return Sizer()
    section = risk.position_sizers[0]
    if section.percentage is not None:
        return Sizer(name=section.name, rule=SizingRule.PERCENTAGE, value=section.percentage)
    if section.units is not None:
        return Sizer(name=section.name, rule=SizingRule.UNITS, value=section.units)
    return Sizer(name=section.name, rule=SizingRule.SIZE, value=section.size or 0.0)


def _execution(section: ExecutionSection) -> Execution:
    return Execution(
        fill=FillPrice[section.fill.upper()],
        rounding=Rounding[section.rounding.upper()],
        end=EndOfData[section.end.upper()],
        commission_rate=section.commission.percent / 100.0,
        commission_fixed=section.commission.fixed,
        slippage=section.slippage.bps / 10_000.0,
    )
