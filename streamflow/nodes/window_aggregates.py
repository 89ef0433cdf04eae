"""Reads the aggregates of a window: `percentile(delay, 99)` becomes an aggregate over a checked expression.

The argument is an expression over the input; behind it stand the aggregate's parameters, numbers as literals.
"""

import ast
from typing import NamedTuple

from streamflow.errors import TopologyError
from streamflow.model.expression import Expression
from streamflow.nodes.kind import Lowering
from streamflow.nodes.operators import NamedAggregate
from streamflow.windows.aggregates import AggregateKind, find, hint


class _Call(NamedTuple):
    """`function(argument, *parameters)`; the argument is "" when there is none."""

    function: str
    argument: str
    parameters: tuple[ast.expr, ...]


def aggregate_of(name: str, text: str, lowering: Lowering) -> NamedAggregate | None:
    """The aggregate of a result called `name`; None when something is wrong with it, which is then reported."""
    key = f"aggregate.{name}"
    call = _parse_call(text)
    if call is None:
        lowering.problem(f"{text!r} is not an aggregate", "write count(), average(field) or the like", key)
        return None
    try:
        kind = find(call.function)
    except TopologyError as error:
        for each in error.problems:
            lowering.problem(f"{each.place} {each.message}", each.remedy, key)
        return None
    if kind is None:
        lowering.problem(f"unknown aggregate {call.function!r}", hint(call.function), key)
        return None
    argument = _argument(kind, call, lowering, key)
    given = _parameters(kind, call, lowering, key)
    if given is None or (call.argument and argument is None):
        return None
    if argument is None:
        return NamedAggregate(name, kind.make(None, given), None) if kind.argument == "optional" else None
    if argument.type not in kind.argument_types:
        return None
    return NamedAggregate(name, kind.make(argument.type, given), argument)


def _parse_call(text: str) -> _Call | None:
    """None when the text is no call.

    The argument is written anew from its tree, so that spaces do not change the layout of a table.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
            return None
        return _Call(node.func.id, ast.unparse(node.args[0]) if node.args else "", tuple(node.args[1:]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _argument(kind: AggregateKind, call: _Call, lowering: Lowering, key: str) -> Expression | None:
    if not call.argument:
        if kind.argument == "required":
            lowering.problem(f"{kind.name} needs a field or expression", kind.signature.replace("(x", "(field"), key)
        return None
    value = lowering.expression(call.argument, key)
    if value is not None and value.type not in kind.argument_types:
        kinds = " or ".join(sorted(kind.argument_types))
        lowering.problem(f"{kind.name} takes {kinds}, {call.argument!r} is {value.type}", key=key)
    return value


def _parameters(kind: AggregateKind, call: _Call, lowering: Lowering, key: str) -> tuple[float, ...] | None:
    """Values of the parameters; None when something is wrong with them."""
    if len(call.parameters) != len(kind.parameters):
        if call.argument:
            takes = f"{1 + len(kind.parameters)} arguments" if kind.parameters else "1 argument"
            message = f"{kind.name} takes {takes}, not {1 + len(call.parameters)}"
            lowering.problem(message, f"write {kind.signature}", key)
        return None
    given = [_number(each) for each in call.parameters]
    for parameter, node, value in zip(kind.parameters, call.parameters, given, strict=True):
        if value is None or not parameter.accepts(value):
            message = f"{parameter.name} of {kind.name} is {parameter}, not {ast.unparse(node)[:60]}"
            lowering.problem(message, f"write {kind.signature}", key)
            return None
    return tuple(value for value in given if value is not None)


def _number(node: ast.expr) -> float | None:
    """Value of a literal number, None of anything else."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case _:
            return None
