"""From the section of a phase to its topology. It only builds; nothing is executed here."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from ...domain.bars import parse_timeframe
from ...domain.errors import ConfigurationError, UnknownNameError
from ...domain.execution import (
    EndOfData,
    Execution,
    FillPrice,
    LimitFill,
    Protection,
    RiskLimits,
    Rounding,
    Sizer,
    SizingRule,
)
from ...domain.metrics import metric_profile
from ...domain.regimes.classifiers import CLASSIFIERS
from ...domain.strategies import Strategy
from ...domain.topology import LogLevel, StrategySlot, Topology
from ..configuration.sections import ExecutionSection, LimitsSection, PhaseSection, RiskSection, SizerSection
from .components import find_strategy

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
    symbols = tuple(section.data.sources)
    timeframe = parse_timeframe(section.data.traded_timeframe)
    sizer, execution = _sizer(section.risk), _execution(section.execution)
    sizer.require_affordable(execution.leverage)
    regimes = _regimes(section, where)
    return Topology(
        slots=_slots(section, symbols, regimes, folders, where),
        sizer=sizer,
        execution=execution,
        protection=_protection(section.risk),
        limits=_limits(section.risk.limits),
        capital=section.capital,
        profile=metric_profile(section.metrics.profile, f"{where}.metrics.profile"),
        bars_per_year=section.metrics.bars_per_year or timeframe.bars_per_year,
        log=LogLevel[section.log.upper()],
        regimes=regimes,
    )


def _regimes(section: PhaseSection, where: str) -> tuple[str, ...]:
    """Return the names of the regimes that a phase tells apart, if it does."""
    asked = section.classifier
    return CLASSIFIERS.get(asked.type, f"{where}.classifier.type").regimes(asked.states) if asked else ()


def _slots(
    section: PhaseSection,
    symbols: tuple[str, ...],
    regimes: tuple[str, ...],
    folders: Sequence[Path],
    where: str,
) -> tuple[StrategySlot, ...]:
    strategies = section.strategies
    if not strategies:
        raise ConfigurationError(f"{where}.strategies: a phase needs at least one strategy.")
    names = [strategy.name for strategy in strategies]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"{where}.strategies: names must differ, were {', '.join(names)}.")
    weights = _weights(section, regimes, where)
    slots = []
    for index, strategy in enumerate(strategies):
        path = f"{where}.strategies[{index}]"
        found = find_strategy(strategy.type, folders, f"{path}.type")
        lowest, highest = BOUNDS[strategy.direction]
        numbers = _numbers(strategy.symbols, symbols, f"{path}.symbols")
        own = [weight / max(len(numbers), 1) for weight in weights[index]]
        slots.append(
            StrategySlot(
                name=strategy.name,
                strategy=_on_timeframe(found, strategy.timeframe, f"{path}.timeframe"),
                parameters=found.resolve(strategy.parameters, f"{path}.parameters"),
                weight=own[0],
                weights=tuple(own[1:]) if strategy.weights else (),
                lowest=lowest,
                highest=highest,
                symbols=numbers,
            )
        )
    return tuple(slots)


def _weights(section: PhaseSection, regimes: tuple[str, ...], where: str) -> list[list[float]]:
    """Return the weights of each strategy: where no regime is known, and in each regime."""
    strategies, most = section.strategies, section.execution.margin.leverage
    stated = [strategy.weight for strategy in strategies]
    if None in stated and any(weight is not None for weight in stated):
        raise ConfigurationError(f"{where}.strategies: give a weight to every strategy, or to none.")
    weights: list[list[float]] = []
    for index, (strategy, weight) in enumerate(zip(strategies, stated, strict=True)):
        path, by_regime = f"{where}.strategies[{index}].weights", strategy.weights or {}
        if by_regime and not regimes:
            raise ConfigurationError(
                f"{path}: weights by regime need a classifier that tells regimes; state one for the phase."
            )
        for name in by_regime:
            if name not in regimes:
                raise UnknownNameError("regime", name, regimes, path)
        own = 1.0 / len(strategies) if weight is None else weight
        weights.append([own, *(by_regime.get(name, own) for name in regimes)])
    for column in zip(*weights, strict=True):
        if sum(column) > most + 1e-9:
            raise ConfigurationError(
                f"{where}.strategies: weights must sum to at most {most:g}, were {[*column]}."
            )
    return weights


def _on_timeframe(strategy: Strategy, timeframe: str, where: str) -> Strategy:
    """Have a strategy's features computed over coarser bars, but for those that state their own timeframe."""
    if not timeframe:
        return strategy
    if not strategy.features:
        raise ConfigurationError(
            f"{where}: {strategy.name} computes no features, so that a timeframe has no effect; remove it."
        )
    features = {
        argument: template if template.timeframe else structs.replace(template, timeframe=timeframe)
        for argument, template in strategy.features.items()
    }
    return structs.replace(strategy, features=features)


def _numbers(wanted: tuple[str, ...], symbols: tuple[str, ...], where: str) -> tuple[int, ...]:
    """Return the numbers of a strategy's symbols; none where it trades all of them."""
    for symbol in wanted:
        if symbol not in symbols:
            raise UnknownNameError("symbol", symbol, symbols, where)
    if len(set(wanted)) < len(wanted):
        raise ConfigurationError(f"{where}: symbols must differ, were {', '.join(wanted)}.")
    return tuple(sorted(symbols.index(symbol) for symbol in wanted))


def _sizer(risk: RiskSection) -> Sizer:
    if not risk.position_sizers:
        return Sizer()
    section = risk.position_sizers[0]
    match section:
        case SizerSection(units=float(units)):
            return Sizer(name=section.name, rule=SizingRule.UNITS, value=units)
        case SizerSection(size=float(size)):
            return Sizer(name=section.name, rule=SizingRule.SIZE, value=size)
    rule = SizingRule[section.type.upper()]
    return Sizer(
        name=section.name,
        rule=rule,
        value=section.percentage or 0.0,
        period=section.period,
        minimum_trades=section.minimum_trades,
        start=section.start,
    )


def _protection(risk: RiskSection) -> Protection:
    return Protection(
        stop_loss=risk.stop_loss, take_profit=risk.take_profit, trailing_stop=risk.trailing_stop
    )


def _limits(section: LimitsSection) -> RiskLimits:
    return RiskLimits(
        max_position=section.max_position / 100.0,
        max_leverage=section.max_leverage,
        max_drawdown=section.max_drawdown / 100.0,
        daily_loss=section.daily_loss / 100.0,
    )


def _execution(section: ExecutionSection) -> Execution:
    return Execution(
        fill=FillPrice[section.fill.upper()],
        limit=LimitFill[section.limit.upper()],
        rounding=Rounding[section.rounding.upper()],
        lot=section.lot,
        end=EndOfData[section.end.upper()],
        commission_rate=section.commission.percent / 100.0,
        commission_per_unit=section.commission.per_unit,
        commission_fixed=section.commission.fixed,
        commission_minimum=section.commission.minimum,
        slippage=section.slippage.bps / 10_000.0,
        volume_limit=section.slippage.volume_limit / 100.0,
        price_impact=section.slippage.price_impact,
        leverage=section.margin.leverage,
        maintenance_margin=section.margin.maintenance / 100.0,
        borrow_rate=section.margin.borrow_rate / 100.0,
        interest_rate=section.margin.interest_rate / 100.0,
    )
