"""`admf check` finds the faults that are planted here, and none in what ships with the package."""

import json
import sys

import numpy as np
import pytest
from admf.coordinator import cli
from admf.coordinator.audit.strategy_check import check_strategies, spread_points
from admf.coordinator.market.market_data import find_data_file, load_bars
from admf.coordinator.simulation.components import strategy_types
from admf.domain.errors import ConfigurationError, DataError, StrategyError, UnknownNameError
from admf.domain.strategies import STRATEGIES
from typer.testing import CliRunner

HEAD = "import numpy as np\nfrom admf import feature, strategy\n\n"


@pytest.fixture
def bars(folder):
    return load_bars(folder / "walk.csv", "WALK", "1d")


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(STRATEGIES, "_components", dict(STRATEGIES._components))


@pytest.fixture
def check(folder, bars, registry):
    """Check the text of a strategy file, and return what was found at each point of its first strategy."""

    def checked(text, **given):
        (folder / "mine.py").write_text(HEAD + text)
        return check_strategies("mine.py", bars, (folder,), **given)[0]

    return checked


@pytest.fixture
def only(check):
    """Check a strategy that has one fault at its defaults, and return the finding."""

    def found(text):
        [point] = check(text, n_points=1).points
        [finding] = point.findings
        return finding

    return found


def test_a_close_of_the_next_bar_is_found_with_both_bars(only):
    finding = only(
        "def tomorrow(close):\n    return np.where(np.append(close[1:], close[-1]) > close, 1.0, -1.0)\n"
    )
    assert finding.kind == "look-ahead"
    assert finding.cause == finding.bar + 1
    first, later = (str(np.datetime64("2000-01-03") + bar) for bar in (finding.bar, finding.cause))
    assert (finding.time, finding.cause_time) == (first, later)
    assert (
        f"bar {finding.bar} ({first}) depends on bar {finding.cause} ({later}), 1 bar later"
        in finding.message
    )


def test_a_centred_mean_is_found_with_the_last_bar_of_its_window(only):
    finding = only(
        "def smooth(close, width=7):\n"
        "    mean = np.convolve(close, np.ones(width) / width, 'same')\n"
        "    return np.where(close > mean, 1.0, 0.0)\n"
    )
    assert finding.kind == "look-ahead"
    assert 1 <= finding.cause - finding.bar <= 3


def test_a_scale_over_all_bars_is_found(only):
    finding = only("def place(close):\n    return (close - close.min()) / (close.max() - close.min())\n")
    assert finding.kind == "look-ahead"
    assert finding.cause > finding.bar


def test_a_strategy_that_knows_how_many_bars_there_are_is_found(only):
    finding = only(
        "def last_day(close):\n    return np.where(np.arange(close.size) < close.size - 9, 1.0, 0.0)\n"
    )
    assert finding.kind == "look-ahead"
    assert "left out" in finding.message


def test_a_look_ahead_at_few_bars_is_found_where_the_target_changes(only):
    """The strategy trades on one day in sixty, and looks ahead only there."""
    finding = only(
        "def seldom(close):\n"
        "    target = np.full(close.size, np.nan)\n"
        "    for t in range(60, close.size - 2, 60):\n"
        "        target[t] = 1.0 if close[t + 2] > close[t] else -1.0\n"
        "    return target\n"
    )
    assert finding.kind == "look-ahead"
    assert (finding.bar % 60, finding.cause - finding.bar) == (0, 2)


def test_chance_is_found(only):
    finding = only("def dice(close):\n    return np.random.default_rng().random(close.size)\n")
    assert (finding.kind, finding.bar) == ("nondeterminism", 0)
    assert "when it runs again" in finding.message


def test_a_memory_of_earlier_calls_is_found(only):
    finding = only(
        "calls = []\n\ndef count(close):\n    calls.append(1)\n    return close * 0 + 1 / len(calls)\n"
    )
    assert finding.kind == "nondeterminism"


def test_the_order_of_a_set_is_found_in_another_process(only):
    finding = only(
        "def vote(close):\n"
        "    words = {f'rule {n}' for n in range(12)}\n"
        "    return close * 0 + int(list(words)[0][5:]) / 12\n"
    )
    assert finding.kind == "nondeterminism"
    assert "in another process" in finding.message


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("def clean(close):\n    close[5] = 1.0\n    return np.where(close > 50, 1.0, 0.0)\n", "close"),
        (
            "def clean(volume):\n    volume -= volume.mean()\n    return np.sign(volume[0]) + volume * 0\n",
            "volume",
        ),
        (
            "@strategy(features={'mean': feature('sma', period=5)})\n"
            "def clean(close, mean):\n"
            "    np.nan_to_num(mean, copy=False)\n"
            "    return np.where(close > mean, 1.0, 0.0)\n",
            "sma(period=5)",
        ),
        (
            "from admf.domain.compiled import compiled\n\n"
            "@compiled\n"
            "def clean(close):\n"
            "    close[7] = 2.0\n"
            "    return np.ones(close.size)\n",
            "close",
        ),
    ],
)
def test_writing_into_an_argument_is_found_with_its_name(check, text, name):
    [finding, *_] = check(text).points[0].findings
    assert finding.kind == "mutation"
    assert f"it writes into {name}: at bar {finding.bar} (2000-01-" in finding.message


def test_a_sum_from_the_first_bar_on_is_found_as_history(only):
    finding = only(
        "@strategy(features={'flow': feature('on_balance_volume')})\n"
        "def flow(flow):\n"
        "    return np.tanh(flow / 1e4)\n"
    )
    assert finding.kind == "history"
    assert "are left out: at bar" in finding.message


def test_recursive_averages_that_fade_are_not_found(check):
    [point] = check(
        "@strategy(features={'mean': feature('ema', period=20)})\n"
        "def stretch(close, mean):\n"
        "    return np.clip(np.nan_to_num(close / mean - 1), -1, 1)\n"
    ).points
    assert point.findings == ()
    assert point.settles_after is not None
    assert 100 < point.settles_after < 270


def test_averages_that_fade_slowly_are_told_from_those_that_never_do(check):
    [point] = check(
        "@strategy(features={'mean': feature('ema', period=50)})\n"
        "def stretch(close, mean):\n"
        "    return np.clip(np.nan_to_num(close / mean - 1), -1, 1)\n"
    ).points
    assert (point.findings, point.settles_after, point.decays) == ((), None, True)


def test_a_window_matters_for_as_many_bars_as_it_has(check):
    [point] = check(
        "@strategy(features={'mean': feature('sma', period=20)})\n"
        "def above(close, mean):\n"
        "    return np.where(close > mean, 1.0, 0.0)\n"
    ).points
    assert point.findings == ()
    assert point.settles_after == 19


@pytest.mark.parametrize(
    ("body", "kind", "fragment"),
    [
        ("return np.full(close.size, np.nan)", "no opinion", "all of its 300 targets are NaN"),
        (
            "return np.where(close > close[0], 1.5, 0.0)",
            "out of range",
            "its target is 1.5; it must lie in [-1, 1]",
        ),
        ("return np.where(close > close[0], np.inf, 0.0)", "out of range", "its target is inf"),
        ("raise KeyError('x')", "error", "raised KeyError: 'x'"),
        ("return close[:-1]", "error", "one target exposure for each of the 300 bars"),
        (
            "return np.ones(300)[: close.size] if close.size > 280 else None",
            "error",
            "over other bars it fails",
        ),
    ],
)
def test_targets_that_no_phase_accepts_are_found(check, body, kind, fragment):
    found = [
        each for each in check(f"def wrong(close):\n    {body}\n").points[0].findings if each.kind == kind
    ]
    assert len(found) == 1
    assert fragment in found[0].message


def test_a_failure_in_another_process_alone_is_found(check):
    finding = (
        check(
            "import os\n\n"
            "def here(close):\n"
            f"    if os.getpid() != {__import__('os').getpid()}:\n"
            "        raise RuntimeError('not at home')\n"
            "    return np.ones(close.size)\n"
        )
        .points[0]
        .findings
    )
    assert [each.kind for each in finding] == ["error"]
    assert "in another process it failed" in finding[0].message
    assert "not at home" in finding[0].message


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_what_ships_with_the_package_is_clean(name):
    bars = load_bars(find_data_file("sp500.csv"), "SP500", "1d").head(2000)
    [found] = check_strategies(name, bars)
    assert found.strategy == name
    assert [point.findings for point in found.points] == [()] * len(found.points)
    assert len(found.points) > 1


def test_the_defaults_come_first_and_other_points_lie_within_the_constraints():
    points = spread_points(STRATEGIES.get("sma_crossover"), 6)
    assert points[0] == {"fast": 10, "slow": 30}
    assert len(points) == 6
    assert all(point["fast"] < point["slow"] for point in points)
    assert len({tuple(point.values()) for point in points}) == 6
    assert spread_points(STRATEGIES.get("sma_crossover"), 1) == points[:1]


def test_a_fault_at_one_point_of_the_space_is_named_with_its_parameters(check):
    found = check(
        "@strategy(space={'ahead': (0, 1)}, parameters={'ahead': 0})\n"
        "def maybe(close, ahead):\n"
        "    return np.sign(np.roll(close, -ahead) - close.mean() * 0 - np.roll(close, 1))\n"
    )
    kinds = {point.parameters["ahead"]: [each.kind for each in point.findings] for point in found.points}
    assert "look-ahead" in kinds[1]


def test_each_strategy_of_a_file_is_checked(folder, bars, registry):
    (folder / "mine.py").write_text(
        HEAD + "def up(close):\n    return close * 0 + 1\n\n"
        "def _hidden(close):\n    return close\n\n"
        "def needs(close, other):\n    return close\n\n"
        "def down(close, size=1.0):\n    return close * 0 - size\n"
    )
    assert strategy_types("mine.py", (folder,)) == ("mine.py:up", "mine.py:down")
    assert [found.clean for found in check_strategies("mine.py", bars, (folder,))] == [True, True]
    (folder / "more.py").write_text(
        HEAD + "from admf.domain.strategies import momentum\n\n"
        "def scale(close):\n    return close * 0\n\n"
        "@strategy(name='more_of_test')\ndef more(close):\n    return scale(close)\n"
    )
    assert strategy_types("more.py", (folder,)) == ("more.py:more",)


def test_a_source_that_cannot_be_checked_is_refused(folder, bars):
    (folder / "empty.py").write_text("x = 1\n")
    with pytest.raises(ConfigurationError, match=r"empty.py must define a strategy, found none"):
        check_strategies("empty.py", bars, (folder,))
    (folder / "broken.py").write_text("1 / 0\n")
    with pytest.raises(StrategyError, match="ZeroDivisionError"):
        check_strategies("broken.py", bars, (folder,))
    with pytest.raises(UnknownNameError, match="Did you mean momentum"):
        check_strategies("momentun", bars)
    with pytest.raises(DataError, match="at least 100 bars, found 99"):
        check_strategies("momentum", bars.head(99))


def run(*arguments):
    return CliRunner().invoke(cli.app, arguments)


def test_the_command_says_what_was_found_and_exits_with_1(folder):
    (folder / "mine.py").write_text(
        HEAD + "def tomorrow(close, level=0.0):\n"
        "    return np.where(np.append(close[1:], 0) > close, 1.0, level)\n"
    )
    result = run("check", "mine.py", "--data", "walk.csv")
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first == "mine.py:tomorrow  found at 1 of 1 point tried"
    assert second.startswith("  look-ahead  the target at bar ")
    assert second.endswith("  with level=0.0")
    found = json.loads(run("check", "mine.py:tomorrow", "--data", "walk.csv", "--json").stdout)
    [strategy] = found["strategies"]
    assert (found["symbol"], found["bars"]) == ("WALK", 300)
    assert strategy["points"][0]["findings"][0]["kind"] == "look-ahead"


def test_a_fault_that_all_points_share_is_shown_once(folder, registry):
    (folder / "mine.py").write_text(
        HEAD + "@strategy(space={'size': (0.5, 1.0)}, parameters={'size': 0.1}, name='shared_of_test')\n"
        "def last(close, size):\n    return np.full(close.size, np.nan)\n"
    )
    first, second = run("check", "mine.py", "--data", "walk.csv").stdout.splitlines()
    assert first == "mine.py:last  found at 3 of 3 points tried"
    assert second.endswith("it never trades.  with size=0.1 and 2 more")


def test_the_command_exits_with_0_where_nothing_was_found(folder):
    result = run("check", "breakout", "--data", "walk.csv", "--bars", "250", "--points", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("breakout  clean, 2 points tried; what came before matters for ")


def test_a_strategy_that_prints_does_not_disturb_the_check(folder):
    (folder / "mine.py").write_text(HEAD + "def up(close):\n    print('hello')\n    return close * 0 + 1\n")
    assert run("check", "mine.py", "--data", "walk.csv").exit_code == 0
    assert "mine" not in sys.modules
