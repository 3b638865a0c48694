"""Whether a search has come further than an earlier one, so that a refinement may end."""

from ...domain.bars import Window
from ...domain.errors import ConfigurationError
from ...domain.events import PhaseOutput
from ...domain.topology import Containers, Topology
from ..configuration.sections import PhaseSection
from .context import PhaseContext, containers_over
from .evidence import analyzed, concluded


def plan_convergence(
    section: PhaseSection,
    topology: Topology,  # noqa: ARG001
    window: Window,
) -> Containers:
    """Plan nothing: outputs are compared, and nothing is simulated."""
    if not section.inherit_best_from or section.convergence is None:
        raise ConfigurationError(
            f"phase {section.name!r}: `of` must name the last search, and `convergence` say with what its "
            "best is compared, as in `{before: '${first.best.metrics.sharpe_ratio}', tolerance: 0.001}`."
        )
    return containers_over(window, {}, count=0)


def convergence(context: PhaseContext) -> PhaseOutput:
    """Compare the objective of the best trial of a search with a value from before.

    Figures are ``before``, ``now``, ``change`` (absolute) and ``converged``, which is 1 where the change is
    less than the tolerance, else 0.
    """
    (earlier, best), asked = analyzed(context), context.section.convergence
    if asked is None or asked.before is None:
        raise ConfigurationError(f"phase {context.section.name!r}: there are no two values to compare.")
    objective, before = earlier.output.objective, asked.before
    now = best.metrics[objective]
    change = abs(now - before)
    converged = change < asked.tolerance
    return concluded(
        context,
        {"before": before, "now": now, "change": change, "converged": float(converged)},
        f"{objective} changed by {change:.6g}, {'less' if converged else 'not less'} than "
        f"{asked.tolerance:g}: the search has {'' if converged else 'not '}converged.",
    )
