"""The graph of a declared topology: order, children, cycles. Edges to nodes that do not exist are left out."""

from streamflow.topology.spec import NodeSpec, TopologySpec


def ordered(spec: TopologySpec) -> list[NodeSpec]:
    """Nodes in topological order, ties as declared; nodes that no source leads to (cycles) are left out."""
    done: list[NodeSpec] = []
    names: set[str] = set()
    waiting = list(spec.nodes)
    while ready := [node for node in waiting if all(name in names for name in node.inputs)]:
        done += ready
        names |= {node.name for node in ready}
        waiting = [node for node in waiting if node.name not in names]
    return done


def children_of(spec: TopologySpec) -> dict[str, list[NodeSpec]]:
    """For every node the nodes that read from it, in declared order."""
    children: dict[str, list[NodeSpec]] = {node.name: [] for node in spec.nodes}
    for node in spec.nodes:
        for name in dict.fromkeys(node.inputs):
            if name in children:
                children[name].append(node)
    return children


def cycles(inputs: dict[str, list[str]]) -> list[list[str]]:
    """Cycles of a graph given as name -> names it reads from, each in flow order and closed: [a, b, a].

    Every node of a cycle is in one of them; cycles that share nodes may be told as one.
    """
    waiting = {name: [each for each in reads if each in inputs] for name, reads in inputs.items()}
    found: list[list[str]] = []
    while True:
        _peel(waiting)
        if not waiting:
            return found
        # What is left has an input that is left as well, so walking upstream must come back to itself.
        path = [next(iter(waiting))]
        while path.count(path[-1]) == 1:
            path.append(next(each for each in waiting[path[-1]] if each in waiting))
        cycle = path[path.index(path[-1]) :][::-1]
        found.append(cycle)
        for name in cycle[1:]:
            del waiting[name]


def _peel(waiting: dict[str, list[str]]) -> None:
    """Take away, again and again, what reads from nothing that is left."""
    while free := [name for name, reads in waiting.items() if not any(each in waiting for each in reads)]:
        for name in free:
            del waiting[name]
