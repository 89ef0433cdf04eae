"""Binds nodes that take their inputs apart to the state of a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamflow.engine.fold_table import FoldTable
from streamflow.engine.join_table import JoinTable
from streamflow.engine.ports import port_watermark
from streamflow.engine.watermarks import EntryClock
from streamflow.model.schema import FieldType
from streamflow.model.wire import kept_type
from streamflow.nodes.join_operators import Join
from streamflow.plan.plan import PlannedNode, Stage, TablePlan
from streamflow.state.store import Store


@dataclass(frozen=True, slots=True)
class Bound:
    """A node's table and the names that its code uses."""

    table: FoldTable
    names: Mapping[str, Any]


def bind_join(
    stage: Stage,
    node: PlannedNode,
    number: int,
    tables: Mapping[str, TablePlan],
    store: Store,
    clocks: Sequence[EntryClock],
    of_task: Callable[[], int],
) -> Bound:
    """`of_task` gives the watermark (ms) at which the task closed last."""
    join = node.operator
    assert isinstance(join, Join)
    key_type = node.key.type if node.key is not None else FieldType.STR
    watermarks = [port_watermark(stage, node, port, clocks, of_task) for port in range(len(node.inputs))]
    table = JoinTable(tables[node.name].name, join, store, key_type, watermarks)
    kept = {f"Kept_{number}_{port}": kept_type(schema) for port, schema in enumerate(join.ports)}
    return Bound(table, {f"j_{number}": table, **kept})
