"""The kind of a node: one that a person may declare, or of a part that was put in for such a node."""

from streamflow.nodes.foreign_parts import PARTS
from streamflow.nodes.kind import NodeKind
from streamflow.nodes.registry import KINDS
from streamflow.topology.spec import NodeSpec


def kind_of(node: NodeSpec) -> NodeKind | None:
    """None when there is none of that name."""
    return PARTS.get(node.kind) if node.part_of else KINDS.get(node.kind)


def rekeys(node: NodeSpec) -> bool:
    """Whether rows get another key there."""
    kind = kind_of(node)
    return kind is not None and kind.rekeys
