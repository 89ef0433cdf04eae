"""table: keeps the newest row of every key, and older ones by event time."""

from dataclasses import replace

from pydantic import Field as Option

from streamflow.nodes.join_operators import Upsert
from streamflow.nodes.kind import (
    Category,
    DurationMs,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
)


class TableConfig(NodeConfig):
    """Configuration of a table."""

    table: TableName | None = Option(None, description="name of the table to query; the node's name when left out")
    retention: DurationMs = Option(
        86_400_000, ge=0, description="how far behind the watermark a version is kept for joins as of a time"
    )
    ttl: DurationMs | None = Option(
        None, ge=1, description="how long after its newest row, in event time, a key ends; never when left out"
    )
    versions: int = Option(
        100, ge=1, le=10_000, description="most versions of one key; beyond it the oldest go, counted"
    )
    delete_when: str | None = Option(None, description="condition over a row that ends its key, such as gone")


class Table(NodeKind):
    """A table by key, fed by a stream. Passes on every row that is its key's newest.

    A version is none any more `ttl` of event time after it; then its key ends: joins of tables say that their result is
    gone, and a sink right behind the table gets a tombstone. Deleted keys leave the table `retention` later.
    """

    kind = "table"
    display_name = "Table"
    description = "Keeps the rows of every key by event time, to be queried and joined with."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "table")
    config_type = TableConfig
    example = {"retention": "1h", "versions": 10, "delete_when": "value < 0"}
    stateful = True

    def lower(self, config: TableConfig, lowering: Lowering) -> Lowered | None:
        """Rows come out as they went in, under a key that is not null."""
        before = lowering.input
        if before.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        condition = config.delete_when
        delete = None if condition is None else lowering.condition(condition, "delete_when")
        if lowering.failed or before.key is None:
            return None
        name = config.table or lowering.name
        upsert = Upsert(before.schema, name, config.retention, config.versions, delete, config.ttl or 0)
        key = replace(before.key, nullable=False)
        flow = Flow(before.schema, key, before.key_name, before.repeats, config.retention)
        return Lowered(upsert, flow, TableShape(name))
