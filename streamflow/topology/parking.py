"""Checks of `parking`: each is of a node at which a stage begins, has a key, and asks nobody outside."""

from collections.abc import Mapping

from streamflow.errors import Problem
from streamflow.model.names import near_name
from streamflow.topology.lowering import LoweredNode
from streamflow.topology.parts import cut
from streamflow.topology.priorities import levels_of
from streamflow.topology.queues import awaits
from streamflow.topology.spec import TopologySpec


def check_parking(written: TopologySpec, spec: TopologySpec, nodes: Mapping[str, LoweredNode]) -> list[Problem]:
    """Every problem of `parking`. written: as declared; spec: with what was put in."""
    if not written.parking:
        return []
    names = [node.name for node in written.nodes]
    parts = {entry: part for part in cut(spec) for entry in part.entries}
    levels = levels_of(spec, nodes)
    awaiting = {node.name for node in spec.nodes if awaits(node)}
    problems = []
    for name in written.parking:
        place, part = f"parking.{name}", parts.get(name)
        if name not in names:
            problems.append(Problem(place, "there is no such node", near_name(name, names, "nodes are")))
        elif part is None:
            begin = ", ".join(each for each in parts if each in names)
            remedy = f"name where the stage begins: {begin}; a key_by does when what is behind it keeps state"
            problems.append(Problem(place, "rows do not come here by a topic, so none can wait", remedy))
        elif levels.get(name):
            remedy = "park at a key_by behind a stateful node, or give the source no `priorities`"
            problems.append(Problem(place, "its rows come by several levels, so a key has no one order", remedy))
        elif name in nodes and nodes[name].lowered.output.key is None:
            remedy = "give the source a `key`, or park at a key_by behind it"
            problems.append(Problem(place, "its rows have no key to wait by", remedy))
        elif calling := sorted(awaiting.intersection(part.nodes)):
            message = f"{', '.join(calling)} asks outside, ahead of the order in which rows are worked on"
            remedy = "let failing calls give rows (`fallback`), and park where their rows go by a key_by"
            problems.append(Problem(place, message, remedy))
    return problems
