"""combine: brings the branches of one event together again by key, with a time-out."""

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType
from streamflow.nodes.join_operators import Combine as CombineOperator
from streamflow.nodes.joined_fields import JoinedConfig, check_keys, joined, refuse_repeats
from streamflow.nodes.kind import Category, DurationMs, Lowered, Lowering, NodeKind, TableName, TableShape, TopicName


class CombineConfig(JoinedConfig):
    """Configuration of a combine."""

    timeout: DurationMs = Option(ge=0, description="how far apart in event time the rows of one combination may be")
    incomplete: TopicName | None = Option(
        None,
        description="topic for combinations that lack a branch; left out, they pass on with nulls and `missing` names "
        "the branches",
    )
    late: TopicName | None = Option(None, description="topic for rows that come too late; only counted when left out")
    max_rows: int = Option(1_000_000, ge=1, description="bound of rows that wait in one task; more are put aside")
    table: TableName | None = Option(None, description="name of the table of waiting rows; the node's when left out")


class Combine(NodeKind):
    """Waits for one row of a key from every input."""

    kind = "combine"
    display_name = "Combine"
    description = "Combines one row of each input by key, and says which are missing after a time-out."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "join", "fan-in")
    config_type = CombineConfig
    example = {"timeout": "30s", "prefix": {"second": "second_"}}
    stateful = True
    inputs_apart = (2, 16)

    def lower(self, config: CombineConfig, lowering: Lowering) -> Lowered | None:
        """Check keys and names; what passes on incomplete may be null."""
        check_keys(lowering)
        refuse_repeats(lowering)
        partial = config.incomplete is None
        more = (Field("missing", FieldType.JSON),) if partial else ()
        found = joined(config, lowering, [partial] * len(lowering.inputs), more)
        if found is None or lowering.failed:
            return None
        picks, output = found
        table = config.table or lowering.name
        operator = CombineOperator(
            tuple(flow.schema for _, flow in lowering.inputs), picks, tuple(name for name, _ in lowering.inputs),
            config.timeout, table, config.incomplete, config.late, config.max_rows,
        )  # fmt: skip
        return Lowered(operator, output, TableShape(table))
