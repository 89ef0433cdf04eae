"""How much may meet in one stage: its progress has to fit into the metadata of an offset (checkpoint/progress.py)."""

from collections.abc import Iterable

from streamflow.errors import Problem
from streamflow.nodes.operators import Await
from streamflow.plan.plan import Stage

#: Inputs of a stage: a mark of some 9 bytes each per upstream partition, and the progress goes with every one's offset.
ENTRIES_MAX = 200
#: Unordered async nodes of a stage: what overtook takes up to 683 characters each.
UNORDERED_MAX = 5


def stage_problems(stages: Iterable[Stage]) -> list[Problem]:
    """Stages in which too much meets."""
    problems = []
    for stage in stages:
        unordered = sum(isinstance(node.operator, Await) and not node.operator.ordered for node in stage.nodes)
        for count, most, what in (
            (len(stage.entries), ENTRIES_MAX, "topics and queues of async nodes"),
            (unordered, UNORDERED_MAX, "unordered async nodes"),
        ):
            if count > most:
                message = f"{count} {what} meet in one stage, {most} may"
                problems.append(Problem(f"stage {stage.name[:60]}", message, "give some of them sinks of their own"))
    return problems
