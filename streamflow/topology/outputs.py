"""Nodes with several outputs: each output becomes a node of its own, so that others read it like any node.

router: {kind: branch, input: a, outputs: {high: value > 10}, otherwise: low}
alarms: {kind: sink, input: router.high, topic: alarms}
──►  router.high, router.low: nodes behind router, with rows and counts of their own
"""

from streamflow.nodes.registry import KINDS
from streamflow.topology.spec import NodeSpec, TopologySpec


def with_outputs(spec: TopologySpec) -> TopologySpec:
    """The topology with a node for every named output."""
    nodes: list[NodeSpec] = []
    for node in spec.nodes:
        nodes.append(node)
        kind = KINDS.get(node.kind)
        for output in kind.outputs_of(node.config) if kind is not None else ():
            name = f"{node.name}.{output}"
            nodes.append(NodeSpec(name=name, kind=node.kind, inputs=(node.name,), output_of=node.name))
    return spec if len(nodes) == len(spec.nodes) else spec.model_copy(update={"nodes": tuple(nodes)})
