"""process: a person's class that remembers things per key and sets timers."""

from typing import Any

from pydantic import Field as Option

from streamflow.kit.declaration import declaration_of_node, problems_of_arguments
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes import operators
from streamflow.nodes.call import Call, declared, output_schema
from streamflow.nodes.kind import (
    Category,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
)


class ProcessConfig(NodeConfig):
    """Configuration of a process."""

    call: Call = Option(description="import path of a class over streamflow.kit.Process, `package.module:Name`")
    arguments: dict[str, Any] = Option(
        default_factory=dict, alias="with", description="arguments that the class is made with"
    )
    table: TableName | None = Option(None, description="name of the table of its states; the node's name when left out")


class Process(NodeKind):
    """Runs a node class: states and timers per key, all in the checkpoint."""

    kind = "process"
    display_name = "Process"
    description = "Runs a Python class that keeps state per key and sets timers, all kept across restarts."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "python")
    config_type = ProcessConfig
    example = {"call": "streamflow.kit.samples:Silence", "with": {"minutes": 10}}
    stateful = True

    def lower(self, config: ProcessConfig, lowering: Lowering) -> Lowered | None:
        """Find the class and compare its hints with the input."""
        before, table = lowering.input, config.table or lowering.name
        found = declared(config.call, declaration_of_node, lowering)
        if found is not None:
            for message in problems_of_arguments(found.target, config.arguments):
                lowering.problem(message, key="with")
        if before.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        if lowering.failed or found is None or before.key is None:
            return None
        key = Field(before.key_name or "key", before.key.type)
        shown = [Field(state.name, FieldType.JSON, True) for state in found.states if state.name != key.name]
        rows = Schema(f"{lowering.name.title().replace('_', '')}States", (key, *shown))
        flow = Flow(output_schema(found, lowering.name), before.key, before.key_name, before.repeats)
        operator = operators.Process(found, tuple(config.arguments.items()), table)
        return Lowered(operator, flow, TableShape(table, row_schema=rows))
