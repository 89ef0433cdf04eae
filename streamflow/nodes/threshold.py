"""threshold: passes or flags rows whose field reaches a limit."""

from typing import Literal

from pydantic import Field

from streamflow.nodes.kind import Category, FieldName, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project
from streamflow.nodes.operators import Filter
from streamflow.nodes.parameter import NumberParameter, number_source

_SYMBOLS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}


class ThresholdConfig(NodeConfig):
    """Configuration of a threshold."""

    field: str = Field(description="numeric field to test")
    limit: NumberParameter = Field(description="the limit, or where the event says it: `{customer.limit|100}`")
    when: Literal["above", "at_least", "below", "at_most"] = Field(
        "above", description="which side of the limit counts"
    )
    mode: Literal["filter", "flag"] = Field("filter", description="drop the other rows, or mark every row")
    flag: FieldName = Field("exceeded", description="field for the mark, in mode flag")


class Threshold(NodeKind):
    """Compares a field with a limit; null is on neither side."""

    kind = "threshold"
    display_name = "Threshold"
    description = "Passes rows whose field is beyond a limit, or marks every row with whether it is."
    category = Category.MONITORING
    tags = ("stateless",)
    config_type = ThresholdConfig
    example = {"field": "value", "limit": 30.0, "when": "above"}

    def lower(self, config: ThresholdConfig, lowering: Lowering) -> Lowered | None:
        """Write it as an expression."""
        if not lowering.has_field(config.field, "field"):
            return None
        found = lowering.input.schema.field(config.field)
        text = f"{config.field} {_SYMBOLS[config.when]} {number_source(config.limit, 'limit', lowering)}"
        if found is not None and found.nullable:
            text = f"{config.field} is not None and {text}"
        test = lowering.expression(text, "field")
        if test is None or lowering.failed:
            return None
        before = lowering.input
        if config.mode == "flag":
            return project(lowering, list(before.schema.names), {config.flag: test})
        flow = Flow(before.schema.with_non_null(test.narrows), before.key, before.key_name, before.repeats)
        return Lowered(Filter(test), flow)
