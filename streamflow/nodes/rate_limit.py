"""rate_limit: lets so many rows of a key through per time; the excess goes on elsewhere, or is dropped."""

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType, Schema
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
    TopicName,
)
from streamflow.nodes.operators import Limit

EXCESS = "excess"


class RateLimitConfig(NodeConfig):
    """Configuration of a rate_limit."""

    rate: int = Option(ge=1, le=1_000_000, description="rows of a key that pass per time")
    per: DurationMs = Option(1_000, ge=1, description="that time, event time")
    burst: int | None = Option(None, ge=1, le=1_000_000, description="rows that may pass at once; as many as `rate`")
    excess: TopicName | None = Option(None, description="topic for rows that do not pass")
    table: TableName | None = Option(None, description="name of the table of buckets; the node's name when left out")


class RateLimit(NodeKind):
    """A token bucket per key: it holds `burst` tokens, `rate` come back per `per`, a row takes one.

    Its clock is event time: the time of the row or the watermark, whichever is later, and never goes back. So the same
    rows pass however fast they are worked. Others may read what did not pass as `node.excess`: to let it wait, put a
    `delay` there.
    """

    kind = "rate_limit"
    display_name = "Rate limit"
    description = "Passes so many rows of a key per time; the excess is dropped, goes on elsewhere or to a topic."
    category = Category.UTILITY
    tags = ("stateful",)
    config_type = RateLimitConfig
    example = {"rate": 10, "per": "1s", "burst": 20}
    stateful = True
    asides = (EXCESS,)

    def lower(self, config: RateLimitConfig, lowering: Lowering) -> Lowered | None:
        """Buckets are per key."""
        before, table = lowering.input, config.table or lowering.name
        if before.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
            return None
        burst = config.rate if config.burst is None else config.burst
        key = Field(before.key_name or "key", before.key.type)
        rows = Schema(f"{lowering.name.title().replace('_', '')}Buckets", (key, Field("tokens", FieldType.FLOAT)))
        flow = Flow(before.schema, before.key, before.key_name, before.repeats)
        operator = Limit(config.rate, config.per, burst, table, config.excess)
        return Lowered(operator, flow, TableShape(table, row_schema=rows), outputs={EXCESS: flow})
