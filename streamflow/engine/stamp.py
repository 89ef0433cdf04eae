"""Headers of a sink's records that say who made them, and when."""

from collections.abc import Callable

from streamflow.engine.letters import Headers
from streamflow.nodes.registry import KINDS
from streamflow.plan.plan import Plan, PlannedNode, Stage


class Stamp:
    """Of one sink in one task; `now` tells ms of the wall clock. The headers of one moment are made once."""

    def __init__(self, plan: Plan, stage: Stage, sink: PlannedNode, now: Callable[[], int]) -> None:
        known = {node.name: node.kind for node in stage.nodes}
        name = sink.inputs[0] if len(sink.inputs) == 1 else sink.name
        kind = known.get(name, "")
        self._now, self._made = now, (-1, Headers())
        self._fixed: Headers = (
            ("sf-topology", plan.topology.encode()),
            ("sf-node", name.encode()),
            *((("sf-node-version", f"{kind}@{KINDS[kind].version}".encode()),) if kind in KINDS else ()),
            ("sf-version", b"%d" % plan.version),
        )

    def __call__(self) -> Headers:
        """As of now."""
        now = self._now()
        if self._made[0] != now:
            self._made = now, (*self._fixed, ("sf-processed", b"%d" % now))
        return self._made[1]
