"""Whatever may be wrong with a user's strategy is refused with the place, what was found and a remedy."""

import pytest
from admf.domain.errors import ConfigurationError, StrategyError, UnknownNameError

GOOD = {"data_file": "walk.csv", "workflow": "backtest"}


@pytest.mark.parametrize(
    ("text", "kind", "error", "fragments"),
    [
        (
            None,
            "mine.py:up",
            ConfigurationError,
            ["strategies[0].type: there is no strategy file 'mine.py' in "],
        ),
        ("def up(close):\n    return close", "mine.py:upp", UnknownNameError, ["mine.py", "Did you mean up"]),
        ("up = 5", "mine.py:up", UnknownNameError, ["function in mine.py 'up'", "Known: none"]),
        ("import nothing_there", "mine.py:up", StrategyError, ["mine.py raised ModuleNotFoundError"]),
        ("def up(close:", "mine.py:up", StrategyError, ["mine.py raised SyntaxError", "line 1"]),
        (
            "def up(close, size):\n    return close",
            "mine.py:up",
            ConfigurationError,
            ["'size'", "a default value"],
        ),
        ("def up(close):\n    return close", "mine.txt:up", ConfigurationError, ["must be a Python file"]),
    ],
)
def test_a_wrong_strategy_file_is_refused_before_anything_is_logged(
    refusal, coordinator, folder, text, kind, error, fragments
):
    if text is not None:
        (folder / kind.partition(":")[0]).write_text(text)
    message = refusal(GOOD | {"strategy": kind}, error)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert coordinator.workspace.store.last_position() == 0


@pytest.mark.parametrize(
    ("body", "fragments"),
    [
        ("raise KeyError('x')", ["strategy 'up' raised KeyError: 'x'", "its parameters were {'size': 1.0}"]),
        (
            "return close[:-1] / 1e9",
            ["'up' must return one target exposure for each of the 300 bars", "(299,)"],
        ),
        ("return 'text'", ["strategy 'up' must return an array of numbers", "str"]),
        ("return None", ["strategy 'up' must return"]),
        ("return close", ["strategy 'up'", "must lie in [-1, 1]", "at bar 0 (2000-01-03)"]),
    ],
)
def test_a_strategy_that_misbehaves_fails_the_run(refusal, coordinator, folder, verified, body, fragments):
    (folder / "mine.py").write_text(f"def up(close, size=1.0):\n    {body}\n")
    message = refusal(GOOD | {"strategy": "mine.py:up"}, StrategyError)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    store = coordinator.workspace.store
    streams = {recorded.stream for recorded in store.read_all()}
    assert len(streams) == 3
    for stream in streams:
        assert verified(store, stream) == store.head(stream)
