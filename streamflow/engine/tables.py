"""Makes the table of a node in a task: which class keeps which state."""

from functools import partial

from streamflow.engine.bucket_table import BucketTable
from streamflow.engine.distinct_table import DistinctTable
from streamflow.engine.fold_table import Fire, FoldTable
from streamflow.engine.keyed_fold import KeyedFold
from streamflow.engine.pane_table import PaneTable
from streamflow.engine.process_table import ProcessTable, make_node
from streamflow.engine.session_table import SessionTable
from streamflow.engine.sliding_table import SlidingTable
from streamflow.engine.task_hooks import TaskHooks
from streamflow.errors import InternalError
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Distinct, Fold, Limit, Process
from streamflow.plan.plan import PlannedNode, TablePlan
from streamflow.state.store import Store
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.session import Session
from streamflow.windows.sliding import Sliding
from streamflow.windows.unbounded import Unbounded


def make_table(
    node: PlannedNode, number: int, table: TablePlan, layout: AccumulatorLayout | None, store: Store, hooks: TaskHooks
) -> FoldTable:
    """The table, not open yet; a process has opened its node. Raises TopologyError when that cannot be opened."""
    match node.operator:
        case Fold() as fold if layout is not None:
            return _fold_table(fold, table, layout, store, node.key_type, hooks, partial(hooks.emit, number, node.name))
        case Process() as process:
            return ProcessTable(
                process,
                make_node(process, node.name),
                store,
                node.key_type,
                give=partial(hooks.give, number, node.name),
                fail=partial(hooks.timer_failed, node.name),
                border_moved=hooks.border_moved,
                watermark_now=hooks.settled_watermark,
                data_end=hooks.data_end,
                now=hooks.now,
            )
        case Distinct() as distinct:
            return DistinctTable(distinct, store, node.key_type, hooks.border_moved, hooks.settled_watermark)
        case Limit() as limit:
            return BucketTable(limit, store, node.key_type, hooks.border_moved, hooks.settled_watermark)
        case _:
            raise InternalError(f"node {node.name!r} keeps no table")


def _fold_table(
    fold: Fold,
    table: TablePlan,
    layout: AccumulatorLayout,
    store: Store,
    key_type: FieldType,
    hooks: TaskHooks,
    fire: Fire,
) -> FoldTable:
    match fold.window:
        case Session():
            return SessionTable(table, fold, layout, store, key_type, hooks.border_moved, hooks.settled_watermark)
        case Counted() | Unbounded():
            return KeyedFold(table, fold, layout, store, key_type, fire, hooks.border_moved, hooks.settled_watermark)
        case Sliding():
            return SlidingTable(table, fold, layout, store, key_type)
        case _:
            return PaneTable(table, fold, layout, store, key_type)
