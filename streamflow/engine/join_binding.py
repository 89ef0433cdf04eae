"""Binds tables, and nodes that take their inputs apart, to the state of a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from streamflow.engine.asked_table import AskedTable
from streamflow.engine.combine_table import CombineTable
from streamflow.engine.fold_table import NEVER, FoldTable
from streamflow.engine.join_table import JoinTable
from streamflow.engine.key_endings import EndingVersions
from streamflow.engine.keyed_table import KeyedTable
from streamflow.engine.letters import incomplete_headers
from streamflow.engine.lookups import LATER, NOTHING, AsOfLookup, CurrentLookup
from streamflow.engine.outputs import Outputs, RouteTo
from streamflow.engine.subscriptions import SettledTable, Subscriptions
from streamflow.engine.table_pair import PairedTables
from streamflow.engine.versioned_table import VersionedTable
from streamflow.model.wire import kept_type
from streamflow.nodes.foreign_operators import Answer, Settle, Subscribe
from streamflow.nodes.join_operators import Apart, Combine, Join, TablePair, Upsert, VersionLookup
from streamflow.plan.plan import PlannedNode
from streamflow.state.store import Store


@dataclass(frozen=True, slots=True)
class Bound:
    """A node's table, if time and checkpoints matter to it, and the names that its code uses.

    keyed: a table of which only checkpoints need to know.
    """

    table: FoldTable | None
    names: Mapping[str, Any]
    keyed: AskedTable | None = None


def bind_table(
    node: PlannedNode,
    upsert: Upsert,
    number: int,
    store: Store,
    of_task: Callable[[], int],
    dropped: Callable[[int], None],
    border_moved: Callable[[int], None],
) -> tuple[VersionedTable, Mapping[str, Any]]:
    """`of_task`, `dropped` and `border_moved` as the tables have them. `table_…` is for who looks into it."""
    if upsert.ends_keys:
        table: VersionedTable = EndingVersions(upsert, store, of_task, dropped, border_moved)
    else:
        table = VersionedTable(upsert, store, of_task, dropped)
    return table, {f"u_{number}": table, f"Kept_{number}": kept_type(upsert.row), f"table_{node.name}": table}


def bind_subscribe(
    node: PlannedNode, subscribe: Subscribe, number: int, store: Store, names: Mapping[str, Any]
) -> tuple[KeyedTable, Mapping[str, Any]]:
    """The counter of versions, and the names that the node's code uses."""
    counter = KeyedTable(subscribe.table, store)
    return counter, {f"j_{number}": Subscriptions(subscribe, counter, names[f"table_{node.inputs[0]}"])}


def bind_settle(
    node: PlannedNode, settle: Settle, number: int, store: Store, of_task: Callable[[], int]
) -> tuple[VersionedTable, Mapping[str, Any]]:
    """The table of results, and the names that the node's code uses."""
    upsert = Upsert(settle.kept, settle.table, NEVER, 1)
    table, names = bind_table(node, upsert, number, store, of_task, lambda _count: None, lambda _time: None)
    return table, {**names, f"j_{number}": SettledTable(settle, table)}


def bind_join(
    node: PlannedNode,
    number: int,
    store: Store,
    watermarks: Sequence[Callable[[], int]],
    of_task: Callable[[], int],
    names: Mapping[str, Any],
    outputs: Outputs,
) -> Bound:
    """watermarks: per port, at this very row; of_task: at which the task closed last, for this node.

    `names` has what the nodes before it were bound to.
    """
    operator = node.operator
    assert isinstance(operator, Apart)
    kept: dict[str, Any] = {f"Kept_{number}_{port}": kept_type(schema) for port, schema in enumerate(operator.ports)}
    match operator:
        case Join():
            table = JoinTable(operator, store, node.key_type, watermarks)
            return Bound(table, {f"j_{number}": table, **kept})
        case VersionLookup():
            versions = names[f"table_{node.inputs[1]}"]
            bound = {f"nothing_{number}": NOTHING, f"later_{number}": LATER, **kept}
            if not operator.as_of:
                return Bound(None, {f"j_{number}": CurrentLookup(operator, versions), **bound})
            held = AsOfLookup(operator, versions, store, node.key_type, watermarks[0], watermarks[1], of_task)
            return Bound(held, {f"j_{number}": held, **bound})
        case TablePair():
            left, right = (names[f"table_{name}"] for name in node.inputs)
            return Bound(None, {f"j_{number}": PairedTables(operator, left, right)})
        case Answer():
            asked = AskedTable(operator, store, names[f"table_{node.inputs[1]}"])
            return Bound(None, {f"j_{number}": asked}, asked)
        case Combine():
            waiting = CombineTable(operator, store, node.key_type, watermarks)
            if operator.incomplete_topic is not None:
                route = outputs.router(operator.incomplete_topic)[1]
                kept[f"aside_{number}"] = lambda key, row, missing: _aside(route(key), row, node.name, missing)
            return Bound(waiting, {f"j_{number}": waiting, **kept})


def _aside(route: RouteTo, row: Any, node: str, missing: Sequence[str]) -> None:
    """An incomplete combination leaves as JSON; its headers say what it lacks."""
    data, append = route
    append((data, msgspec.json.encode(row), incomplete_headers(node, missing)))
