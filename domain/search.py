"""Search spaces: which parameters a study tries, and which trial is best.

A space maps qualified parameters, such as ``cross.fast``, to the values to try, or to a `Range` of them.
"""

import numpy as np

from .errors import ConfigurationError
from .events import Column, Float64
from .search_space import Range, Space, column_of


def grid(space: Space) -> dict[str, Column]:
    """Return every combination of the values of a space, in columns of shape (n_combinations,).

    Parameters are ordered by name and the last one varies fastest, so the order of the keys of ``space`` does
    not matter. A parameter is whole only if all its values are. An empty space has no columns.

    Raises
    ------
    ConfigurationError
        A parameter has no values, values of kinds that can't be compared, or a continuous range.
    """
    names = sorted(space)
    if not names:
        return {}
    columns = [
        column_of(name, values.values(name) if isinstance(values := space[name], Range) else values)
        for name in names
    ]
    indices = np.indices([column.size for column in columns]).reshape(len(columns), -1)
    return {name: column[index] for name, column, index in zip(names, columns, indices, strict=True)}


def best_row(values: Float64, direction: str) -> int:
    """Return the row of the best value, the first one among equals; rows that are NaN are never best.

    Raises
    ------
    ConfigurationError
        Every value is NaN.
    """
    if np.isnan(values).all():
        raise ConfigurationError(
            f"the objective is undefined in all {values.size} trials, since none of them traded enough to "
            "measure it; choose another objective, wider parameters or more bars."
        )
    return int(np.nanargmax(values) if direction == "maximize" else np.nanargmin(values))
