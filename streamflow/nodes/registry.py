"""The kinds that a topology may use, by name."""

from collections.abc import Iterable
from difflib import get_close_matches

from streamflow.errors import InternalError
from streamflow.nodes.combine import Combine
from streamflow.nodes.deduplicate import Deduplicate
from streamflow.nodes.echo import Echo
from streamflow.nodes.filter import Filter
from streamflow.nodes.global_table import GlobalTable
from streamflow.nodes.join import Join
from streamflow.nodes.key_by import KeyBy
from streamflow.nodes.kind import Category, NodeKind
from streamflow.nodes.lookup import Lookup
from streamflow.nodes.map import Map
from streamflow.nodes.multiply import Multiply
from streamflow.nodes.pass_through import PassThrough
from streamflow.nodes.process import Process
from streamflow.nodes.python import Python
from streamflow.nodes.sink import Sink
from streamflow.nodes.source import Source
from streamflow.nodes.table import Table
from streamflow.nodes.table_join import TableJoin
from streamflow.nodes.tables_join import TablesJoin
from streamflow.nodes.threshold import Threshold
from streamflow.nodes.window import Window

_BUILT_IN: tuple[type[NodeKind], ...] = (
    Source,
    Sink,
    Filter,
    Map,
    KeyBy,
    Window,
    Process,
    Python,
    Deduplicate,
    Join,
    Table,
    TableJoin,
    TablesJoin,
    Combine,
    PassThrough,
    Echo,
    Multiply,
    Threshold,
    GlobalTable,
    Lookup,
)


def by_name(kinds: Iterable[type[NodeKind]]) -> dict[str, NodeKind]:
    """Kinds by name. Raises InternalError for a name taken twice, or a kind of no category."""
    found: dict[str, NodeKind] = {}
    for kind in kinds:
        if kind.kind in found:
            taken = type(found[kind.kind]).__name__
            raise InternalError(f"node kind {kind.kind!r} is registered by {taken} already; rename {kind.__name__}'s")
        if kind.category not in set(Category):
            raise InternalError(
                f"node kind {kind.kind!r} has category {kind.category!r}; use one of {', '.join(Category)}"
            )
        found[kind.kind] = kind()
    return found


#: Every kind by its name.
KINDS: dict[str, NodeKind] = by_name(_BUILT_IN)


def near_kinds(name: str) -> str:
    """A hint for an unknown kind: the nearest names, or all of them."""
    near = get_close_matches(name, KINDS, 2)
    return f"did you mean {' or '.join(near)}?" if near else f"kinds are {', '.join(sorted(KINDS))}"
