"""normalize_running: brings a numeric field to a common scale, by what its key has shown so far."""

from typing import Literal

from pydantic import Field as Option

from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, NodeConfig, NodeKind, TableName
from streamflow.nodes.running import Extremes, Moments, lowered_scale


class NormalizeRunningConfig(NodeConfig):
    """Configuration of a normalize_running."""

    field: str = Option(description="numeric field to normalize")
    method: Literal["min_max", "z_score"] = Option(
        description="place between least and greatest value so far, or distance from the mean in deviations"
    )
    into: FieldName | None = Option(None, description="field for the result; the same field when left out")
    table: TableName | None = Option(None, description="name of the table of statistics; the node's when left out")


class NormalizeRunning(NodeKind):
    """Statistics are those of all values of the key up to the row, the row included, in the order of their arrival.

    The result is null where there is no scale yet: for the first value, and while all are equal. Null stays null.
    """

    kind = "normalize_running"
    display_name = "Normalize (running)"
    description = "Brings a numeric field to a common scale, with statistics learned per key."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "statistics")
    config_type = NormalizeRunningConfig
    example = {"field": "value", "method": "z_score", "into": "z"}
    stateful = True

    def lower(self, config: NormalizeRunningConfig, lowering: Lowering) -> Lowered | None:
        """Put the result into the schema."""
        target = Moments if config.method == "z_score" else Extremes
        return lowered_scale(target, config.field, config.into, {}, config.table, lowering)
