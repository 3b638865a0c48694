"""What phases take over from others: values of their configuration, conditions, and when a loop ends.

Everything is read from the streams of the run, through `TraceQuery`.
"""

from collections.abc import Mapping

import msgspec

from ...domain.errors import UnknownNameError
from ...domain.events import PhaseOutput, Scalar
from ...domain.expressions import names_in, satisfied
from ...domain.topology import MAX_DRAWDOWN
from ...domain.weighting import WEIGHT
from ..configuration.references import PREVIOUS, STATUS, below, output_values, scalars
from ..configuration.sections import PhaseSection, RepeatSection
from ..streams.trace_query import TraceQuery, phase_stream
from ..workflows.loading import Workflow, resolved_phase
from ..workflows.phase_graph import COMPLETED, ENDED_WELL, TURN, Node, loop_end
from .ensemble_members import with_members


class PhaseInputs(msgspec.Struct, frozen=True):
    """What the phases of a run read.

    Attributes
    ----------
    workflow, run
        What is carried out, and as which run.
    trace
        Asks the streams.
    outcomes
        What came of the phases that have ended.
    """

    workflow: Workflow
    run: str
    trace: TraceQuery
    outcomes: Mapping[str, str]

    def obstacle(self, node: Node) -> str:
        """Say why a phase is skipped; empty if it is not.

        Raises
        ------
        ConfigurationError
            Its condition can't be told.
        """
        obstacle = self.workflow.graph.obstacle(node, self.outcomes)
        when = node.course.when
        if obstacle or not when:
            return obstacle
        values = scalars(self._values(node))
        if satisfied(when, values, f"{node.where}.when", "value"):
            return ""
        found = ", ".join(f"{name} was {_written(values[name])}" for name in names_in(when))
        return f"when {when} does not hold{': ' if found else ''}{found}"

    def section(self, node: Node, turn: int) -> PhaseSection:
        """Resolve a phase, for one of its turns.

        Raises
        ------
        ConfigurationError
            A section is wrong, or refers to what was not handed on.
        """
        values = self._values(node)
        if turn > 1:
            values |= below(PREVIOUS, output_values(self._turn(node, turn - 1)[0]))
        later = (PREVIOUS,) if turn == 1 else ()
        source = _source(node)
        if not source:
            return resolved_phase(self.workflow, node, None, values, later, turn)
        stated = PhaseSection.model_validate_json(self.trace.get_phase_configuration(self.run, source))
        best = self.trace.get_phase_output(self.run, source).best
        inherited = with_parameters(stated, best.parameters) if best else stated
        section = resolved_phase(self.workflow, node, inherited, values, later, turn)
        return with_members(section, self.trace, self.run) if node.type == "ensemble" else section

    def addresses(self, node: Node, turn: int = 1) -> tuple[str, ...]:
        """Return the addresses of the outputs that a turn of a phase takes values from."""
        read = dict.fromkeys([*filter(None, [_source(node)]), *node.reads])
        found = [
            self.trace.output_address(self.run, name)
            for name in read
            if self.outcomes.get(name) in ENDED_WELL
        ]
        return (*found, *([self._turn(node, turn - 1)[1]] if turn > 1 else []))

    def loop_end(self, node: Node, repeat: RepeatSection, turn: int) -> str:
        """Say why a loop ends with a turn that has ended; empty if another one follows.

        Raises
        ------
        ConfigurationError
            Its condition can't be told.
        """
        now = scalars(output_values(self._turn(node, turn)[0]))
        before = scalars(output_values(self._turn(node, turn - 1)[0])) if turn > 1 else {}
        where = f"{node.where}.repeat"
        values = {**scalars(self._values(node)), **scalars(below(node.name, now))}
        values |= {**scalars(below(PREVIOUS, before)), **now, TURN: turn}
        names = names_in(repeat.until) if repeat.until else ()
        is_early = turn == 1 and any(name.startswith(f"{PREVIOUS}.") for name in names)
        holds = bool(
            repeat.until and not is_early and satisfied(repeat.until, values, f"{where}.until", "value")
        )
        if repeat.tolerance is None:
            return loop_end(repeat, turn, holds, None, None)
        watched = _number(repeat.of, now, f"{where}.of")
        return loop_end(repeat, turn, holds, watched, _number(repeat.of, before, where) if before else None)

    def _values(self, node: Node) -> dict[str, object]:
        """Return what the references and the condition of a phase may lead to."""
        values: dict[str, object] = {}
        for name in node.reads:
            outcome = self.outcomes[name]
            values[f"{name}.{STATUS}"] = COMPLETED if outcome in ENDED_WELL else outcome
            if outcome in ENDED_WELL:
                values |= below(name, output_values(self.trace.get_phase_output(self.run, name)))
        return values

    def _turn(self, node: Node, turn: int) -> tuple[PhaseOutput, str]:
        return self.trace.output_in(phase_stream(self.run, node.name, turn))


def with_parameters(section: PhaseSection, parameters: dict[str, Scalar]) -> PhaseSection:
    """Return a section whose strategies, sizer and exits have these parameters, such as ``cross.fast``."""
    strategies = []
    for strategy in section.strategies:
        prefix = f"{strategy.name}."
        own = {name.removeprefix(prefix): parameters[name] for name in parameters if name.startswith(prefix)}
        changed: dict[str, object] = {"parameters": {**strategy.parameters, **own}}
        if (weight := f"{WEIGHT}{strategy.name}") in parameters:
            by_regime = {
                name.removeprefix(f"{weight}."): value
                for name, value in parameters.items()
                if name.startswith(f"{weight}.")
            }
            changed |= {"weight": parameters[weight], "weights": by_regime or None}
        strategies.append(strategy.model_copy(update=changed))
    sizers = []
    for sizer in section.risk.position_sizers:
        prefix = f"{sizer.name}."
        own = {name.removeprefix(prefix): parameters[name] for name in parameters if name.startswith(prefix)}
        sizers.append(sizer.model_copy(update=own))
    exits = {
        name.removeprefix("risk."): value
        for name, value in parameters.items()
        if name.startswith("risk.") and name != MAX_DRAWDOWN
    }
    halt = {"max_drawdown": parameters[MAX_DRAWDOWN]} if MAX_DRAWDOWN in parameters else {}
    limits = section.risk.limits.model_copy(update=halt)
    risk = section.risk.model_copy(update={"position_sizers": tuple(sizers), "limits": limits, **exits})
    return section.model_copy(update={"strategies": tuple(strategies), "risk": risk})


def _source(node: Node) -> str:
    return str(node.work.get("inherit_best_from") or "")


def _number(path: str, values: Mapping[str, Scalar], where: str) -> float:
    if path not in values or isinstance(values[path], str):
        numbers = [name for name, value in values.items() if not isinstance(value, str)]
        raise UnknownNameError("value", path, numbers, where)
    return float(values[path])


def _written(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
