"""foreign_join: joins two tables where rows of the first name a key of the second.

    orders (a table by id) ─ key: customer_id ─► customers (a table by id)       a result per order

It is three nodes, put in by `topology/foreign.py`; the first two are in `foreign_parts.py`.
"""

from dataclasses import replace
from typing import Literal

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType
from streamflow.nodes.foreign_operators import Settle
from streamflow.nodes.joined_fields import FieldsConfig, joined
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeKind, TableName, TableShape


class ForeignJoinConfig(FieldsConfig):
    """Configuration of a join of two tables by foreign key. Both inputs are tables."""

    key: str = Option(description="key of the second table, an expression over a row of the first; null names no row")
    type: Literal["inner", "left"] = Option(
        "inner",
        description="left: rows of the first table that find none give a result, with nulls",
    )
    table: TableName | None = Option(None, description="name of the table of results; the node's name when left out")
    max_rows: int = Option(
        100_000, ge=1, description="most rows of the first table that name one key; one beyond becomes a dead letter"
    )


class ForeignJoin(NodeKind):
    """Joins two tables where rows of the first name a key of the second. A result has the key of the first table.

    What comes out are changes: a row of a key replaces the one before.
    """

    kind = "foreign_join"
    display_name = "Foreign key join"
    description = "Joins two tables where rows of the first name a key of the second, whenever either changes."
    category = Category.DATA_PROCESSING
    tags = ("join", "table", "stateful")
    config_type = ForeignJoinConfig
    example = {"key": "unit", "type": "left", "prefix": {"second": "second_"}}
    inputs_apart = (2, 2)
    stateful = True
    settles = True

    def lower(self, config: ForeignJoinConfig, lowering: Lowering) -> Lowered | None:
        """What comes out; the parts before it have checked the rest."""
        left, (name, right) = lowering.inputs
        lowering.inputs = left, (name, replace(right, key_name=None))  # its key is a field like others
        found = joined(config, lowering, (False, config.type == "left"), (Field("deleted", FieldType.BOOL),))
        if found is None:
            return None
        picks, output = found
        row = replace(output.schema, fields=output.schema.fields[:-1])
        table = config.table or lowering.name
        return Lowered(Settle(row, picks, table), replace(output, repeats=True), TableShape(table, row_schema=row))


def table_problems(name: str, flow: Flow, lowering: Lowering) -> None:
    """An input of a join of tables must be one, with a key."""
    if flow.table_retention_ms is None:
        message = f"both inputs must be tables, {name!r} is none"
        lowering.problem(message, "put a node of kind table right before it", "inputs")
