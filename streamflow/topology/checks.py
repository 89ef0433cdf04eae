"""Checks of a topology's graph: names, edges, cycles, nodes that lead nowhere, parts that cannot run together."""

from streamflow.errors import Problem
from streamflow.model.names import field_problem, near_name, node_problem
from streamflow.topology.graph import children_of, cycles
from streamflow.topology.kinds import kind_of
from streamflow.topology.outputs import outputs_of
from streamflow.topology.parts import cut, feedback
from streamflow.topology.spec import TopologySpec

#: Kinds whose rows are of use without anything behind them.
_SINKS = {"sink", "file_sink", "sql_sink"}
_ENDS = {*_SINKS, "window", "echo", "process", "table", "accept", "foreign_join", "global_table", "webhook"}
#: Kinds that read a topic.
_STARTS = {"source", "global_table"}


def check_graph(spec: TopologySpec) -> list[Problem]:
    """Every problem of names and edges."""
    problems = _check_names(spec) + _check_edges(spec)
    if not any(node.kind == "source" for node in spec.nodes):
        problems.append(Problem("nodes", "there is no source", "add a node of kind source"))
    return problems + _check_cycles(spec) + _check_ends(spec) + _check_parts(spec) + _check_ids(spec)


def _check_names(spec: TopologySpec) -> list[Problem]:
    found = [("topology", node_problem(spec.topology))]
    found += [
        (f"nodes.{node.name}", node_problem(node.name)) for node in spec.nodes if not (node.output_of or node.queue_of)
    ]
    for schema, fields in spec.schemas.items():
        found.append((f"schemas.{schema}", field_problem(schema)))
        found += [(f"schemas.{schema}.{name}", field_problem(name)) for name in fields]
        if not fields:
            found.append((f"schemas.{schema}", "a schema needs at least one field"))
    problems = [Problem(place, text) for place, text in found if text is not None]
    names = [node.name for node in spec.nodes]
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    return problems + [Problem(f"nodes.{name}", "two nodes have this name", "rename one") for name in twice]


def _check_edges(spec: TopologySpec) -> list[Problem]:
    problems = []
    kinds = {node.name: node.kind for node in spec.nodes}
    parted = {node.name for node in spec.nodes if not node.output_of and outputs_of(node)}
    queues = {node.name for node in spec.nodes if node.queue_of}
    for node in spec.nodes:
        place = f"nodes.{node.name}"
        if node.kind in _STARTS and node.inputs:
            problems.append(Problem(place, f"a {node.kind} has no input", "remove it"))
        if node.kind not in _STARTS and not node.inputs:
            problems.append(Problem(place, "the node has no input and cannot be reached", "add `input: name`"))
        if len(set(node.inputs)) < len(node.inputs):
            problems.append(Problem(place, "an input is named twice", "name it once"))
        for name in dict.fromkeys(node.inputs):
            if name not in kinds or (name in queues and name != f"{node.name}.queue"):
                known = sorted(kinds.keys() - queues)
                problems.append(Problem(place, f"input {name!r} is no node", near_name(name, known, "nodes are")))
            elif name in parted and not node.output_of:
                outputs = ", ".join(each.name for each in spec.nodes if each.output_of == name)
                problems.append(Problem(place, f"input {name!r} has several outputs", f"name one of {outputs}"))
            elif kinds[name] in _SINKS:
                message = f"input {name!r} is a {kinds[name]} and gives nothing"
                problems.append(Problem(place, message, "take the sink's input"))
            elif kinds[name] == "global_table":
                message = f"input {name!r} is a global table and gives no rows of its own"
                problems.append(Problem(place, message, f"use a lookup with `table: {name}`"))
    return problems


def _check_cycles(spec: TopologySpec) -> list[Problem]:
    """Each cycle as one problem that writes it out."""
    found = cycles({node.name: list(node.inputs) for node in spec.nodes})
    return [
        Problem(f"nodes.{cycle[0]}", f"the nodes form a cycle: {' → '.join(cycle)}", "remove one of these edges")
        for cycle in found
    ]


def _check_ends(spec: TopologySpec) -> list[Problem]:
    """Nodes whose rows reach neither a sink nor a table. A node of an unknown kind may be either.

    One output of several may be read by nobody: its rows are dropped, and counted.
    """
    useful = [node for node in spec.nodes if (node.kind in _ENDS and not node.queue_of) or kind_of(node) is None]
    reached: set[str] = set()
    while useful:
        node = useful.pop()
        if node.name not in reached:
            reached.add(node.name)
            useful += [each for each in spec.nodes if each.name in node.inputs]
    message, remedy = "its rows reach neither a sink nor a table", "put a sink behind it or remove it"
    return [
        Problem(f"nodes.{node.name}", message, remedy)
        for node in spec.nodes
        if node.name not in reached and not node.output_of
    ]


def _check_ids(spec: TopologySpec) -> list[Problem]:
    """Ids of executions are in headers, events and paths of the API."""
    return [
        Problem(f"nodes.{node.name}.execution_id", f"{node.config['execution_id']!r} is secret", "name another field")
        for node in spec.nodes
        if node.config.get("execution_id") in spec.secret_fields
    ]


def _check_parts(spec: TopologySpec) -> list[Problem]:
    """Nodes that would run together but cannot: differing partition counts, and rows that meet their own past."""
    problems = []
    children = children_of(spec)
    declared = {node.name: node.config.get("partitions") for node in spec.nodes if node.kind == "source"}
    for part in cut(spec):
        counts = {name: declared[name] for name in part.entries if isinstance(declared.get(name), int)}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{name} has {count}" for name, count in counts.items())
            remedy = "declare one number, or put a key_by on each of them before they meet a stateful node"
            problems.append(
                Problem(f"nodes.{next(iter(counts))}.partitions", f"partition counts differ: {shown}", remedy)
            )
    for links in feedback(spec):
        behind = ", ".join(child.name for child in children[links[0]])
        message = f"rows behind {' and '.join(links)} meet rows from before; their time would wait for itself"
        remedy = f"give what follows {behind} a sink of its own; two sinks may write one topic"
        joined = next((node for node in spec.nodes if node.name == links[0] and node.part_of), None)
        if joined is not None:
            remedy = f"put a key_by right before the second table of {joined.part_of}, so that it lives elsewhere"
        problems.append(Problem(f"nodes.{links[0]}", message, remedy))
    return problems
