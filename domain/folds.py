"""Train and test windows for validation out of sample, in the words of scikit-learn and skfolio."""

from typing import Literal, get_args

import msgspec

from .bars import Window
from .errors import ConfigurationError, UnknownNameError

Mode = Literal["rolling", "anchored"]


class FoldWindows(msgspec.Struct, frozen=True):
    """Where one fold trains and where it tests; training ends before testing begins."""

    train: Window
    test: Window


def walk_forward(
    window: Window, *, train_size: int, test_size: int, purge_size: int = 0, mode: Mode = "rolling"
) -> tuple[FoldWindows, ...]:
    """Cut a window into folds that train on the past and test on what follows.

    The test windows are adjacent and of equal size, so that together they are one stretch out of sample; bars
    at the end that do not fill a test window are left out.

    Parameters
    ----------
    window
        The bars to cut.
    train_size, test_size
        Number of bars. With ``anchored``, ``train_size`` is that of the first fold.
    purge_size
        Number of bars left out between training and testing. What is decided in training may reach this many
        bars ahead, such as the horizon of a label.
    mode
        ``rolling`` moves the start of training along, ``anchored`` keeps it at the first bar of the window.

    Raises
    ------
    ConfigurationError
        If a size is out of range, the mode is unknown, or not even one fold fits into the window.
    """
    if mode not in get_args(Mode):
        raise UnknownNameError("walk-forward mode", mode, get_args(Mode))
    _check_size("train_size", train_size, least=1)
    _check_size("test_size", test_size, least=1)
    _check_size("purge_size", purge_size, least=0)
    first_test = window.first + train_size + purge_size
    folds = tuple(
        FoldWindows(
            Window(
                window.first if mode == "anchored" else start - purge_size - train_size, start - purge_size
            ),
            Window(start, start + test_size),
        )
        for start in range(first_test, window.stop - test_size + 1, test_size)
    )
    if not folds:
        raise ConfigurationError(
            f"walk-forward needs {train_size + purge_size + test_size} bars for its first fold (train_size "
            f"{train_size}, purge_size {purge_size}, test_size {test_size}), found {len(window)}. "
            "Choose smaller sizes or a longer period."
        )
    return folds


def _check_size(name: str, size: int, least: int) -> None:
    if size < least:
        raise ConfigurationError(f"{name} must be at least {least}, found {size}. It is a number of bars.")
