"""A foreign_join becomes three nodes, so that everything behind (parts, lowering, checks) sees an ordinary topology.

paid: {kind: foreign_join, inputs: [orders, customers], key: customer_id}
──►  paid_subscriptions   in the tasks of orders: what a row has become, to the task of its foreign key
     paid_answers         in the tasks of customers: both rows, to the task of the order's key
     paid                 the results that are not outdated
"""

from dataclasses import replace

from streamflow.errors import Problem
from streamflow.topology.names import free_name
from streamflow.topology.spec import NodeSpec, TopologySpec


def with_foreign_joins(spec: TopologySpec) -> TopologySpec:
    """The topology with the parts of every foreign_join."""
    nodes: list[NodeSpec] = []
    taken = {node.name for node in spec.nodes}
    for node in spec.nodes:
        nodes += _parts(node, taken) if node.kind == "foreign_join" and len(node.inputs) == 2 else [node]
    return spec if len(nodes) == len(spec.nodes) else spec.model_copy(update={"nodes": tuple(nodes)})


def as_written(spec: TopologySpec, problem: Problem) -> Problem:
    """A problem of a part is one of the node that it is a part of."""
    for node in spec.nodes:
        place = f"nodes.{node.name}"
        if node.part_of and (problem.place == place or problem.place.startswith(f"{place}.")):
            return replace(problem, place=f"nodes.{node.part_of}{problem.place.removeprefix(place)}")
    return problem


def _parts(node: NodeSpec, taken: set[str]) -> list[NodeSpec]:
    """Without what is wrong in the configuration: the node itself has it all, and tells."""
    left, right = node.inputs
    config = node.config
    asks, answers = (free_name(f"{node.name[:48]}_{part}", taken) for part in ("subscriptions", "answers"))
    return [
        NodeSpec(
            name=asks,
            kind="foreign_subscriptions",
            inputs=(left,),
            config={"key": config.get("key"), "inputs": node.inputs},
            part_of=node.name,
            requires=node.requires,
        ),
        NodeSpec(
            name=answers,
            kind="foreign_answers",
            inputs=(asks, right),
            config={key: config[key] for key in ("type", "max_rows") if key in config} | {"inputs": node.inputs},
            part_of=node.name,
            requires=node.requires,
        ),
        node.model_copy(update={"inputs": (answers,), "written_inputs": node.inputs}),
    ]
