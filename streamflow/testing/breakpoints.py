"""Where a debugged topology stops: `priced`, or `priced: amount > 10` over the rows that come to that node."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from streamflow.errors import ExpressionError, UserError
from streamflow.model.expression import compile_expression
from streamflow.model.schema import FieldType, Schema
from streamflow.plan.plan import Plan
from streamflow.testing.debugger import Step


def breakpoint_of(plan: Plan, text: str) -> Callable[[Step], bool]:
    """Whether to stop before a step. Raises UserError for a node that there is not, and an expression that is none."""
    name, colon, source = (part.strip() for part in text.partition(":"))
    inputs = _inputs(plan, name)
    if not inputs:
        names = ", ".join(node.name for stage in plan.stages for node in stage.nodes)
        raise UserError(f"there is no node {name!r} to stop at; nodes are {names}")
    if not colon:
        return lambda step: step.node == name
    tests: dict[str, Callable[[Any], Any]] = {}
    for before, schema in inputs.items():
        try:
            expression = compile_expression(source, schema)
        except ExpressionError as error:
            raise UserError(f"--break {text!r}: {error}") from error
        if expression.type is not FieldType.BOOL:
            raise UserError(f"--break {text!r}: that is no condition; write one such as `amount > 10`")
        tests[before] = expression.evaluate()
    return lambda step: step.node == name and bool(tests[step.before](SimpleNamespace(**step.row)))


def _inputs(plan: Plan, name: str) -> dict[str, Schema]:
    """Schemas of what comes to a node, by the node before."""
    for stage in plan.stages:
        known = {entry.node: entry.schema for entry in stage.entries} | {n.name: n.schema for n in stage.nodes}
        for node in stage.nodes:
            if node.name == name:
                return {before: known[before] for before in node.inputs}
    return {}
