"""Gives every sink outside of Kafka a stage of its own, behind a feed that the stage of its rows writes."""

from dataclasses import replace

from streamflow.nodes.sink_operators import Deliver, Hand
from streamflow.plan.plan import Entry, EntryKind, PlannedNode, Stage
from streamflow.topology.names import feed_topic


def with_deliveries(topology: str, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages, and one per Deliver behind them."""
    found: list[Stage] = []
    delivering: list[Stage] = []
    for stage in stages:
        nodes = []
        for node in stage.nodes:
            if isinstance(node.operator, Deliver):
                topic = feed_topic(topology, node.name)
                delivering.append(_stage(stage, node, topic))
                node = replace(node, operator=Hand(), repartition_topic=topic)
            nodes.append(node)
        gone = {each.name for each in delivering}
        requires = tuple(each for each in stage.requires if each[0] not in gone)
        found.append(replace(stage, nodes=tuple(nodes), requires=requires))
    return (*found, *delivering)


def _stage(writer: Stage, node: PlannedNode, topic: str) -> Stage:
    idle_after_ms = max(entry.idle_after_ms for entry in writer.entries)
    entry = Entry(
        topic=topic,
        node=node.name,
        kind=EntryKind.REPARTITION,
        schema=node.schema,
        key=None,  # nothing here asks for it, and the row may not have its field
        idle_after_ms=idle_after_ms,
        producer_stage=writer.name,
    )
    # Names of declared nodes have no such ending.
    delivery = replace(node, name=f"{node.name}.delivery", inputs=(node.name,))
    requires = tuple(each for each in writer.requires if each[0] == node.name)
    return Stage(node.name, (entry,), (delivery,), (), requires)
