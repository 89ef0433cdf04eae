"""DATA_AVAILABLE: which records of a checkpoint are in which topic of a sink, said in the same transaction.

Offsets are known when the broker has taken a batch, and the transaction is still open then; so the event is there
exactly if the records are. It costs another round trip per transaction, hence only where every event is wanted.
"""

from collections.abc import Iterable, Mapping

from streamflow.bus.detail import DataPathBus, Detail
from streamflow.bus.event import HEADERS, new_event
from streamflow.bus.event_types import EventType, Severity, checked
from streamflow.checkpoint.checkpoint import Output
from streamflow.model.partitioner import partition_of
from streamflow.nodes.operators import Emit
from streamflow.plan.plan import Plan, Stage, TopicRole

#: Topic, partition, offset of the first record, records.
Written = tuple[str, int, int, int]


class Announcer:
    """Of one task. nodes: sinks by topic."""

    def __init__(
        self, bus: DataPathBus, bus_partitions: int, plan: Plan, source: str, nodes: Mapping[str, str]
    ) -> None:
        self.topic, self._partitions = bus.topic, bus_partitions
        self._topology, self._nodes = plan.topology, nodes
        self._source = f"urn:streamflow:task:{plan.identity}/{source}"

    def records(self, written: Iterable[Written]) -> dict[int, list[Output]]:
        """Events by partition of the bus, one per batch. One whose offset the broker did not tell is left out."""
        found: dict[int, list[Output]] = {}
        for topic, partition, offset, count in written:
            if topic not in self._nodes or offset < 0:
                continue
            subject = f"{self._topology}/{self._nodes[topic]}"
            data = {"topic": topic, "partition": partition, "offset": offset, "count": count}
            schema, body = checked(EventType.DATA_AVAILABLE, data)
            event = new_event(
                self._source,
                EventType.DATA_AVAILABLE,
                subject,
                schema,
                body,
                severity=Severity.DEBUG,
                partitionkey=subject,
                position=f"{topic}/{partition}/{offset}",
            )
            key = subject.encode()
            found.setdefault(partition_of(key, self._partitions), []).append((key, event.encode(), HEADERS))
        return found


def announcer_of(
    bus: DataPathBus | None, counts: Mapping[str, int], plan: Plan, stage: Stage, partition: int
) -> Announcer | None:
    """What a task announces with; None where not every event is wanted, or the stage has no sink."""
    if bus is None or bus.detail < Detail.EVERY:
        return None
    sinks = {topic.name for topic in plan.topics if topic.role is TopicRole.SINK}
    nodes = {
        node.operator.topic: node.name
        for node in stage.nodes
        if isinstance(node.operator, Emit) and node.operator.topic in sinks
    }
    return Announcer(bus, counts[bus.topic], plan, f"{stage.name}/{partition}", nodes) if nodes else None
