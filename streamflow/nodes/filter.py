"""filter: passes rows for which an expression is true."""

from pydantic import Field

from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Filter as FilterOperator


class FilterConfig(NodeConfig):
    """Configuration of a filter."""

    where: str = Field(description="condition over the fields of a row")


class Filter(NodeKind):
    """Passes rows that fulfil a condition. Fields it proves not null are not nullable behind it."""

    kind = "filter"
    display_name = "Filter"
    description = "Passes rows for which the condition is true."
    category = Category.DATA_PROCESSING
    tags = ("stateless",)
    config_type = FilterConfig
    example = {"where": "value > 10"}

    def lower(self, config: FilterConfig, lowering: Lowering) -> Lowered | None:
        """Compile the condition."""
        where = lowering.condition(config.where, "where")
        if where is None:
            return None
        before = lowering.input
        narrowed = before.schema.with_non_null(where.narrows)
        return Lowered(FilterOperator(where), Flow(narrowed, before.key, before.key_name, before.repeats))
