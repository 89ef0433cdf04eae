"""What the shape of the generated functions follows from: where a run of nodes ends, and what it knows of time."""

from collections import Counter
from collections.abc import Iterable, Sequence

from streamflow.nodes.join_operators import Apart
from streamflow.nodes.operators import Apply, Await, Distinct, Emit, Fold, Limit, Park, Process, Rescued, Unfold
from streamflow.plan.plan import PlannedNode

#: Nodes whose statements stand within each other's, and forks among them. Python takes 100 levels of indentation, of
#: which a node needs up to four, and 20 blocks such as `try`, of which a function has three and a fork needs two.
_NESTED_MAX, _FORKS_MAX = 16, 6


def ends_run(node: PlannedNode) -> bool:
    """Whether its rows do not go on in the same function: they leave, or others go on in a function of their own."""
    return leaves(node) or isinstance(node.operator, Fold | Apply | Await | Process | Unfold | Park)


def too_deep(nodes: Sequence[PlannedNode]) -> frozenset[str]:
    """Names of those nodes that need functions of their own, being nested too deeply. nodes: behind their inputs."""
    readers = Counter(name for node in nodes for name in node.inputs)
    ending = {node.name for node in nodes if ends_run(node)}
    place: dict[str, tuple[int, int]] = {}
    found = set()
    for node in nodes:
        before = node.inputs[0] if len(node.inputs) == 1 else ""
        nested, forks = (0, 0) if before in ending else place.get(before, (0, 0))
        nested, forks = nested + 1, forks + (readers[before] > 1 or isinstance(node.operator, Rescued))
        if nested > _NESTED_MAX or forks > _FORKS_MAX:
            found.add(node.name)
            nested, forks = 0, 0
        place[node.name] = nested, forks
    return frozenset(found)


def leaves(node: PlannedNode) -> bool:
    """Whether rows leave the stage here."""
    return isinstance(node.operator, Emit) or node.repartition_topic is not None


def needs_time(nodes: Iterable[PlannedNode]) -> bool:
    """Whether something asks for the watermark of this very event: elsewhere borders are enough."""
    operators = [node.operator for node in nodes]
    if any(isinstance(each, Apart | Process | Park | Distinct | Limit) for each in operators):
        return True
    return any(isinstance(each, Fold) and each.needs_time for each in operators)
