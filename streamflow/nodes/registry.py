"""The kinds that a topology may use, by name."""

from difflib import get_close_matches

from streamflow.nodes.echo import Echo
from streamflow.nodes.filter import Filter
from streamflow.nodes.key_by import KeyBy
from streamflow.nodes.kind import NodeKind
from streamflow.nodes.map import Map
from streamflow.nodes.multiply import Multiply
from streamflow.nodes.pass_through import PassThrough
from streamflow.nodes.sink import Sink
from streamflow.nodes.source import Source
from streamflow.nodes.threshold import Threshold
from streamflow.nodes.window import Window

_BUILT_IN: tuple[type[NodeKind], ...] = (
    Source,
    Sink,
    Filter,
    Map,
    KeyBy,
    Window,
    PassThrough,
    Echo,
    Multiply,
    Threshold,
)

#: Every kind by its name.
KINDS: dict[str, NodeKind] = {kind.kind: kind() for kind in _BUILT_IN}


def near_kinds(name: str) -> str:
    """A hint for an unknown kind: the nearest names, or all of them."""
    near = get_close_matches(name, KINDS, 2)
    return f"did you mean {' or '.join(near)}?" if near else f"kinds are {', '.join(sorted(KINDS))}"
