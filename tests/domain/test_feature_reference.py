"""docs/features.md, as the registry describes itself, and the registry against TA-Lib's own description.

Run this file to write the document anew.
"""

from itertools import groupby
from pathlib import Path
from textwrap import fill

import numpy as np
import pytest
import talib
from admf.domain.bars import DAY, MINUTE, checked_bars
from admf.domain.candlesticks import PATTERNS
from admf.domain.events import BarsLoaded
from admf.domain.feature_functions import table_rows
from admf.domain.features import FEATURES, compute_feature, feature
from admf.domain.indicators import GROUPS
from admf.domain.strategies import STRATEGIES
from talib.abstract import Function

REFERENCE = Path(__file__).parents[2] / "docs" / "features.md"
REMEDY = "docs/features.md is out of date: run `python tests/domain/test_feature_reference.py`"
ORDER = [*GROUPS, "session", "candlestick patterns"]
INTRODUCTION = """# Features

Written by `python tests/domain/test_feature_reference.py` from the registry.

A feature is an array derived from bars, one value a bar. A strategy asks for it by name, with all of its
parameters; a text names the parameter of the strategy that holds the value:

```python
from admf import feature, strategy


@strategy(
    features={
        "strength": feature("adx", period=14),
        "line": feature("macd", fast="fast", slow="slow"),
        "signal": feature("macd_signal", fast="fast", slow="slow", signal=9),
    },
    parameters={"fast": 12, "slow": 26, "threshold": 25.0},
)
def trending_macd(strength, line, signal, threshold):
    return ((line > signal) & (strength > threshold)).astype(float)
```

Each distinct feature, a name with its parameters, is computed once for all the containers of a phase. Rules:

- The value at bar *t* depends on bars up to *t*, and on nothing else. A test computes every feature over bars
  that differ from *t* on, and over the bars before *t* alone: the values before *t* have the same bits.
- During its warm-up a feature is NaN; from then on it has a finite value at every bar, in whatever market,
  also where prices do not move and where nothing is traded. The warm-up below is that of the values shown, in
  bars; the values shown are usual ones, not defaults.
- Averages that go on from their last value (`ema`, `rma`, `rsi`, `average_true_range`, `adx`, `macd`, `trix`)
  start with the plain mean of their first window and forget it only gradually. Sums and stops "from the first
  bar on" never forget where the bars begin. `admf check` says how a strategy depends on that.
- `period`, `fast`, `slow`, `signal` and the like count bars and are whole numbers.
{swapped}
- A session is that of `data.calendar`, and a day in UTC without one; its open is its first bar. Bars
  count as dated by their beginning.
- Volatilities are per bar: times the square root of the bars per year, they are annual.
- In the column *unit*, `fraction` is 0.01 for 1 %, `sign` is -1, 0 or 1, and `flag` is 0 or 1.
"""
SWAPPED = (
    *("macd", "macd_signal", "macd_histogram", "coppock_curve", "ultimate_oscillator"),
    *("absolute_price_oscillator", "percentage_price_oscillator", "percentage_volume_oscillator"),
)
"""Features that take the shorter of two periods as the fast one."""
LEFT_OUT = {
    "the same under another name, or a multiple of it": (
        "BBANDS MA MACDEXT MACDFIX MAX MIN MINMAX ROC ROCR ROCR100 STOCHF"
    ),
    "replaced by code of our own, which has a value also where nothing is traded": "RVOL VWAP VWMA",
    "arithmetic, which a strategy does with NumPy": (
        "ADD SUB MULT DIV SUM CUMSUM ACOS ASIN ATAN CEIL COS COSH EXP FLOOR LN LOG10 SIN SINH SQRT TAN TANH"
    ),
    "an index into the bars, which means nothing by itself": "MAXINDEX MININDEX MINMAXINDEX",
    "needs a second series": "BETA MAVP",
    "eight parameters for what `parabolic_sar` does with two": "SAREXT",
}
"""Functions of TA-Lib that are no features, by reason."""
STRICTER = {"variance", "price_volume_correlation"}
"""Features whose least period is more than TA-Lib's, which would be zero throughout."""
OTHER_COLUMNS = {"price_volume_correlation", "average_volume"}
"""Features of other columns than those that TA-Lib suggests."""
ROWS = [row for table in GROUPS.values() for row in table_rows(table)]


def random_bars(size=400):
    random = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, size)))
    columns = BarsLoaded(
        time=np.arange(size) // 100 * DAY + np.arange(size) % 100 * MINUTE,
        open=close,
        high=close * (1 + random.exponential(0.004, size)),
        low=close * (1 - random.exponential(0.004, size)),
        close=close,
        volume=np.round(random.lognormal(8, 1, size)),
    )
    return checked_bars(columns, symbol="TEST", timeframe="1m", source="test")


def usual(name):
    return {key: parameter.usual for key, parameter in FEATURES.get(name).parameters.items()}


def warm_up_of(name, parameters, bars):
    return int(np.isnan(compute_feature(feature(name, **parameters).fill({}), bars)).sum())


def reference() -> str:
    """Describe all features, group by group."""
    bars = random_bars()
    swapped = (
        "Where `fast` is longer than `slow`, the two change places in "
        f"{', '.join(f'`{name}`' for name in SWAPPED)}; all others take them as they are."
    )
    wrapped = fill(swapped, 110, initial_indent="- ", subsequent_indent="  ")
    parts = [INTRODUCTION.replace("{swapped}", wrapped)]
    names = sorted(FEATURES, key=lambda name: ORDER.index(FEATURES.get(name).group))
    for group, members in groupby(names, key=lambda name: FEATURES.get(name).group):
        lines = [
            f"## {group.capitalize()}",
            "",
            "| feature | of | unit | warm-up | |",
            "|---|---|---|---|---|",
        ]
        for name in members:
            found = FEATURES.get(name)
            said = ", ".join(f"{key}={value}" for key, value in usual(name).items())
            length = "1 session" if name.startswith("previous_") else str(warm_up_of(name, usual(name), bars))
            cells = (f"`{name}({said})`", ", ".join(found.inputs), found.unit, length, found.description)
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    lines = ["## Left out", "", "Functions of TA-Lib that are no features, and why:", ""]
    lines += [
        f"- {reason}: {', '.join(f'`{name}`' for name in names.split())}"
        for reason, names in LEFT_OUT.items()
    ]
    parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def test_the_reference_is_up_to_date():
    assert REFERENCE.read_text() == reference(), REMEDY


@pytest.mark.parametrize(
    "name", [name for name in FEATURES if {"fast", "slow"} <= set(FEATURES.get(name).parameters)]
)
def test_the_shorter_period_is_the_fast_one_where_the_reference_says_so(name):
    bars = random_bars()
    values = usual(name)
    swapped = values | {"fast": values["slow"], "slow": values["fast"]}
    first, second = (compute_feature(feature(name, **each).fill({}), bars) for each in (values, swapped))
    assert np.array_equal(first, second, equal_nan=True) == (name in SWAPPED)


def test_the_example_of_the_reference_runs(monkeypatch):
    monkeypatch.setattr(STRATEGIES, "_components", dict(STRATEGIES._components))
    code = INTRODUCTION.partition("```python\n")[2].partition("```")[0]
    made = {}
    exec(compile(code, str(REFERENCE), "exec"), made)
    strategy = made["trending_macd"]
    values = {
        key: compute_feature(spec, random_bars()) for key, spec in strategy.needs(strategy.parameters).items()
    }
    targets = strategy.function(**values, threshold=strategy.parameters["threshold"])
    assert set(targets) == {0.0, 1.0}


def test_each_function_of_talib_is_a_feature_or_left_out_for_a_reason():
    patterns = {f"CDL{line.split()[1]}" for line in PATTERNS.strip().splitlines()}
    offered = {row.source.partition(".")[0] for row in ROWS} | patterns
    left_out = {name for names in LEFT_OUT.values() for name in names.split()}
    assert offered & left_out == set()
    assert offered | left_out == set(talib.get_functions())


def test_no_feature_is_listed_twice():
    listed = [row.name for row in ROWS] + [line.split()[0] for line in PATTERNS.strip().splitlines()]
    assert len(listed) == len(set(listed))


def suggested(described):
    columns = []
    for column in described.input_names.values():
        columns += [column] if isinstance(column, str) else column
    return tuple(columns)


def described(row, values):
    """Describe TA-Lib's function with the arguments that a feature gives it."""
    function = Function(row.source.partition(".")[0])
    arguments = [values[each] if isinstance(each, str) else each for each in row.arguments]
    keys = list(function.parameters)[: len(arguments)]
    function.parameters = dict(zip(keys, arguments, strict=True))
    return function


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_feature_is_described_as_talib_describes_it(row):
    known = described(row, usual(row.name))
    if row.name not in OTHER_COLUMNS:
        assert row.inputs == suggested(known)
    assert bool(row.source.partition(".")[2]) == (len(known.output_names) > 1)
    rest = list(known.parameters)[len(row.arguments) :]
    assert rest in ([], ["nbdev"]), "a parameter that TA-Lib would choose"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_warm_up_of_a_feature_is_the_one_that_talib_states(row):
    bars = random_bars()
    least = {key: each.minimum for key, each in row.parameters.items()}
    between = {key: min(each.minimum + 4, each.maximum) for key, each in row.parameters.items()}
    for values in (usual(row.name), least, between):
        assert warm_up_of(row.name, values, bars) == described(row, values).lookback


@pytest.mark.parametrize(
    ("row", "key"),
    [
        pytest.param(row, key, id=f"{row.name}-{key}")
        for row in ROWS
        if row.name not in STRICTER
        for key in row.parameters
        if key != "width"
    ],
)
def test_the_bounds_of_a_parameter_are_those_of_talib(row, key):
    """Only a width may be negative for TA-Lib: the upper band would be the lower one."""
    bars = random_bars(50)
    columns = [getattr(bars, name) for name in row.inputs]
    parameter = row.parameters[key]
    step = 1 if parameter.whole else 0.005

    def call(value):
        values = usual(row.name) | {key: value}
        arguments = [values[each] if isinstance(each, str) else each for each in row.arguments]
        getattr(talib, row.source.partition(".")[0])(*columns, *arguments)

    call(parameter.minimum)
    with pytest.raises(Exception, match="Bad Parameter"):
        call(parameter.minimum - step)
    if parameter.whole or parameter.maximum <= 100:
        call(parameter.maximum)
        with pytest.raises(Exception, match="Bad Parameter"):
            call(parameter.maximum + step)


if __name__ == "__main__":
    REFERENCE.write_text(reference())
