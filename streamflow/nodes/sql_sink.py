"""sql_sink: writes rows to a table of a database, each once."""

from typing import Annotated

from pydantic import AfterValidator, Field

from streamflow.model.names import field_problem
from streamflow.nodes.kind import (
    Category,
    DurationMs,
    FieldName,
    Lowered,
    Lowering,
    Mode,
    NodeConfig,
    NodeKind,
    Resources,
)
from streamflow.nodes.sink_operators import Deliver
from streamflow.sinks.sql import POSITIONS
from streamflow.sinks.target import SqlTarget


def _table(name: str) -> str:
    if field_problem(name) or name == POSITIONS:
        raise ValueError(f"{name!r} cannot be the name of a table: a letter, then letters, digits or underscores")
    return name


class SqlSinkConfig(NodeConfig):
    """Configuration of a SQL sink."""

    url_env: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]{0,99}$",
        description="environment variable with the URL: sqlite:///file.db or postgresql://user@host/database",
    )
    table: Annotated[str, AfterValidator(_table)] = Field(description="table, with a column per field of the rows")
    key: list[FieldName] = Field(
        [],
        max_length=16,
        description="columns of a unique key: a row replaces the one before it; all are added when empty",
    )
    create: bool = Field(True, description="make the table when it is not there")
    roll_every: DurationMs = Field(200, ge=10, le=3_600_000, description="a transaction so long after its first row")
    roll_bytes: int = Field(4 << 20, ge=1 << 10, le=64 << 20, description="or when it holds about so many bytes")


class SqlSink(NodeKind):
    """Writes rows to SQLite or PostgreSQL; their position is in the same transaction of the database."""

    kind = "sql_sink"
    display_name = "SQL sink"
    description = "Writes rows to a table of SQLite or PostgreSQL, exactly once."
    category = Category.INTEGRATION
    tags = ("output", "database")
    modes = (Mode.BATCH,)
    resources = Resources(network=True, disk=True)
    config_type = SqlSinkConfig
    example = {"url_env": "WAREHOUSE_URL", "table": "readings", "key": ["sensor", "time"]}

    def lower(self, config: SqlSinkConfig, lowering: Lowering) -> Lowered | None:
        """Key columns are fields that are never null."""
        for name in config.key:
            if lowering.has_field(name, "key"):
                field = lowering.input.schema.field(name)
                if field is not None and field.nullable:
                    lowering.problem(f"key column {name!r} may be null", "filter such rows before, or coalesce", "key")
        target = SqlTarget(
            config.url_env, config.table, tuple(config.key), config.create, config.roll_bytes, config.roll_every
        )
        return None if lowering.failed else Lowered(Deliver(target), lowering.input)
