"""A plan for people and programs: plain data, and a Mermaid picture."""

from typing import Any

from streamflow.nodes.operators import Emit
from streamflow.plan.plan import Plan


def describe(plan: Plan) -> dict[str, Any]:
    """The plan as data that JSON can carry."""
    return {
        "topology": plan.topology,
        "version": plan.version,
        "guarantee": plan.guarantee.value,
        "stages": [
            {
                "name": stage.name,
                "reads": list(stage.input_topics),
                "nodes": [{"name": node.name, "kind": node.kind, "inputs": list(node.inputs)} for node in stage.nodes],
                "tables": [{"name": table.name, "windowed": table.windowed} for table in stage.tables],
            }
            for stage in plan.stages
        ],
        "topics": [
            {
                "name": topic.name,
                "role": topic.role.value,
                "partitions": topic.partitions or f"as {topic.partitions_like or 'found'}",
                "config": dict(topic.config),
            }
            for topic in plan.topics
        ],
    }


def mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flowchart: topics as cylinders, stages as boxes around their nodes."""
    lines, edges = ["flowchart LR"], []
    for number, stage in enumerate(plan.stages):
        lines.append(f'  subgraph stage{number}["stage {stage.name}"]')
        for node in stage.nodes:
            lines.append(f'    {_id(number, node.name)}["{node.name}<br/><i>{node.kind}</i>"]')
        lines += [f'    table_{table.name}[("{table.name}")]' for table in stage.tables]
        lines.append("  end")
        entries = {entry.node: entry.topic for entry in stage.entries}
        for node in stage.nodes:
            for name in node.inputs:
                start = _topic(entries[name]) if name in entries else _id(number, name)
                edges.append(f"  {start} --> {_id(number, node.name)}")
            topic = node.repartition_topic or (node.operator.topic if isinstance(node.operator, Emit) else None)
            if topic is not None:
                edges.append(f"  {_id(number, node.name)} --> {_topic(topic)}")
        edges += [f"  {_id(number, table.node)} -.- table_{table.name}" for table in stage.tables]
    topics = {topic for stage in plan.stages for topic in stage.input_topics}
    topics |= {node.operator.topic for stage in plan.stages for node in stage.nodes if isinstance(node.operator, Emit)}
    lines += [f'  {_topic(name)}[("{name}")]' for name in sorted(topics)]
    return "\n".join([*lines, *edges]) + "\n"


def _id(stage: int, node: str) -> str:
    return f"s{stage}_{node}"


def _topic(name: str) -> str:
    return "topic_" + "".join(letter if letter.isalnum() else "_" for letter in name)
