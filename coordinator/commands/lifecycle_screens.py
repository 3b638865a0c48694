"""What the commands show that carry runs on, repeat, watch and compare them."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from ..audit.replay import RunReplay
from ..audit.run_comparison import Metric, PhaseComparison, RunComparison
from ..monitoring.status import PassedOver, RunStatus
from ..result import HEADLINE, shown
from ..streams.differences import Difference
from .console import fitted, grid, note, status_text, table
from .run_report import HASH, seconds, stale_hint


def passed_over_text(passed: PassedOver) -> str:
    """Say what a run that is carried on has done already."""
    parts = [*passed.phases]
    if passed.shards:
        plural = "" if passed.shards == 1 else "s"
        parts.append(f"{passed.shards:,} shard{plural} ({passed.trials:,} trials) of {passed.phase}")
    if not passed.phase:
        return f"nothing is left to do; completed: {', '.join(parts)}"
    return f"passed over: {', '.join(parts) or 'nothing'}"


def replay_screen(replays: Sequence[RunReplay]) -> list[RenderableType]:
    """Return what came of replaying runs, phase by phase."""
    parts: list[RenderableType] = []
    for replay in replays:
        rows: list[list[str | Text]] = [
            [
                each.phase,
                status_text(each.outcome),
                f"{each.events:,}",
                f"{each.rows:,}",
                each.head_hash[:HASH],
                each.stream if each.outcome == "reused" else "",
            ]
            for each in replay.phases
        ]
        parts += ["", Text(replay.run, style="bold")]
        if rows:
            columns = ["phase", "outcome", "events", "rows", "head hash", ""]
            used = columns if any(row[-1] for row in rows) else columns[:-1]
            kept = [row[: len(used)] for row in rows]
            parts += fitted(used, kept, left=("phase", "outcome", ""))
        parts += [_difference(each.difference) for each in replay.phases if each.difference]
        if replay.error:
            parts.append(Text.assemble(("not replayed: ", "red"), replay.error))
        elif not rows:
            parts.append(note("no phase was begun."))
    return parts[1:] or [note("there is no run to replay.")]


def status_screen(statuses: Sequence[RunStatus]) -> list[RenderableType]:
    """Return how far runs have come."""
    parts: list[RenderableType] = []
    for status in statuses:
        head = Text.assemble((status.name, "bold"), "  ", status_text(status.status))
        head.append(f"  {seconds(status.elapsed)}", style="dim")
        rows = [(note(name), Text(fact)) for name, fact in _facts(status).items() if fact]
        parts += ["", head, grid(rows)]
    return [*(parts[1:] or [note("no run is under way.")]), *stale_hint(statuses)]


def comparison_screen(comparison: RunComparison) -> list[RenderableType]:
    """Return in what two runs differ."""
    names = table(
        ["", ""], [[note("first"), comparison.first], [note("second"), comparison.second]], left=("",)
    )
    names.show_header = False
    parts: list[RenderableType] = [names, ""]
    if comparison.settings:
        rows = [[each.key, each.first or "-", each.second or "-"] for each in comparison.settings]
        parts += fitted(("setting", "first", "second"), rows, left=("setting", "first", "second"))
    else:
        parts.append(note("all settings are the same."))
    for phase in comparison.phases:
        parts += ["", *_phase(phase)]
    return parts


def _facts(status: RunStatus) -> dict[str, str]:
    number = status.completed + 1
    plural = "" if status.shards == 1 else "s"
    several = {each.phase: str(each) for each in status.under_way}
    trials = f"{status.trials:,} of {status.planned:,}, in {status.shards:,} shard{plural}"
    return {
        "run": status.run,
        "reason": status.reason,
        "phase": f"{status.phase}, {number} of {status.phases}" if status.phase else f"all {status.phases}",
        "cached": ", ".join(status.cached),
        "skipped": ", ".join(status.skipped),
        "failed": ", ".join(status.failed),
        "trials": trials if status.planned and len(several) < 2 else "",
        "phase ends": f"about {status.phase_ends_at:%H:%M:%S} UTC"
        if status.phase_ends_at and len(several) < 2
        else "",
        **(several if len(several) > 1 else {}),
        "process": f"{status.process} on {status.host}",
    }


def _phase(phase: PhaseComparison) -> Iterator[RenderableType]:
    if phase.first is None or phase.second is None:
        absent = " and ".join(
            name for name, end in (("first", phase.first), ("second", phase.second)) if end is None
        )
        yield Text.assemble((phase.phase, "bold"), f"  not begun in the {absent}")
        return
    outcome = "identical" if phase.identical else "different"
    yield Text.assemble((phase.phase, "bold"), "  ", status_text(outcome))
    metrics = {metric.name: metric for metric in phase.metrics}
    rows = [
        [name, shown(name, metric.first), shown(name, metric.second), _change(metric)]
        for name in HEADLINE
        if (metric := metrics.get(name)) is not None
    ]
    hashes = (phase.first.head_hash[:HASH], phase.second.head_hash[:HASH])
    sizes = (f"{phase.first.rows:,}", f"{phase.second.rows:,}", f"{phase.second.rows - phase.first.rows:,}")
    rows += [["rows", *sizes], ["head hash", *hashes, ""]]
    yield from fitted(("", "first", "second", "change"), rows, left=("",))
    if (found := phase.divergence) is not None:
        values = f"{found.type}.{found.field}: {found.first} and {found.second}"
        yield Text(f"first difference in event {found.event}, at {found.address}: {values}")
    elif not phase.identical:
        yield note("the events are the same; only the configuration at the start of the stream differs.")


def _change(metric: Metric) -> str:
    text = shown(metric.name, metric.change)
    return text if text.strip("-0.%") else text.removeprefix("-")


def _difference(difference: Difference) -> Text:
    found = f"{difference.type}.{difference.field} was {difference.recorded}, and is {difference.replayed}"
    return Text(f"first difference at {difference.address}: {found}")
