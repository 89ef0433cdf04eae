"""The reader that a table's shape needs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from streamflow.errors import InternalError
from streamflow.kit.keystate import KeyState
from streamflow.kit.states import State
from streamflow.model.approval import Parked
from streamflow.nodes.operators import Count, Distinct, Limit, Operator, Park, Process
from streamflow.plan.plan import TablePlan
from streamflow.query.reader import KeyedReader, PaneReader, TableReader
from streamflow.query.sessions import SessionReader
from streamflow.query.sliding import SlidingReader
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.session import Session
from streamflow.windows.sliding import Sliding
from streamflow.windows.unbounded import Unbounded


def window_reader(table: TablePlan, layout: AccumulatorLayout) -> TableReader:
    """Reader of a window's table."""
    match table.window:
        case Sliding():
            return SlidingReader(table, layout)
        case Session():
            return SessionReader(table, layout)
        case Counted():
            return KeyedReader(table, lambda raw: _running(layout, raw))
        case Unbounded():
            return KeyedReader(table, lambda raw: layout.named(layout.decode_all(raw)[-1]))
        case _:
            return PaneReader(table, layout.as_dict)


def keyed_reader(table: TablePlan, operator: Operator) -> TableReader:
    """Reader of the table of a node that is no window."""
    match operator:
        case Count(field=name):
            return KeyedReader(table, lambda raw: {name: int(raw)})
        case Process(declared=declared):
            return KeyedReader(table, lambda raw: _states(declared.states, raw))
        case Park(row=row):
            return KeyedReader(table, lambda raw: _waiting(row.names, raw))
        case Distinct():
            return PaneReader(table, lambda raw: {"first": int(raw)})
        case Limit(per_ms=per_ms):
            return KeyedReader(table, lambda raw: _bucket(raw, per_ms))
        case _:
            raise InternalError(f"table {table.name!r} has no reader")


def _states(states: Sequence[State], raw: bytes) -> dict[str, Any]:
    """What a process remembers of a key, by the names of its states."""
    cells = msgspec.msgpack.decode(raw, type=KeyState).cells
    return {state.name: state.shown(cell) for state, cell in zip(states, cells, strict=True)}


def _waiting(names: Sequence[str], raw: bytes) -> dict[str, Any]:
    """A row that waits for people, and what they have said."""
    parked = msgspec.msgpack.decode(raw, type=Parked)
    return {
        "row": dict(zip(names, msgspec.msgpack.decode(parked.row), strict=True)),
        "key": parked.key,
        "time": parked.time_ms,
        "parked_at": parked.parked_at_ms,
        "deadline": parked.deadline_ms,
        "escalate_at": parked.escalate_ms,
        "escalated": parked.escalated,
        "approvers": parked.approvers,
        "votes": [msgspec.structs.asdict(vote) for vote in parked.votes],
        "delegations": [{"from": one, "to": other} for one, other in parked.delegations],
    }


def _bucket(raw: bytes, per_ms: int) -> dict[str, Any]:
    """Tokens in a bucket, and the event time at which that was so."""
    parts, at_ms = msgspec.msgpack.decode(raw)
    return {"tokens": parts / per_ms, "at": at_ms}


def _running(layout: AccumulatorLayout, raw: bytes) -> dict[str, Any]:
    """The open count window of a key: its number, how many rows it has, and its results so far."""
    panes = layout.decode_all(raw)
    counts = {"number": panes[-1].number, "count": sum(pane.count for pane in panes)}
    return counts | layout.named(layout.merged(panes))
