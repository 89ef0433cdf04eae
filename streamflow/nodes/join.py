"""join: pairs rows of two streams that have one key and lie near each other in time."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic import Field as Option

from streamflow.nodes.join_operators import Join as JoinOperator
from streamflow.nodes.joined_fields import JoinedConfig, check_keys, joined, refuse_repeats
from streamflow.nodes.kind import (
    Category,
    DurationMs,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
    TopicName,
)


class Within(NodeConfig):
    """A stretch of time around a left row."""

    before: DurationMs = Option(0, ge=0, description="how long before the left row the right one may be")
    after: DurationMs = Option(0, ge=0, description="how long after the left row the right one may be")


def _both(value: Any) -> Any:
    return {"before": value, "after": value} if isinstance(value, str | int) else value


class JoinConfig(JoinedConfig):
    """Configuration of a join of two streams."""

    within: Annotated[Within, BeforeValidator(_both)] = Option(
        description="how far right rows may be from left ones: {before: 0s, after: 1h}, or one duration for both"
    )
    type: Literal["inner", "left", "right", "full"] = Option(
        "inner", description="whose rows leave alone, with nulls, when no partner can come any more"
    )
    allowed_lateness: DurationMs = Option(0, ge=0, description="how far behind its input's watermark a row may be")
    late: TopicName | None = Option(None, description="topic for rows that come too late; only counted when left out")
    max_rows: int = Option(
        10_000, ge=1, description="bound of rows of one key, side and stretch of before + after; more are put aside"
    )
    table: TableName | None = Option(None, description="name of the table of waiting rows; the node's when left out")


class Join(NodeKind):
    """Joins two streams within a time bound. The first input is the left one."""

    kind = "join"
    display_name = "Join"
    description = "Pairs rows of two streams of one key whose event times are near each other."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "join")
    config_type = JoinConfig
    example = {"within": {"before": "0s", "after": "1h"}, "type": "left", "prefix": {"second": "second_"}}
    stateful = True
    inputs_apart = (2, 2)

    def lower(self, config: JoinConfig, lowering: Lowering) -> Lowered | None:
        """Check keys and names; the fields of a side that may be missing may be null."""
        check_keys(lowering)
        refuse_repeats(lowering)
        alone = config.type in ("left", "full"), config.type in ("right", "full")
        found = joined(config, lowering, (alone[1], alone[0]))
        if found is None or lowering.failed:
            return None
        picks, output = found
        (_, left), (_, right) = lowering.inputs
        table = config.table or lowering.name
        operator = JoinOperator(
            (left.schema, right.schema), picks, config.within.before, config.within.after, alone,
            config.allowed_lateness, table, config.late, config.max_rows,
        )  # fmt: skip
        return Lowered(operator, output, TableShape(table, retention_ms=operator.keep_ms, passing=True))
