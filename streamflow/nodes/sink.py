"""sink: writes rows to a topic as JSON, partitioned by their key."""

from pydantic import Field

from streamflow.nodes.kind import Category, Lowered, Lowering, NodeConfig, NodeKind, TopicName
from streamflow.nodes.operators import Emit


class SinkConfig(NodeConfig):
    """Configuration of a sink."""

    topic: TopicName = Field(description="Kafka topic to write")
    stamp: bool = Field(
        False,
        description="headers that say who made a record, and when: sf-topology, sf-node, sf-version, sf-processed",
    )
    partitions: int | None = Field(None, ge=1, le=10_000, description="partitions when it has to be created")


class Sink(NodeKind):
    """Writes rows to a topic. `stamp` costs half a microsecond and 90 bytes a record.

    sf-node: the node whose rows these are; sf-node-version: its kind and version; sf-version: that of the topology;
    sf-processed: milliseconds of the worker's clock.
    """

    kind = "sink"
    display_name = "Sink"
    description = "Writes rows to a Kafka topic as JSON, exactly once, partitioned by their key."
    category = Category.INTEGRATION
    tags = ("kafka", "output")
    config_type = SinkConfig
    example = {"topic": "results"}

    def lower(self, config: SinkConfig, lowering: Lowering) -> Lowered | None:
        """A sink takes any row."""
        return Lowered(Emit(config.topic, config.stamp), lowering.input)
