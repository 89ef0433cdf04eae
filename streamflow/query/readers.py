"""The reader that a table's shape needs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from streamflow.kit.keystate import KeyState
from streamflow.kit.states import State
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


def process_reader(table: TablePlan, states: Sequence[State]) -> TableReader:
    """Reader of a process node's table: the states of a key by name."""
    decode = msgspec.msgpack.Decoder(KeyState).decode

    def shown(raw: bytes) -> dict[str, Any]:
        return {state.name: state.shown(cell) for state, cell in zip(states, decode(raw).cells, strict=True)}

    return KeyedReader(table, shown)


def _running(layout: AccumulatorLayout, raw: bytes) -> dict[str, Any]:
    """The open count window of a key: its number, how many rows it has, and its results so far."""
    panes = layout.decode_all(raw)
    counts = {"number": panes[-1].number, "count": sum(pane.count for pane in panes)}
    return counts | layout.named(layout.merged(panes))
