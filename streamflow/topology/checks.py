"""Checks of a topology's graph: names, edges, cycles, and nodes that lead nowhere."""

from streamflow.errors import Problem
from streamflow.model.names import field_problem, node_problem, topic_problem
from streamflow.topology.spec import NodeSpec, TopologySpec


def check_graph(spec: TopologySpec) -> list[Problem]:
    """Every problem of names and edges."""
    problems = _check_names(spec)
    names = {node.name for node in spec.nodes}
    for node in spec.nodes:
        place = f"nodes.{node.name}"
        if node.kind == "source" and node.inputs:
            problems.append(Problem(place, "a source has no input", "remove it"))
        if node.kind != "source" and not node.inputs:
            problems.append(Problem(place, "the node has no input and cannot be reached", "add `input: name`"))
        problems += [
            Problem(place, f"input {name!r} is no node", f"nodes are {', '.join(sorted(names))}")
            for name in node.inputs
            if name not in names
        ]
        if len(set(node.inputs)) < len(node.inputs):
            problems.append(Problem(place, "an input is named twice", "name it once"))
    if not any(node.kind == "source" for node in spec.nodes):
        problems.append(Problem("nodes", "there is no source", "add a node of kind source"))
    return problems + _check_cycles(spec) + _check_ends(spec)


def _check_names(spec: TopologySpec) -> list[Problem]:
    found = [("topology", node_problem(spec.topology))]
    found += [(f"nodes.{node.name}", node_problem(node.name)) for node in spec.nodes]
    for schema, fields in spec.schemas.items():
        found.append((f"schemas.{schema}", field_problem(schema)))
        found += [(f"schemas.{schema}.{name}", field_problem(name)) for name in fields]
        if not fields:
            found.append((f"schemas.{schema}", "a schema needs at least one field"))
    for node in spec.nodes:
        topic = node.config.get("topic")
        if node.kind == "source" and isinstance(topic, str):
            found.append((f"nodes.{node.name}.topic", topic_problem(topic)))
    return [Problem(place, text) for place, text in found if text is not None]


def _check_cycles(spec: TopologySpec) -> list[Problem]:
    """Nodes that a topological order cannot place, as one problem with the cycle written out."""
    inputs = {node.name: [name for name in node.inputs if spec.node(name)] for node in spec.nodes}
    waiting = dict(inputs)
    while free := [name for name, needs in waiting.items() if not any(need in waiting for need in needs)]:
        for name in free:
            del waiting[name]
    if not waiting:
        return []
    path = [next(iter(waiting))]
    while path.count(path[-1]) == 1:
        path.append(next(need for need in inputs[path[-1]] if need in waiting))
    cycle = path[path.index(path[-1]) :][::-1]
    remedy = "remove one of these edges"
    return [Problem(f"nodes.{cycle[0]}", f"the nodes form a cycle: {' → '.join(cycle)}", remedy)]


def _check_ends(spec: TopologySpec) -> list[Problem]:
    """Nodes whose rows reach neither a sink nor a table."""
    problems = []
    useful = {"sink", "window", "echo"}
    reached = {node.name for node in spec.nodes if node.kind in useful}
    grew = True
    while grew:
        feeding = {name for node in spec.nodes if node.name in reached for name in node.inputs}
        grew = not feeding <= reached
        reached |= feeding
    for node in spec.nodes:
        if node.name not in reached:
            message = "its rows reach neither a sink nor a table"
            problems.append(Problem(f"nodes.{node.name}", message, "put a sink behind it or remove it"))
    problems += [
        Problem(f"nodes.{node.name}", f"input {name!r} is a sink and gives nothing", "take the sink's input")
        for node in spec.nodes
        for name in node.inputs
        if _kind(spec, name) == "sink"
    ]
    return problems


def _kind(spec: TopologySpec, name: str) -> str:
    node: NodeSpec | None = spec.node(name)
    return node.kind if node else ""
