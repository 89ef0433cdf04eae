"""The reader of a table, by the operator that keeps it."""

from streamflow.engine.program import layout_of
from streamflow.nodes.join_operators import Combine, Join, Upsert, VersionLookup
from streamflow.nodes.operators import Count, Distinct, Fold, Operator, Process
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import KeyedReader, PaneReader, TableReader
from streamflow.query.readers import process_reader, window_reader
from streamflow.query.versions import CombiningReader, HeldReader, VersionsReader
from streamflow.query.waiting import WaitingReader


def reader_of(table: TablePlan, operator: Operator) -> TableReader:
    """Reads rows of the table from a store."""
    match operator:
        case Fold():
            return window_reader(table, layout_of(operator))
        case Join():
            return WaitingReader(table, operator)
        case Upsert():
            return VersionsReader(table, operator)
        case Combine():
            return CombiningReader(table, operator)
        case VersionLookup():
            return HeldReader(table, operator)
        case Distinct():
            return PaneReader(table, lambda raw: {"first": int(raw)})
        case Process():
            return process_reader(table, operator.declared.states)
        case _:
            assert isinstance(operator, Count)
            name = operator.field
            return KeyedReader(table, lambda raw: {name: int(raw)})
