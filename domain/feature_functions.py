"""The registry of features: how each is computed, from which columns of bars, with which parameters."""

from collections.abc import Callable, Mapping

import msgspec

from .events import Float64
from .registry import Registry

LARGEST = 100_000
"""The largest period, and the largest value of any other parameter; TA-Lib accepts no longer period."""


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a feature: whole where its usual value is.

    Attributes
    ----------
    usual
        The value that most people take; it is a suggestion, never a default.
    minimum, maximum
        Bounds, both included.
    """

    usual: int | float
    minimum: int | float
    maximum: int | float = LARGEST

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are accepted, as they are for a number of bars."""
        return isinstance(self.usual, int)


class FeatureFunction(msgspec.Struct, frozen=True, kw_only=True):
    """How a feature is computed.

    Attributes
    ----------
    function
        Takes the columns of `inputs` and then the parameters, all by position and in the order given here;
        returns one value per bar, of which those at bars before t never depend on bars from t on.
    inputs
        Columns of bars: those of `SERIES`, ``time``, and ``session``, which tells their sessions apart.
    parameters
        By name.
    unit
        Of its values: ``price``, ``fraction`` (0.01 is 1 %), ``percent``, ``bars``, ...
    group
        Of its kind, for lists.
    description
        One sentence.
    """

    function: Callable[..., Float64]
    inputs: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    unit: str
    group: str
    description: str


FEATURES: Registry[FeatureFunction] = Registry("feature")


class Row(msgspec.Struct, frozen=True):
    """A feature in a table: ``name | source | columns | parameters | unit``, and below it the description.

    Columns are divided by blanks. So are parameters, each written ``name=usual:minimum`` or
    ``name=usual:minimum:maximum``; a number without a name is an argument that is always the same.
    The source says what computes it, in the words of the module that holds the table.
    """

    name: str
    source: str
    inputs: tuple[str, ...]
    parameters: dict[str, Parameter]
    arguments: tuple[str | int | float, ...]
    unit: str
    description: str


def table_rows(table: str) -> list[Row]:
    r"""Read a table of features, two lines each.

    Examples
    --------
    >>> [row] = table_rows("sma | SMA | close | period=20:1 | price\n  Simple moving average.")
    >>> row.parameters
    {'period': Parameter(usual=20, minimum=1, maximum=100000)}
    """
    lines = table.strip().splitlines()
    return [_row(head, text.strip()) for head, text in zip(lines[::2], lines[1::2], strict=True)]


def _row(head: str, description: str) -> Row:
    name, source, inputs, said, unit = (cell.strip() for cell in head.split("|"))
    parameters: dict[str, Parameter] = {}
    arguments: list[str | int | float] = []
    for word in said.split():
        named, equals, values = word.rpartition("=")
        numbers = [float(value) if "." in value else int(value) for value in values.split(":")]
        if equals:
            parameters[named] = Parameter(*numbers)
        arguments.append(named if equals else numbers[0])
    return Row(name, source, tuple(inputs.split()), parameters, tuple(arguments), unit, description)


def register_row(row: Row, function: Callable[..., Float64], group: str) -> None:
    """Register the feature of a row."""
    definition = FeatureFunction(
        function=function,
        inputs=row.inputs,
        parameters=row.parameters,
        unit=row.unit,
        group=group,
        description=row.description,
    )
    FEATURES.register(row.name, definition)
