"""Expressions over named values, such as ``cross.fast < cross.slow``: evaluated without running any code.

Comparisons, ``and``, ``or``, ``not``, arithmetic, numbers, strings and names, which may have dots, may be
used; nothing else can be.
"""

import ast
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigurationError, UnknownNameError
from .events import Bool, Column, Float64, Scalar

Operand = NDArray[np.generic]
Values = Mapping[str, Column | Scalar]

_COMPARISONS: dict[type[ast.cmpop], np.ufunc] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_BY_SIZE = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
LEAST_BREACH = 1e-9
"""Of a constraint that is failed by nothing, as 3 fails to be less than 3."""
_ARITHMETIC: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
}


def satisfied(constraint: str, values: Values, where: str = "", kind: str = "parameter") -> Bool:
    """Evaluate a constraint, such as ``cross.fast < cross.slow``, for all rows of the columns it names.

    Parameters
    ----------
    constraint
        The expression.
    values
        Columns of shape (n,), or single values, by name.
    where
        Path of the constraint in its configuration, for messages.
    kind
        What a name stands for, for messages.

    Raises
    ------
    ConfigurationError
        The text is not such an expression, or compares text with numbers.
    UnknownNameError
        It names something that is not in ``values``.
    """
    try:
        return _evaluate(_parsed(constraint), values, where, kind).astype(np.bool_)
    except (SyntaxError, TypeError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{where + ': ' if where else ''}the constraint {constraint!r} must compare {kind}s and "
            f"numbers, as in 'cross.fast < cross.slow' ({error})."
        ) from error


def breach(constraint: str, values: Values) -> Float64:
    """Return by how much each row fails a constraint that `satisfied` accepts: 0 for not at all, up to 1.

    Where two numbers are compared by size, that is their distance, relative to the sum of their sizes. It is
    1 where one of them is undefined, and for all other expressions.
    """
    failed = ~satisfied(constraint, values)
    tree = _parsed(constraint)
    if not (isinstance(tree, ast.Compare) and len(tree.ops) == 1 and isinstance(tree.ops[0], _BY_SIZE)):
        return failed.astype(np.float64)
    left, right = (
        np.asarray(_evaluate(side, values, "", ""), np.float64) for side in (tree.left, *tree.comparators)
    )
    size = np.abs(left) + np.abs(right)
    apart = np.abs(left - right) / np.where(size > 0.0, size, 1.0)
    return np.where(failed, np.clip(np.where(np.isnan(apart), 1.0, apart), LEAST_BREACH, 1.0), 0.0)


def calculated(expression: str, values: Mapping[str, Scalar], where: str = "") -> Scalar:
    """Evaluate an expression over single values, such as ``training.best.parameters.cross.fast // 2``.

    Raises
    ------
    ConfigurationError
        The text is not such an expression, or has no value.
    UnknownNameError
        It names something that is not in ``values``.
    """
    try:
        result: Scalar = _evaluate(_parsed(expression), values, where, "value").item()
    except (SyntaxError, TypeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{where}: {expression!r} can't be calculated ({error}).") from error
    return result


def names_in(expression: str, where: str = "") -> tuple[str, ...]:
    """Return the names that an expression uses, each once, in their order.

    Raises
    ------
    ConfigurationError
        The text is not an expression.
    """
    try:
        found = dict.fromkeys(_names(_parsed(expression)))
    except SyntaxError as error:
        raise ConfigurationError(f"{where}: {expression!r} is not an expression ({error}).") from error
    return tuple(found)


def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression.strip(), mode="eval").body


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        return [ast.unparse(node)]
    return [name for child in ast.iter_child_nodes(node) for name in _names(child)]


def _evaluate(node: ast.expr, values: Values, where: str, kind: str) -> Operand:
    def value(inner: ast.expr) -> Operand:
        return _evaluate(inner, values, where, kind)

    result: Operand
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            result = np.asarray(constant)
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            if name not in values:
                raise UnknownNameError(kind, name, values, where)
            result = np.asarray(values[name])
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [value(side) for side in (left, *comparators)]
            pairs = zip(ops, sides[:-1], sides[1:], strict=True)
            result = np.logical_and.reduce([_COMPARISONS[type(op)](a, b) for op, a, b in pairs])
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            result = join.reduce(np.broadcast_arrays(*(value(part) for part in parts)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            result = np.logical_not(value(operand))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = np.negative(value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            result = _ARITHMETIC[type(op)](value(left), value(right))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} can't be used here")
    return result
