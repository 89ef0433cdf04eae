"""What the shape of the generated functions follows from: where a run of nodes ends, and what it knows of time."""

from collections.abc import Iterable

from streamflow.nodes.join_operators import Apart
from streamflow.nodes.operators import Apply, Await, Distinct, Emit, Fold, Limit, Park, Process, Unfold
from streamflow.plan.plan import PlannedNode


def ends_run(node: PlannedNode) -> bool:
    """Whether its rows do not go on in the same function: they leave, or others go on in a function of their own."""
    return leaves(node) or isinstance(node.operator, Fold | Apply | Await | Process | Unfold | Park)


def leaves(node: PlannedNode) -> bool:
    """Whether rows leave the stage here."""
    return isinstance(node.operator, Emit) or node.repartition_topic is not None


def needs_time(nodes: Iterable[PlannedNode]) -> bool:
    """Whether something asks for the watermark of this very event: elsewhere borders are enough."""
    operators = [node.operator for node in nodes]
    if any(isinstance(each, Apart | Process | Park | Distinct | Limit) for each in operators):
        return True
    return any(isinstance(each, Fold) and each.needs_time for each in operators)
