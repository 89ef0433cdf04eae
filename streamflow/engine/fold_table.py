"""What a task asks of the state of a window, whatever its shape.

fused code ──► (shape's own fast path) ──► accumulators
task.advance ──► close(watermark, fire)      what is due fires, what takes no more rows goes
take_checkpoint ──► show(watermark, fire)    updates and corrections, gathered since the last checkpoint
                └─► take_changes(watermark)  rows for the changelog and the store
committed ──► evict()
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn, Protocol

from streamflow.errors import EventError, TableTooLarge
from streamflow.nodes.operators import Fold
from streamflow.state.store import TableChanges
from streamflow.windows.layout import AccumulatorLayout

#: Results of a window leave: (start, end, rows of (key, accumulator), final). Shapes whose windows differ from key to
#: key pass 0 as start and end: their accumulators know; running aggregates the watermark, before which no result is.
Fire = Callable[[int, int, Iterable[tuple[Any, Any]], bool], None]

#: Accumulators of one task and table kept in memory; 64 bytes and two dictionary slots each, some 150 MB.
MAX_LIVE = 1_000_000
#: The same in bytes, for accumulators that hold sketches, texts and the like.
_LIVE_MAX_BYTES = 256 << 20

#: About so many rows windows fire before a checkpoint, and the next ones behind it (closing.py): never twice as many,
#: but for sessions that are corrected and end in the same millisecond.
CLOSING_ROWS = 20_000

#: Above every event time.
NEVER = 1 << 62


def live_max(layout: AccumulatorLayout) -> int:
    """How many accumulators of a layout may be in memory."""
    return min(MAX_LIVE, _LIVE_MAX_BYTES // layout.live_bytes)


def refuse_window(fold: Fold, message: str) -> NoReturn:
    """A bound of open windows is reached. Raises EventError, or TableTooLarge when the worker is to stop instead."""
    if fold.stops_when_full:
        raise TableTooLarge(f"table {fold.table}: {message}; raise the bound, or use when_full: dead_letter")
    raise EventError("too_many_windows", message)


class Reached(NamedTuple):
    """How far a table is closed: as at this watermark, and so many rows of the next window have left."""

    watermark_ms: int
    rows: int = 0


class Opened(NamedTuple):
    """How far a table was closed when its task comes back; told_ms: to which watermark its early results are told."""

    watermark_ms: int
    rows: int
    told_ms: int


class FoldTable(Protocol):
    """State of a Fold in one task. All times in ms. Single-threaded; nothing here waits."""

    name: str

    def open_at(self, watermark_ms: int) -> None:
        """Continue at a committed watermark with what the store has. Who closes in slices has `resume`, too."""

    def next_border(self, watermark_ms: int) -> int:
        """A watermark above this one before which `close` has nothing to do, now or after more rows in order."""

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """Fire and let go what is due at this watermark, oldest first.

        When that is too much for one checkpoint, some of it, and how far that is: the next call is behind a checkpoint,
        with the same watermark.
        """

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Fire what has to be told at a checkpoint: updates, and corrections of windows that have fired."""

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Everything changed since the last call, and what retention lets go."""

    def evict(self) -> None:
        """Bound memory. Call only when everything taken is in the store."""

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """How far behind the last moment at which a row of that time would have been taken the watermark is."""

    @property
    def live_count(self) -> int:
        """Accumulators in memory."""
