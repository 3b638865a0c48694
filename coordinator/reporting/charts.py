"""Charts of what came of a phase, drawn with the library ``plotly``, which is an extra."""

from calendar import month_abbr
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

if TYPE_CHECKING:
    from ...domain.events import Fold, Int64
    from ...domain.outputs import Member

POINTS = 4_000
"""Points that a line is thinned to."""
UP, DOWN, QUIET = "#2a7f62", "#b3423a", "#8a8f98"
COLOURS = ("#2f6690", "#c8803a", "#6a8d3b", "#8a5a9e", "#b3423a", "#4a9a9a")
DIVERGING = [[0.0, DOWN], [0.5, "#f4f4f2"], [1.0, UP]]


def equity_chart(curve: pd.DataFrame) -> go.Figure:
    """Draw the equity of a container over time, what holding its symbol had made of it, and its drawdown.

    Parameters
    ----------
    curve
        Columns ``time``, ``equity``, ``close`` and ``drawdown`` of the table `equity`; without a close, as in
        an account of several symbols, there is nothing to hold.
    """
    shown = curve.iloc[thinned(curve["equity"].to_numpy(np.float64))]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.04)
    close = shown["close"].astype(np.float64)
    if close.notna().all():
        held = close * (float(shown["equity"].iloc[0]) / float(close.iloc[0]))
        figure.add_trace(_line(shown["time"], held, "buy and hold", QUIET), row=1, col=1)
    figure.add_trace(_line(shown["time"], shown["equity"], "equity", COLOURS[0]), row=1, col=1)
    depth = _line(shown["time"], -shown["drawdown"], "drawdown", DOWN).update(fill="tozeroy")
    figure.add_trace(depth, row=2, col=1)
    figure.update_yaxes(title="equity", row=1)
    figure.update_yaxes(title="drawdown", tickformat=".0%", row=2)
    return _styled(figure, "Equity", 420)


def returns_chart(months: pd.DataFrame) -> go.Figure:
    """Draw the returns of months, a row per year, as `PhaseResult.monthly_returns` gives them."""
    values = months.to_numpy(np.float64)
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    cells = go.Heatmap(
        z=values,
        x=list(month_abbr[1:]),
        y=[str(year) for year in months.index],
        zmin=-most,
        zmax=most,
        colorscale=DIVERGING,
        texttemplate="%{z:.1%}",
        hovertemplate="%{x} %{y}: %{z:.2%}<extra></extra>",
        showscale=False,
    )
    figure = go.Figure(cells)
    figure.update_yaxes(autorange="reversed")
    return _styled(figure, "Returns by month", 90 + 22 * len(months))


def parameter_chart(trials: pd.DataFrame, names: Sequence[str], objective: str) -> go.Figure:
    """Draw an objective over the parameters that vary: a line, a map of two, or parallel axes of more."""
    if len(names) == 1:
        means = trials.groupby(names[0])[objective].mean()
        figure = go.Figure(go.Scatter(x=means.index, y=means, mode="lines+markers", line_color=COLOURS[0]))
        figure.update_xaxes(title=names[0])
        figure.update_yaxes(title=objective)
    elif len(names) == 2:
        table = trials.pivot_table(index=names[1], columns=names[0], values=objective)
        x, y = (pd.Index(axis).astype(str) for axis in (table.columns, table.index))
        figure = go.Figure(go.Heatmap(z=table, x=x, y=y, colorscale="Viridis", colorbar_title=objective))
        figure.update_xaxes(title=names[0], type="category")
        figure.update_yaxes(title=names[1], type="category")
    else:
        ranked = trials.dropna(subset=[objective]).nlargest(POINTS, objective)
        axes = [_axis(ranked[name]) for name in (*names, objective)]
        figure = go.Figure(
            go.Parcoords(dimensions=axes, line={"color": ranked[objective], "colorscale": "Viridis"})
        )
    return _styled(figure, f"{objective} by parameters", 420)


def front_chart(trials: pd.DataFrame, front: Sequence[int], objectives: Sequence[str]) -> go.Figure:
    """Draw the trials over two objectives, with the containers of the front apart."""
    figure = go.Figure()
    is_front = trials["container"].isin(front)
    for name, rows, colour in (("trials", ~is_front, QUIET), ("front", is_front, COLOURS[1])):
        points = trials[rows]
        figure.add_trace(
            go.Scatter(
                x=points[objectives[0]],
                y=points[objectives[1]],
                text=points["container"],
                mode="markers",
                name=name,
                marker_color=colour,
                hovertemplate="container %{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
            )
        )
    figure.update_xaxes(title=objectives[0])
    figure.update_yaxes(title=objectives[1])
    return _styled(figure, "Front", 420)


def fold_chart(folds: Sequence["Fold"], objective: str) -> go.Figure:
    """Draw an objective fold by fold, out of sample, and in sample where something was optimized."""
    days = [fold.test_start[: len("2000-01-01")] for fold in folds]
    if len(set(days)) < len(days):  # splits of a cross-validation test the same bars
        days = [str(number) for number in range(1, len(folds) + 1)]
    figure = go.Figure()
    inside = [fold.best.metrics[objective] if fold.best else None for fold in folds]
    if any(value is not None for value in inside):
        figure.add_trace(go.Bar(x=days, y=inside, name="in sample", marker_color=QUIET))
    outside = [fold.test.metrics[objective] for fold in folds]
    figure.add_trace(go.Bar(x=days, y=outside, name="out of sample", marker_color=COLOURS[0]))
    figure.update_xaxes(title="fold", type="category")
    figure.update_yaxes(title=objective)
    return _styled(figure, "Folds", 320)


def path_chart(curves: Sequence[pd.DataFrame]) -> go.Figure:
    """Draw the equity of the paths of a cross-validation, each a table as for `equity_chart`."""
    figure = go.Figure()
    for number, curve in enumerate(curves, start=1):
        shown = curve.iloc[thinned(curve["equity"].to_numpy(np.float64), POINTS // 4)]
        colour = COLOURS[(number - 1) % len(COLOURS)]
        figure.add_trace(_line(shown["time"], shown["equity"], f"path {number}", colour))
    figure.update_yaxes(title="equity")
    return _styled(figure, "Paths, all out of sample", 360)


def weight_chart(members: Sequence["Member"]) -> go.Figure:
    """Draw the weights of an ensemble's members, as a bar for each regime where they differ."""
    regimes = list(members[0].regimes) or ["all"]
    figure = go.Figure()
    for number, member in enumerate(members):
        weights = list(member.regimes.values()) or [member.weight]
        parameters = ", ".join(f"{name}={value}" for name, value in member.parameters.items())
        figure.add_trace(
            go.Bar(
                y=regimes,
                x=weights,
                name=member.name,
                orientation="h",
                marker_color=COLOURS[number % len(COLOURS)],
                hovertemplate=f"{member.name}: %{{x:.1%}}<br>{parameters}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(tickformat=".0%")
    return _styled(figure, "Weights", 160 + 40 * len(regimes))


def excursion_chart(trades: pd.DataFrame) -> go.Figure:
    """Draw how far prices went against and in favour of each trade."""
    figure = go.Figure()
    for name, rows, colour in (
        ("gains", trades["pnl"] > 0, UP),
        ("losses", trades["pnl"] <= 0, DOWN),
    ):
        points = trades[rows].head(POINTS)
        figure.add_trace(
            go.Scatter(
                x=points["mae"],
                y=points["mfe"],
                text=points["number"],
                mode="markers",
                name=name,
                marker={"color": colour, "opacity": 0.6},
                hovertemplate="trade %{text}<br>against %{x:.2%}, in favour %{y:.2%}<extra></extra>",
            )
        )
    figure.update_xaxes(title="maximum adverse excursion", tickformat=".0%")
    figure.update_yaxes(title="maximum favorable excursion", tickformat=".0%")
    return _styled(figure, "Trades", 380)


def regime_chart(regimes: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """Draw the closes of a symbol, bar by bar in the colour of the regime that was known at each.

    Parameters
    ----------
    regimes
        Columns ``time``, ``close`` and ``name``.
    names
        Names of the regimes, in the order of their numbers.
    """
    shown = regimes.iloc[thinned(regimes["close"].to_numpy(np.float64))]
    figure = go.Figure()
    for number, name in enumerate(names):
        points = shown[shown["name"] == name]
        colour = COLOURS[number % len(COLOURS)]
        marker = {"color": colour, "size": 3}
        figure.add_trace(
            go.Scattergl(x=points["time"], y=points["close"], mode="markers", name=name, marker=marker)
        )
    figure.update_yaxes(title="close")
    return _styled(figure, "Regimes", 360)


def thinned(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", points: int = POINTS) -> "Int64":
    """Return the places to draw of a long line: of each stretch the lowest and the highest value.

    Parameters
    ----------
    values
        What is drawn, shape (n,); NaN counts as lowest.
    points
        How many places at most, but for the first and the last one.

    Returns
    -------
    numpy.ndarray
        Places in ascending order; all of them where there are no more than `points`.
    """
    count = values.size
    if count <= points:
        return np.arange(count)
    edges = np.linspace(0, count, points // 2 + 1).astype(np.int64)
    places = {0, count - 1}
    for first, stop in pairwise(edges.tolist()):
        places |= {first + int(np.argmin(values[first:stop])), first + int(np.argmax(values[first:stop]))}
    return np.array(sorted(places))


def _line(x: pd.Series, y: pd.Series, name: str, colour: str) -> go.Scatter:
    return go.Scatter(x=x, y=y, name=name, mode="lines", line={"color": colour, "width": 1.5})


def _axis(column: pd.Series) -> dict[str, object]:
    """Return an axis for a column; what is no number is placed by its rank, and named there."""
    if column.dtype.kind in "iuf":
        return {"label": str(column.name), "values": column}
    places, names = pd.factorize(column, sort=True)
    return {"label": str(column.name), "values": places, "tickvals": [*range(len(names))], "ticktext": names}


def _is_parallel(figure: go.Figure) -> bool:
    """Whether its axes have their names above them."""
    return any(isinstance(trace, go.Parcoords) for trace in figure.data)


def _styled(figure: go.Figure, title: str, height: int) -> go.Figure:
    return figure.update_layout(
        title=title,
        height=height,
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 80 if _is_parallel(figure) else 50, "b": 40},
        legend={"orientation": "h", "y": 1.08, "x": 1.0, "xanchor": "right"},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
