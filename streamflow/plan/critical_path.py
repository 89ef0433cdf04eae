"""How far the rows of each input still have to go: what is worth doing first when there is more than enough to do.

A call waits for somebody else, a hop waits for a transaction; both pass while other work is done, if they begin early.
Of two inputs the one with more calls behind it goes first, then the one with more hops. Pure.
"""

from streamflow.nodes.operators import Await
from streamflow.plan.plan import Plan, Stage

#: Longer than any way of hops: a stage may not read what it writes, and a topology has 2,500 nodes at most.
_CALL = 10_000


def critical_path(plan: Plan) -> dict[str, int]:
    """Per input topic the calls and hops on the longest way from it, weighted; inputs of one stage are alike."""
    found: dict[str, int] = {}
    for stage in reversed(plan.stages):  # readers before those who write to them
        behind = [found[node.repartition_topic] for node in stage.nodes if node.repartition_topic in found]
        length = _calls(stage) * _CALL + 1 + max(behind, default=0)
        found.update(dict.fromkeys(stage.input_topics, length))
    return found


def _calls(stage: Stage) -> int:
    return int(any(isinstance(node.operator, Await) for node in stage.nodes))
