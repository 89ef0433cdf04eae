"""echo: passes every row on with how many of its key came so far."""

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import (
    Category,
    FieldName,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
)
from streamflow.nodes.operators import Count


class EchoConfig(NodeConfig):
    """Configuration of an echo."""

    field: FieldName = Option("count", description="name of the field that gets the count")
    table: TableName | None = Option(None, description="name of the table of counts; the node's name when left out")


class Echo(NodeKind):
    """Counts rows per key (per partition when no key is declared); the counts survive restarts."""

    kind = "echo"
    display_name = "Echo"
    description = "Passes every row on with a running count of its key, kept across restarts."
    category = Category.UTILITY
    tags = ("stateful",)
    config_type = EchoConfig
    example = {"field": "count"}
    stateful = True

    def lower(self, config: EchoConfig, lowering: Lowering) -> Lowered | None:
        """Add the count to the schema."""
        before = lowering.input
        table = config.table or lowering.name
        if config.field in before.schema.names:
            lowering.problem(f"the input has a field {config.field!r} already", "choose another name", "field")
        if lowering.failed:
            return None
        schema = Schema(f"{before.schema.name}Counted", (*before.schema.fields, Field(config.field, FieldType.INT)))
        flow = Flow(schema, before.key, before.key_name, before.repeats)
        return Lowered(Count(config.field, table), flow, TableShape(table))
