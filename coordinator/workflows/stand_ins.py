"""What generators of phases are given in the place of results that are not there yet."""

from collections.abc import Sequence
from typing import NoReturn

from ...domain.errors import ConfigurationError, UnknownNameError
from ..configuration.sources import WrittenAsText

PARTS: dict[str, tuple[str, ...]] = {
    "final_results": (),
    "all_trades": (),
    "signal_logs": (),
    "best_params": ("best", "parameters"),
    "optimal_params": ("best", "parameters"),
    "optimal_risk_params": ("best", "parameters"),
    "sharpe": ("metrics", "sharpe_ratio"),
}
"""What the first words mean in an output; trades and signals are where the phase itself is."""


class Condition(WrittenAsText):
    """A comparison of what is not known yet, to be written as ``when`` or ``enabled`` of a phase."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __bool__(self) -> NoReturn:
        raise ConfigurationError(
            f"{self._text}: is not known before the phase has run, so a config_generator can't decide by it; "
            "write it as `when` or 'enabled' of a phase."
        )


class Reference(WrittenAsText):
    """Stands for what a phase will hand on; its attributes and items stand for the parts of that.

    Written into a configuration, ``training.best.parameters["cross.fast"]`` is the text
    ``${training.best.parameters.cross.fast}``; ``training`` itself is the name of the phase. A comparison by
    size is a `Condition`. Nothing else can be computed or decided with it, since the phase has not run; an
    attempt raises `ConfigurationError`. The first words of the design documents stand for their parts, too:
    ``training["best_params"]`` is ``training.best.parameters``.

    Examples
    --------
    >>> training = Reference("training")
    >>> str(training.best.parameters["cross.fast"]), str(training["folds"][0]), str(training)
    ('${training.best.parameters.cross.fast}', '${training.folds.0}', 'training')
    >>> str(training["sharpe"] > 1.0)
    'training.metrics.sharpe_ratio > 1.0'
    """

    __slots__ = ("_phase", "_steps")

    def __init__(self, phase: str, steps: tuple[str, ...] = ()) -> None:
        self._phase = phase
        self._steps = steps

    def __getattr__(self, name: str) -> "Reference":
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | int) -> "Reference":
        step = (str(key),)
        return Reference(self._phase, (*self._steps, *(step if self._steps else PARTS.get(str(key), step))))

    def __str__(self) -> str:
        return "${" + self._path + "}" if self._steps else self._phase

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    @property
    def _path(self) -> str:
        return ".".join((self._phase, *self._steps))

    def _computed(self, *_: object) -> NoReturn:
        raise ConfigurationError(
            f"{self._path}: is not known before the phase {self._phase!r} has run, so a config_generator "
            f"can't compute with it; write an expression, as in '${{{self._path} * 2}}', or a condition as "
            "`when`."
        )

    def __lt__(self, other: object) -> Condition:
        return Condition(f"{self._path} < {_operand(other)}")

    def __le__(self, other: object) -> Condition:
        return Condition(f"{self._path} <= {_operand(other)}")

    def __gt__(self, other: object) -> Condition:
        return Condition(f"{self._path} > {_operand(other)}")

    def __ge__(self, other: object) -> Condition:
        return Condition(f"{self._path} >= {_operand(other)}")

    __bool__ = __iter__ = __len__ = __int__ = __float__ = __index__ = _computed
    __eq__ = __ne__ = __contains__ = _computed
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _computed
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __pow__ = _computed
    __hash__ = object.__hash__


def _operand(other: object) -> str:
    if isinstance(other, Reference):
        return other._path
    if isinstance(other, bool | int | float):
        return repr(other)
    raise ConfigurationError(f"a reference can be compared with numbers and references, was {other!r}.")


class Earlier:
    """The results of all phases before one, for a generator of a phase that depends on none by name.

    ``results["training"]`` is a reference to that phase, and any other key one to a part of what the phase
    just before hands on.
    """

    def __init__(self, phases: Sequence[str], where: str) -> None:
        self._phases = phases
        self._where = where

    def __getitem__(self, key: str) -> Reference:
        if key in self._phases:
            return Reference(key)
        if not self._phases:
            raise UnknownNameError("phase before it", key, (), self._where)
        return Reference(self._phases[-1])[key]
