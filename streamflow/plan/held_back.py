"""How far behind the watermark rows may come that are not late: by it, time is held back for what is behind them.

    window, allowed lateness L     fires or corrects up to L behind its end, rows have the time end - 1
    join, allowed lateness L       takes rows up to L behind, its pairs have their time

    source ──0──► window, 10 m ──10 m──► window, 5 m ──15 m──► key_by ──► topic, whose marks say watermark - 15 m

So a node sees a watermark that its input has really come to, and lateness adds up along a path. What a node gives late
because its own input was late (a filter, a deduplicate) stays late.
"""

from collections.abc import Iterable, Mapping

from streamflow.nodes.join_operators import Join
from streamflow.nodes.operators import Fold, Operator
from streamflow.plan.plan import PlannedNode


def held_back_ms(nodes: Iterable[PlannedNode]) -> dict[str, int]:
    """Per node of a stage, in topological order, how far behind its watermark its rows may come."""
    found: dict[str, int] = {}
    for node in nodes:
        found[node.name] = behind_ms(node, found) + _own_ms(node.operator)
    return found


def behind_ms(node: PlannedNode, held: Mapping[str, int]) -> int:
    """The same of what comes into a node; what comes from entries is never behind."""
    return max((held.get(name, 0) for name in node.inputs), default=0)


def _own_ms(operator: Operator) -> int:
    return operator.allowed_lateness_ms if isinstance(operator, Fold | Join) else 0
