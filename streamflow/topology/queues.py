"""Async nodes get their rows by a topic of their own, so that what is slow holds up nothing but what is behind it.

    weather: {kind: http_request, input: places, …}
    ──►  weather.queue: hands rows over to the same partition of a topic; weather: first node of another stage

A key_by whose rows go to the async node alone is such a topic already. The same for a model or a person's code that
requires of workers what those before it do not: its rows are for other workers.
"""

from collections import Counter
from collections.abc import Iterable

from streamflow.topology.kinds import kind_of
from streamflow.topology.spec import NodeSpec, TopologySpec


def awaits(node: NodeSpec) -> bool:
    """Whether a node is async."""
    kind = kind_of(node)
    return kind is not None and not node.output_of and not node.queue_of and kind.awaits(node.config)


def comes_by_topic(node: NodeSpec, before: Iterable[NodeSpec]) -> bool:
    """Whether rows come to a node by a topic of its own. before: the nodes that it reads."""
    kind = kind_of(node)
    if kind is None or node.output_of or node.queue_of:
        return False
    parts_off = kind.parts_off and any(not set(node.requires) <= set(each.requires) for each in before)
    return parts_off or kind.awaits(node.config)


def with_queues(spec: TopologySpec) -> TopologySpec:
    """The topology with a queue before every async node, and others that part off."""
    key_bys = {node.name for node in spec.nodes if node.kind == "key_by"}
    by_name = {node.name: node for node in spec.nodes}
    readers = Counter(name for node in spec.nodes for name in node.inputs)
    nodes: list[NodeSpec] = []
    for node in spec.nodes:
        alone = len(node.inputs) == 1 and readers[node.inputs[0]] == 1
        before = [by_name[name] for name in node.inputs if name in by_name]
        if comes_by_topic(node, before) and not (alone and node.inputs[0] in key_bys):
            queue = NodeSpec(name=f"{node.name}.queue", kind=node.kind, inputs=node.inputs, queue_of=node.name)
            nodes += [queue, node.model_copy(update={"inputs": (queue.name,)})]
        else:
            nodes.append(node)
    return spec if len(nodes) == len(spec.nodes) else spec.model_copy(update={"nodes": tuple(nodes)})
