"""What is known of one window of a key: its borders by its shape, and whether the table has a row of it."""

from dataclasses import dataclass

from streamflow.errors import UserError
from streamflow.nodes.operators import Fold
from streamflow.plan.plan import Stage, TablePlan
from streamflow.query.reader import TableReader
from streamflow.query.request import RowState, TableQuery
from streamflow.query.standing import WindowFacts
from streamflow.state.store import Store
from streamflow.windows.session import Session
from streamflow.windows.shape import PANE_SHAPES
from streamflow.windows.sliding import Sliding

#: Sessions of a key that are looked through for the one that holds a moment.
_SESSIONS_MAX = 100


@dataclass(frozen=True, slots=True)
class WindowQuestion:
    """A table of a stage, the bytes of a key, and a moment that the window holds; None: the key's first open window."""

    stage: Stage
    table: TablePlan
    partition: int
    key: bytes
    time_ms: int | None


def is_closed_by_time(table: TablePlan) -> bool:
    """Whether the question has an answer: count windows close at an event, running aggregates never."""
    return isinstance(table.window, (*PANE_SHAPES, Session))


def window_facts(question: WindowQuestion, reader: TableReader, store: Store, watermark_ms: int) -> WindowFacts:
    """Facts of the window. Raises UserError when no moment was named and the key has no open window."""
    table, time_ms = question.table, question.time_ms
    fold = next(node.operator for node in question.stage.nodes if node.name == table.node)
    assert isinstance(fold, Fold)
    if time_ms is None:
        rows = reader.read(store, watermark_ms, TableQuery(question.key, state=RowState.OPEN, limit=1)).rows
        if not rows:
            raise UserError(f"{table.name} has no open window of {question.key.decode()!r}: name a moment with window")
        start, end, exists = rows[0].row["start"], rows[0].row["end"], True
    else:
        start, end, exists = _borders(question, reader, store, watermark_ms, time_ms)
    lag_ms = table.lateness_ms - fold.allowed_lateness_ms
    return WindowFacts(
        table=table.name,
        node=table.node,
        stage=question.stage.name,
        partition=question.partition,
        key=question.key.decode(),
        kind=type(table.window).__name__.lower(),
        start_ms=start,
        end_ms=end,
        exists=exists,
        fires_at_ms=end + fold.fire_lag_ms + lag_ms,
        closes_at_ms=end + table.lateness_ms,
        kept_until_ms=end + table.retention_ms,
    )


def _borders(
    question: WindowQuestion, reader: TableReader, store: Store, watermark_ms: int, time_ms: int
) -> tuple[int, int, bool]:
    """(start, end, whether there is a row). A moment inside a window stands for it; sliding: for the last that has it.

    A session that is not there would be that of one event at the moment.
    """
    shape = question.table.window
    if isinstance(shape, Session):
        query = TableQuery(question.key, from_ms=time_ms + 1, limit=_SESSIONS_MAX)
        for row in (each.row for each in reader.read(store, watermark_ms, query).rows):
            if row["start"] <= time_ms:
                return row["start"], row["end"], True
        return time_ms, time_ms + shape.gap_ms, False
    assert isinstance(shape, PANE_SHAPES)
    if isinstance(shape, Sliding):
        end = shape.last_end(time_ms)
        start = shape.start_of_end(end)
    else:
        start, end = shape.pane_of(time_ms)
    rows = reader.read(store, watermark_ms, TableQuery(question.key, from_ms=start, to_ms=start + 1, limit=1)).rows
    return start, end, bool(rows)
