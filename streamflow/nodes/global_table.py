"""global_table: a small table that every worker holds whole, for lookups. It stands beside the stream, in no stage."""

from pydantic import Field

from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind, TopicName
from streamflow.nodes.operators import Pass


class GlobalTableConfig(NodeConfig):
    """Configuration of a global table."""

    topic: TopicName = Field(description="compacted Kafka topic with the last row of every key")
    schema_name: str = Field(alias="schema", description="name of the schema of its rows")
    key: str = Field(description="field of type str or int that rows are found by; the record's key is its text")
    max_rows: int = Field(1_000_000, ge=1, description="most rows; the worker ends when there are more")
    max_bytes: int = Field(64 << 20, ge=1 << 10, description="most bytes of keys and rows as JSON, likewise")
    partitions: int = Field(1, ge=1, le=10_000, description="partitions of the topic when it has to be created")


class GlobalTable(NodeKind):
    """Keeps the last row of every key of a topic on every worker, and answers queries for them."""

    kind = "global_table"
    display_name = "Global table"
    description = "Keeps a small compacted topic whole in the memory of every worker, for lookups and queries."
    category = Category.INTEGRATION
    tags = ("kafka", "input", "table")
    config_type = GlobalTableConfig
    example = {"topic": "sensors", "schema": "Reading", "key": "sensor"}

    def lower(self, config: GlobalTableConfig, lowering: Lowering) -> Lowered | None:
        """Check the key against the schema."""
        schema = lowering.input.schema
        if not lowering.has_field(config.key, "key"):
            return None
        key = lowering.expression(config.key, "key")
        if key is None:
            return None
        if key.type not in ("str", "int") or key.nullable:
            what = f"{config.key!r} is {key.type}{'?' if key.nullable else ''}"
            lowering.problem(f"a key is str or int and never null, {what}", key="key")
            return None
        return Lowered(Pass(), Flow(schema, key, config.key))
