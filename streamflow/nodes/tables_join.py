"""tables_join: joins two tables of one key; a result whenever either side changes."""

from dataclasses import replace
from typing import Literal

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType
from streamflow.nodes.join_operators import TablePair
from streamflow.nodes.joined_fields import FieldsConfig, check_keys, joined
from streamflow.nodes.kind import Category, Lowered, Lowering, NodeKind


class TablesJoinConfig(FieldsConfig):
    """Configuration of a join of two tables. Both inputs are tables."""

    type: Literal["inner", "left", "right", "full"] = Option(
        "inner", description="whose rows give a result, with nulls, when the other table has none of the key"
    )


class TablesJoin(NodeKind):
    """Joins the current rows of two tables. What comes out are changes: a row of a key replaces the one before."""

    kind = "tables_join"
    display_name = "Tables join"
    description = "Joins the current rows of two tables by key, whenever either changes."
    category = Category.DATA_PROCESSING
    tags = ("join", "table")
    config_type = TablesJoinConfig
    example = {"type": "left", "prefix": {"second": "second_"}}
    inputs_apart = (2, 2)

    def lower(self, config: TablesJoinConfig, lowering: Lowering) -> Lowered | None:
        """Check that both inputs are tables."""
        for name, flow in lowering.inputs:
            if flow.table_retention_ms is None:
                message = f"both inputs must be tables, {name!r} is none"
                lowering.problem(message, "put a node of kind table right before it", "inputs")
        check_keys(lowering)
        alone = config.type in ("left", "full"), config.type in ("right", "full")
        found = joined(config, lowering, (alone[1], alone[0]), (Field("deleted", FieldType.BOOL),))
        if found is None:
            return None
        picks, output = found
        (_, left), (_, right) = lowering.inputs
        return Lowered(TablePair((left.schema, right.schema), picks, alone), replace(output, repeats=True))
