"""deduplicate: the first row of an id goes on, later ones within a time do not."""

from pydantic import Field as Option

from streamflow.model.expression import Expression
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
from streamflow.nodes.operators import Distinct
from streamflow.windows.tumbling import Tumbling

#: Ids leave memory and store by slots of time, so many per life of an id.
_SLOTS = 16


class DeduplicateConfig(NodeConfig):
    """Configuration of a deduplicate."""

    within: DurationMs = Option(ge=1, description="event time after a row during which rows of its id are duplicates")
    by: list[str] = Option(
        default_factory=list,
        description="fields or expressions that make the id, among rows of one key; the key itself when left out",
    )
    allowed_lateness: DurationMs | None = Option(
        None, ge=0, description="how far behind the watermark a row may be to be judged; as long as `within`"
    )
    late: TopicName | None = Option(None, description="topic for rows that come too late; only counted when left out")
    table: TableName | None = Option(None, description="name of the table of ids; the node's name when left out")


class Deduplicate(NodeKind):
    """Lets one row of an id through: of rows that come less than `within` after it in event time none passes.

    A row that is more than `allowed_lateness` behind the watermark cannot be judged and is late. Ids are forgotten
    when only late rows could ask for them, so what passes is exact.
    """

    kind = "deduplicate"
    display_name = "Deduplicate"
    description = "Passes the first row of an id and drops later ones within a time, across restarts."
    category = Category.DATA_PROCESSING
    tags = ("stateful",)
    config_type = DeduplicateConfig
    example = {"by": ["time"], "within": "1h"}
    stateful = True

    def lower(self, config: DeduplicateConfig, lowering: Lowering) -> Lowered | None:
        """Compile the id."""
        before, table = lowering.input, config.table or lowering.name
        found = [_part_of_id(source, f"by.{number}", lowering) for number, source in enumerate(config.by)]
        if before.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        if lowering.failed or before.key is None:
            return None
        parts = tuple(each for each in found if each is not None)
        lateness_ms = config.within if config.allowed_lateness is None else config.allowed_lateness
        keep_ms = config.within + lateness_ms
        slots = Tumbling(-(-keep_ms // _SLOTS))
        operator = Distinct(parts, config.within, lateness_ms, slots.size_ms, table, config.late)
        key = Field(before.key_name or "key", FieldType.STR if parts else before.key.type)
        rows = Schema(f"{lowering.name.title().replace('_', '')}Ids", (key, Field("first", FieldType.TIMESTAMP)))
        flow = Flow(before.schema, before.key, before.key_name, before.repeats)
        return Lowered(operator, flow, TableShape(table, slots, retention_ms=keep_ms, row_schema=rows))


def _part_of_id(source: str, key: str, lowering: Lowering) -> Expression | None:
    part = lowering.expression(source, key)
    if part is not None and part.nullable:
        lowering.problem(f"{source} may be null, rows without it would count as one", "put a filter before it", key)
    if part is not None and part.type is FieldType.JSON:
        lowering.problem(f"{source} is json", "use str(…) of a part of it", key)
    return part
