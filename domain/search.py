"""Search spaces: which parameters a study tries, under which constraints, and which trial is best.

A space maps qualified parameters, such as ``cross.fast``, to the values to try, or to a `Range` of them.
"""

import ast
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigurationError, UnknownNameError
from .events import Bool, Column, Float64, Scalar
from .search_space import Range, Space, column_of

Operand = NDArray[np.generic]

_COMPARISONS: dict[type[ast.cmpop], np.ufunc] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ARITHMETIC: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
}


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


def satisfied(constraint: str, values: Mapping[str, Column | Scalar], where: str = "") -> Bool:
    """Evaluate a constraint, such as ``cross.fast < cross.slow``, for all rows of the columns it names.

    Comparisons, ``and``, ``or``, ``not``, arithmetic, numbers, strings and parameters may be used.

    Parameters
    ----------
    constraint
        The expression.
    values
        Columns of shape (n,), or single values, by parameter.
    where
        Path of the constraint in its configuration, for messages.

    Raises
    ------
    ConfigurationError
        The text is not such an expression, or compares text with numbers.
    UnknownNameError
        It names something that is not in ``values``.
    """
    try:
        tree = ast.parse(constraint, mode="eval")
        return _evaluate(tree.body, values, where).astype(np.bool_)
    except (SyntaxError, TypeError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{where + ': ' if where else ''}the constraint {constraint!r} must compare parameters and "
            f"numbers, as in 'cross.fast < cross.slow' ({error})."
        ) from error


def _evaluate(node: ast.expr, values: Mapping[str, Column | Scalar], where: str) -> Operand:
    result: Operand
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            result = np.asarray(value)
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if name not in values:
                raise UnknownNameError("parameter", name, values, where)
            result = np.asarray(values[name])
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_evaluate(side, values, where) for side in (left, *comparators)]
            pairs = zip(ops, sides[:-1], sides[1:], strict=True)
            result = np.logical_and.reduce([_COMPARISONS[type(op)](a, b) for op, a, b in pairs])
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            result = join.reduce(np.broadcast_arrays(*(_evaluate(part, values, where) for part in parts)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            result = np.logical_not(_evaluate(operand, values, where))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = np.negative(_evaluate(operand, values, where))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            result = _ARITHMETIC[type(op)](_evaluate(left, values, where), _evaluate(right, values, where))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} can't be used here")
    return result


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
