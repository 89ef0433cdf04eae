"""Makes the table of a node in a task: which class keeps which state."""

from collections.abc import Callable
from dataclasses import dataclass

from streamflow.engine.bucket_table import BucketTable
from streamflow.engine.distinct_table import DistinctTable
from streamflow.engine.fold_table import Fire, FoldTable
from streamflow.engine.keyed_fold import KeyedFold
from streamflow.engine.pane_table import PaneTable
from streamflow.engine.process_table import ProcessTable, make_node
from streamflow.engine.session_table import SessionTable
from streamflow.engine.sliding_table import SlidingTable
from streamflow.errors import InternalError
from streamflow.kit.run import Fail, Give
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Distinct, Fold, Limit, Process
from streamflow.plan.plan import PlannedNode, TablePlan
from streamflow.state.store import Store
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.session import Session
from streamflow.windows.sliding import Sliding
from streamflow.windows.unbounded import Unbounded


@dataclass(frozen=True, slots=True)
class Ties:
    """What a table asks of its task, and tells it. Times in ms.

    fire, give, fail: where results, rows of timers, and timers that failed go. border_moved: told a watermark at which
    something is due. watermark_now: the task's up to this event; settled_watermark: the same, but below every time
    while tables are being closed. now: wall clock.
    """

    store: Store
    fire: Fire
    give: Give
    fail: Fail
    border_moved: Callable[[int], None]
    watermark_now: Callable[[], int]
    settled_watermark: Callable[[], int]
    now: Callable[[], int]


def make_table(node: PlannedNode, table: TablePlan, layout: AccumulatorLayout | None, ties: Ties) -> FoldTable:
    """The table, not open yet; a process has opened its node. Raises TopologyError when that cannot be opened."""
    key_type = node.key.type if node.key is not None else FieldType.STR
    match node.operator:
        case Fold() as fold if layout is not None:
            return _fold_table(fold, table, layout, key_type, ties)
        case Process() as process:
            return ProcessTable(
                process,
                make_node(process, node.name),
                ties.store,
                key_type,
                give=ties.give,
                fail=ties.fail,
                border_moved=ties.border_moved,
                watermark_now=ties.settled_watermark,
                now=ties.now,
            )
        case Distinct() as distinct:
            return DistinctTable(distinct, ties.store, key_type, ties.border_moved, ties.settled_watermark)
        case Limit() as limit:
            return BucketTable(limit, ties.store, key_type, ties.border_moved, ties.settled_watermark)
        case _:
            raise InternalError(f"node {node.name!r} keeps no table")


def _fold_table(fold: Fold, table: TablePlan, layout: AccumulatorLayout, key_type: FieldType, ties: Ties) -> FoldTable:
    store = ties.store
    match fold.window:
        case Session():
            return SessionTable(table, fold, layout, store, key_type, ties.border_moved, ties.watermark_now)
        case Counted() | Unbounded():
            return KeyedFold(table, fold, layout, store, key_type, ties.fire)
        case Sliding():
            return SlidingTable(table, fold, layout, store, key_type)
        case _:
            return PaneTable(table, fold, layout, store, key_type)
