"""The reader of a table, by the operator that keeps it."""

from streamflow.engine.program import layout_of
from streamflow.nodes.foreign_operators import Answer, Settle, Subscribe
from streamflow.nodes.join_operators import Combine, Join, Upsert, VersionLookup
from streamflow.nodes.operators import Fold, Operator
from streamflow.plan.plan import ParkedKeys, TablePlan
from streamflow.query.asked import AskedReader
from streamflow.query.parked import ParkedReader
from streamflow.query.reader import KeyedReader, TableReader
from streamflow.query.readers import keyed_reader, window_reader
from streamflow.query.versions import CombiningReader, HeldReader, VersionsReader
from streamflow.query.waiting import WaitingReader


def reader_of(table: TablePlan, operator: Operator | ParkedKeys) -> TableReader:
    """Reads rows of the table from a store."""
    match operator:
        case ParkedKeys():
            return ParkedReader(table)
        case Fold():
            return window_reader(table, layout_of(operator))
        case Join():
            return WaitingReader(table, operator)
        case Upsert():
            return VersionsReader(table, operator.row, operator.row.names)
        case Settle():
            return VersionsReader(table, operator.kept, operator.row.names)
        case Answer():
            return AskedReader(table, operator)
        case Subscribe():
            return KeyedReader(table, lambda raw: {"version": int(raw)})
        case Combine():
            return CombiningReader(table, operator)
        case VersionLookup():
            return HeldReader(table, operator)
        case _:
            return keyed_reader(table, operator)
