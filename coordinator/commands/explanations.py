"""The command that asks why."""

from typing import Annotated

import typer

from .application import Json, command


@command(
    "explain",
    "explain last/training#42",
    "explain last/training --trade 3:1",
    "explain last/training --metric sharpe_ratio --container 3",
)
def explain(
    context: typer.Context,
    event: Annotated[
        str,
        typer.Argument(metavar="RUN/PHASE[#N]", help="An event by its number, or a phase with an option."),
    ],
    trade: Annotated[
        str,
        typer.Option(
            metavar="C:N", help="Trade N of container C, as in the table trades.", show_default=False
        ),
    ] = "",
    metric: Annotated[str, typer.Option(metavar="NAME", help="A metric.", show_default=False)] = "",
    container: Annotated[
        int | None,
        typer.Option(help="The metric's container. [default: the phase's best]", show_default=False),
    ] = None,
    trades: Annotated[int, typer.Option(min=0, help="How many trades of a metric to show.")] = 2,
    as_json: Json = False,
) -> None:
    """Walk an event, a trade or a metric back to the bars that caused it.

    Features are computed anew, and shown with their inputs at the bar and at the one before. With --json, a
    tree of {"address", "title", "values": {...}, "causes": [...]}.
    """
    from ...domain.errors import ConfigurationError
    from ..audit.account_explanation import explain_metric, explain_trade
    from ..audit.explanation import explain as explain_event
    from ..monitoring.run_list import find_stream
    from .catalog import metric_formulas
    from .console import show, show_json
    from .screens import explanation_screen

    part, _, number = ("", "", "") if trade or metric else event.rpartition("#")
    if [bool(part), bool(trade), bool(metric)].count(True) != 1:
        raise ConfigurationError(
            "give one of RUN/PHASE#N, RUN/PHASE --trade C:N and RUN/PHASE --metric NAME."
        )
    with context.obj.workspace() as workspace:
        store, stream = workspace.store, find_stream(workspace, part or event)
        if trade:
            explanation = explain_trade(store, stream, *_trade(trade))
        elif metric:
            formulas = metric_formulas(metric)
            explanation = explain_metric(
                store, stream, metric, container=container, formulas=formulas, trades=trades
            )
        else:
            explanation = explain_event(store, f"{stream}#{number}")
    if as_json:
        show_json(explanation)
    else:
        show(explanation_screen(explanation))


def _trade(text: str) -> tuple[int, int]:
    from ...domain.errors import ConfigurationError

    container, _, number = text.partition(":")
    if not (container.isdecimal() and number.isdecimal()):
        raise ConfigurationError(f"a trade is written as CONTAINER:NUMBER, as in 3:1; was {text!r}.")
    return int(container), int(number)
