"""A plan for people and programs: plain data, and a Mermaid picture."""

from dataclasses import asdict
from typing import Any

from streamflow.nodes.operators import Emit, Lookup, Score
from streamflow.plan.notes import notes
from streamflow.plan.plan import Entry, GlobalTablePlan, Plan, PlannedNode, TablePlan


def describe(plan: Plan) -> dict[str, Any]:
    """The plan as data that JSON can carry. Times are integers of milliseconds."""
    return {
        "topology": plan.topology,
        "version": plan.version,
        "guarantee": plan.guarantee.value,
        "stages": [
            {
                "name": stage.name,
                "reads": list(stage.input_topics),
                "requires": {node: list(names) for node, names in stage.requires},
                "entries": [_entry(entry) for entry in stage.entries],
                "nodes": [_node(node) for node in stage.nodes],
                "tables": [_table(table) for table in stage.tables],
            }
            for stage in plan.stages
        ],
        "global_tables": [_global_table(table) for table in plan.global_tables],
        "topics": [
            {
                "name": topic.name,
                "role": topic.role.value,
                "partitions": topic.partitions or f"as {topic.partitions_like or 'found'}",
                "config": dict(topic.config),
            }
            for topic in plan.topics
        ],
        "notes": notes(plan),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "node": entry.node,
        "topic": entry.topic,
        "kind": entry.kind.value,
        "key": entry.key.source if entry.key else None,
        "event_time": entry.event_time,
        "watermark_delay_ms": entry.watermark_delay_ms,
        **({"level": entry.level, "share": entry.share} if entry.level else {}),
    }


def _node(node: PlannedNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "inputs": list(node.inputs),
        "key": node.key_name,
        "writes": _written(node),
        "fields": {field.name: f"{field.type}{'?' if field.nullable else ''}" for field in node.schema.fields},
    }


def _table(table: TablePlan) -> dict[str, Any]:
    about: dict[str, Any] = {"name": table.name, "node": table.node, "windowed": table.windowed, "key": table.key_name}
    if table.windowed:
        about |= {"lateness_ms": table.lateness_ms, "retention_ms": table.retention_ms}
    if table.window is not None:
        about["window"] = {"type": type(table.window).__name__.lower(), **asdict(table.window)}
    return about | {"changelog": table.changelog_topic, "layout": table.layout}


def _global_table(table: GlobalTablePlan) -> dict[str, Any]:
    return {
        "name": table.name,
        "topic": table.topic,
        "key": table.key_name,
        "max_rows": table.max_rows,
        "max_bytes": table.max_bytes,
        "fields": {field.name: f"{field.type}{'?' if field.nullable else ''}" for field in table.schema.fields},
    }


def _written(node: PlannedNode) -> str | None:
    """Topic that a node's rows leave for, None when they do not."""
    return node.repartition_topic or (node.operator.topic if isinstance(node.operator, Emit) else None)


def mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flowchart: topics and tables as cylinders, stages as boxes around their nodes."""
    lines, edges = ["flowchart LR"], []
    written = [topic for stage in plan.stages for topic in map(_written, stage.nodes) if topic is not None]
    read = [topic for stage in plan.stages for topic in stage.input_topics]
    names = sorted({*written, *read, *(table.topic for table in plan.global_tables)})
    # Numbered, because two topics may differ in a dot only, which Mermaid does not take in a name.
    topics = {name: f"topic{number}" for number, name in enumerate(names)}
    for number, stage in enumerate(plan.stages):
        lines.append(f'  subgraph stage{number}["stage {stage.name}"]')
        lines += [f'    {_id(number, node.name)}["{node.name}<br/><i>{node.kind}</i>"]' for node in stage.nodes]
        lines += [f'    {_table_id(table)}[("{table.name}")]' for table in stage.tables]
        lines.append("  end")
        for node in stage.nodes:
            for name in node.inputs:
                starts = [topics[entry.topic] for entry in stage.entries if entry.node == name] or [_id(number, name)]
                edges += [f"  {start} --> {_id(number, node.name)}" for start in starts]
            if isinstance(node.operator, Lookup | Score):
                asked = node.operator.table if isinstance(node.operator, Lookup) else node.operator.registry
                edges.append(f"  {_global_id(asked)} -.- {_id(number, node.name)}")
            decisions = [entry.topic for entry in stage.entries if entry.decides == node.name]
            edges += [f"  {topics[each]} --> {_id(number, node.name)}" for each in decisions]
            leaves = (_written(node), *(topic for _, topic in node.level_topics))
            edges += [f"  {_id(number, node.name)} --> {topics[topic]}" for topic in leaves if topic is not None]
        for table in stage.tables:
            parking = [each.topic for each in stage.entries if table.node in (each.node, each.releases)]
            kept_by = [topics[each] for each in parking] or [_id(number, table.node)]
            edges += [f"  {each} -.- {_table_id(table)}" for each in kept_by]
    for known in plan.global_tables:
        lines.append(f'  {_global_id(known.name)}[("{known.name}<br/><i>global table</i>")]')
        edges.append(f"  {topics[known.topic]} --> {_global_id(known.name)}")
    lines += [f'  {topics[name]}[("{name}")]' for name in names]
    return "\n".join([*lines, *edges]) + "\n"


def _table_id(table: TablePlan) -> str:
    return f"table_{table.name.replace('.', '__')}"


def _global_id(table: str) -> str:
    return f"global_{table.replace('.', '__').replace('-', '_')}"


def _id(stage: int, node: str) -> str:
    return f"s{stage}_{node.replace('.', '__')}"
