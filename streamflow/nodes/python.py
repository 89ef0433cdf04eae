"""python: a person's function over one row."""

from typing import Any

from pydantic import Field as Option

from streamflow.kit.declaration import declaration_of_function, problems_of_arguments
from streamflow.nodes.call import Call, declared, output_schema
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Apply


class PythonConfig(NodeConfig):
    """Configuration of a python node."""

    call: Call = Option(description="import path of a function over one row, `package.module:name`")
    arguments: dict[str, Any] = Option(
        default_factory=dict, alias="with", description="further arguments of the function"
    )


class Python(NodeKind):
    """Gives the rows that a function makes of each row: none, one, or several."""

    kind = "python"
    display_name = "Python"
    description = "Calls a Python function for every row; it gives no row, one, or several."
    category = Category.DATA_PROCESSING
    tags = ("stateless", "python")
    config_type = PythonConfig
    example = {"call": "streamflow.kit.samples:in_fahrenheit"}

    def lower(self, config: PythonConfig, lowering: Lowering) -> Lowered | None:
        """Find the function and compare its hints with the input."""
        before = lowering.input
        found = declared(config.call, declaration_of_function, lowering)
        if found is not None:
            for message in problems_of_arguments(found.target, config.arguments):
                lowering.problem(message, key="with")
        if lowering.failed or found is None:
            return None
        flow = Flow(output_schema(found, lowering.name), before.key, before.key_name, before.repeats)
        return Lowered(Apply(found, tuple(config.arguments.items())), flow)
