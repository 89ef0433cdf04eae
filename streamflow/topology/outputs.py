"""Nodes with several outputs: each output becomes a node of its own, so that others read it like any node.

router: {kind: branch, input: a, outputs: {high: value > 10}, otherwise: low}
alarms: {kind: sink, input: router.high, topic: alarms}
──►  router.high, router.low: nodes behind router, with rows and counts of their own

And so does `node.failed`, of any node whose failed rows somebody reads: they are no dead letters then; and what a kind
gives aside, such as `node.excess`, where somebody reads it.
"""

from streamflow.nodes.registry import KINDS
from streamflow.topology.spec import NodeSpec, TopologySpec

#: The output of rows that failed at a node.
FAILED = "failed"


def with_outputs(spec: TopologySpec) -> TopologySpec:
    """The topology with a node for every named output, and for rows that fail where somebody reads them."""
    nodes: list[NodeSpec] = []
    read = {name for node in spec.nodes for name in node.inputs}
    for node in spec.nodes:
        nodes.append(node)
        outputs = list(outputs_of(node))
        outputs += [each for each in _asides_of(node) if each not in outputs and f"{node.name}.{each}" in read]
        for output in outputs:
            name = f"{node.name}.{output}"
            nodes.append(NodeSpec(name=name, kind=node.kind, inputs=(node.name,), output_of=node.name))
    return spec if len(nodes) == len(spec.nodes) else spec.model_copy(update={"nodes": tuple(nodes)})


def _asides_of(node: NodeSpec) -> tuple[str, ...]:
    kind = KINDS.get(node.kind)
    return (*(kind.asides if kind is not None else ()), FAILED)


def outputs_of(node: NodeSpec) -> tuple[str, ...]:
    """Names of the outputs that a declared node's kind gives it; none when it is read by its own name."""
    kind = KINDS.get(node.kind)
    return kind.outputs_of(node.config) if kind is not None else ()
