"""Nodes that are left out of the metrics: `metrics: {known: false}`."""

from streamflow.errors import Problem
from streamflow.model.names import near_name
from streamflow.topology.spec import TopologySpec


def check_metrics(spec: TopologySpec) -> list[Problem]:
    """Names of no node."""
    names = [node.name for node in spec.nodes]
    unknown = [name for name in spec.metrics if name not in names]
    return [
        Problem(f"metrics.{name}", "there is no such node", near_name(name, names, "nodes are")) for name in unknown
    ]


def unmetered(spec: TopologySpec) -> frozenset[str]:
    """Those that are left out, each with what was put in for it: outputs, queues and parts."""
    hidden = {name for name, is_shown in spec.metrics.items() if not is_shown}
    return frozenset(
        node.name for node in spec.nodes if hidden & {node.name, node.output_of, node.queue_of, node.part_of}
    )
