"""What an event of a source may come to."""

from streamflow.plan.plan import EntryKind, Plan, PlannedNode


def nodes_behind(plan: Plan, source: str) -> list[PlannedNode]:
    """Nodes that rows of a source may come to, in the order of the plan."""
    reached, found = {source}, []
    for stage in plan.stages:  # writers of repartition topics before their readers
        entries = {entry.node for entry in stage.entries if entry.kind is EntryKind.REPARTITION or entry.node == source}
        reached_here = entries & reached
        for node in stage.nodes:
            if reached_here.intersection(node.inputs):
                reached_here.add(node.name)
                found.append(node)
        reached |= reached_here
    return found
