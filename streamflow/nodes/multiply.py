"""multiply: multiplies one numeric field by a factor."""

from pydantic import Field

from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project
from streamflow.nodes.parameter import NumberParameter, number_source


class MultiplyConfig(NodeConfig):
    """Configuration of a multiply."""

    field: str = Field(description="numeric field to multiply")
    factor: NumberParameter = Field(
        description="what to multiply by, or where the event says it: `{customer.factor|1}`; a whole number keeps int "
        "fields int"
    )
    into: FieldName | None = Field(None, description="field for the result; the same field when left out")


class Multiply(NodeKind):
    """Multiplies a field; null stays null."""

    kind = "multiply"
    display_name = "Multiply"
    description = "Multiplies a numeric field by a factor."
    category = Category.DATA_PROCESSING
    tags = ("stateless",)
    config_type = MultiplyConfig
    example = {"field": "value", "factor": 2.0}

    def lower(self, config: MultiplyConfig, lowering: Lowering) -> Lowered | None:
        """Write it as an expression."""
        into = config.into or config.field
        if not lowering.has_field(config.field, "field"):
            return None
        found = lowering.input.schema.field(config.field)
        product = f"{config.field} * {number_source(config.factor, 'factor', lowering)}"
        text = f"{product} if {config.field} is not None else None" if found is not None and found.nullable else product
        value = lowering.expression(text, "field")
        return (
            None
            if value is None or lowering.failed
            else project(lowering, list(lowering.input.schema.names), {into: value})
        )
