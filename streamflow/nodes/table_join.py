"""table_join: gives every row of a stream the row of its key in a table."""

from dataclasses import replace
from typing import Literal

from pydantic import Field as Option

from streamflow.nodes.join_operators import VersionLookup
from streamflow.nodes.joined_fields import JoinedConfig, check_keys, joined
from streamflow.nodes.kind import Category, Lowered, Lowering, NodeKind, TableName, TableShape, TopicName


class TableJoinConfig(JoinedConfig):
    """Configuration of a join of a stream (first input) with a table (second). `on` is the stream's key."""

    at: Literal["current", "as_of"] = Option(
        "as_of",
        description="as_of: the version at the row's event time; current: the newest there is when the row is read",
    )
    wait: bool = Option(True, description="as_of: hold a row until the table's watermark has passed its time")
    type: Literal["inner", "left"] = Option("inner", description="left: rows without a version pass, with nulls")
    late: TopicName | None = Option(
        None, description="topic for rows older than the table's retention; only counted when left out"
    )
    max_rows: int = Option(1_000_000, ge=1, description="bound of rows that wait in one task; more are put aside")
    table: TableName | None = Option(None, description="name of the table of waiting rows; the node's when left out")


class TableJoin(NodeKind):
    """Joins a stream with a table. The first input is the stream."""

    kind = "table_join"
    display_name = "Table join"
    description = "Gives every row of a stream the row of its key in a table, current or as of the row's time."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "join", "table")
    config_type = TableJoinConfig
    example = {"type": "left", "prefix": {"second": "second_"}}
    stateful = True
    inputs_apart = (2, 2)
    on_first_only = True

    def lower(self, config: TableJoinConfig, lowering: Lowering) -> Lowered | None:
        """Check that the second input is a table."""
        (_, stream), (name, table) = lowering.inputs
        if table.table_retention_ms is None:
            message = f"the second input must be a table, {name!r} is none"
            lowering.problem(message, "put a node of kind table right before it", "inputs")
        check_keys(lowering)
        found = joined(config, lowering, (False, config.type == "left"))
        if found is None or table.table_retention_ms is None:
            return None
        picks, output = found
        waits = config.at == "as_of" and config.wait
        held = config.table or lowering.name
        operator = VersionLookup(
            (stream.schema, table.schema), picks, config.at == "as_of", waits, config.type == "left",
            table.table_retention_ms, held, config.late, config.max_rows,
        )  # fmt: skip
        # What the table repeats are versions; only a stream that repeats makes results repeat.
        output = replace(output, repeats=stream.repeats)
        return Lowered(operator, output, TableShape(held) if waits else None)
