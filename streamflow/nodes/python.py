"""python: a person's function over one row."""

from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Any

from pydantic import Field as Option

from streamflow.calls.coroutine import CoroutineAction
from streamflow.kit.declaration import NotDeclared, declaration_of_function, find, problems_of_arguments
from streamflow.nodes.call import Call, declared, output_schema
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeKind
from streamflow.nodes.operators import Apply, Await, Operator
from streamflow.nodes.resilience import AsyncConfig, policy_of


class PythonConfig(AsyncConfig):
    """Configuration of a python node. `concurrency` and `resilience` are for an `async def`."""

    call: Call = Option(description="import path of a function over one row, `package.module:name`; it may be async")
    arguments: dict[str, Any] = Option(
        default_factory=dict, alias="with", description="further arguments of the function"
    )


class Python(NodeKind):
    """Gives the rows that a function makes of each row: none, one, or several. An `async def` is awaited.

    Rows of an async function come by a topic of the node's own; many calls are under way at once, and the order of rows
    stays.
    """

    kind = "python"
    display_name = "Python"
    description = "Calls a Python function for every row, or awaits it; it gives no row, one, or several."
    category = Category.DATA_PROCESSING
    tags = ("stateless", "python")
    config_type = PythonConfig
    example = {"call": "streamflow.kit.samples:in_fahrenheit"}

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """Whether the function is an `async def`."""
        call = config.get("call")
        try:
            return iscoroutinefunction(find(call) if isinstance(call, str) else call)
        except NotDeclared:
            return False  # lowering says what is wrong

    def lower(self, config: PythonConfig, lowering: Lowering) -> Lowered | None:
        """Find the function and compare its hints with the input."""
        before = lowering.input
        found = declared(config.call, declaration_of_function, lowering)
        if found is not None:
            for message in problems_of_arguments(found.target, config.arguments):
                lowering.problem(message, key="with")
            if not found.is_async and config.model_fields_set & {"concurrency", "resilience"}:
                lowering.problem("the function is not async", "write `async def`, or leave this out", "resilience")
        if lowering.failed or found is None:
            return None
        flow = Flow(output_schema(found, lowering.name), before.key, before.key_name, before.repeats)
        arguments = tuple(config.arguments.items())
        operator: Operator = Apply(found, arguments)
        if found.is_async:
            policy = policy_of(config.resilience, flow.schema, lowering)
            operator = Await(CoroutineAction(found, arguments), policy, config.concurrency)
        return None if lowering.failed else Lowered(operator, flow)
