"""Early results: what all open windows hold whenever the watermark passes a multiple of `every_ms`.

Of many windows they leave in slices with checkpoints between them, as closings do (closing.py). Nothing else happens
between the slices, and a table gives its windows and rows in an order that a crash does not change; so a count of rows
says how far it is. It travels as Reached(watermark, -1 - count): less than 0, to be told from rows that close.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from streamflow.engine import fold_table
from streamflow.engine.fold_table import NEVER, Fire, Reached

Rows = list[tuple[Any, Any]]
#: (start, end, rows) of an open window, in order; None: not before the next checkpoint is in the store, ask again.
Windows = Iterable[tuple[int, int, Iterator[tuple[Any, Any]]] | None]


class Early:
    """Of one table. every_ms 0: there are none."""

    def __init__(self, every_ms: int) -> None:
        self._every, self._to, self._told = every_ms, -NEVER, 0
        self._coming: Iterator[tuple[int, int, Rows] | None] | None = None

    @property
    def is_telling(self) -> bool:
        """Whether there are more to come; rows in memory must stay there."""
        return self._coming is not None

    def resume(self, told_ms: int, rows: int) -> None:
        """All up to a watermark is told; of the next telling what `rows` says, those of its Reached."""
        self._to, self._told = told_ms, max(0, -1 - rows)

    def next_border(self, watermark_ms: int) -> int:
        """The next multiple."""
        return watermark_ms - watermark_ms % self._every + self._every if self._every else NEVER

    def tell(self, watermark_ms: int, windows: Callable[[], Windows], fire: Fire) -> Reached | None:
        """Fire what is due, or some of it, and how far that is."""
        if not self._every or watermark_ms // self._every <= self._to // self._every:
            return None
        if self._coming is None:
            self._coming = self._slices(windows())
        room = fold_table.CLOSING_ROWS
        for part in self._coming:
            if part is not None:
                fire(*part, False)
                room -= len(part[2])
                self._told += len(part[2])
            if part is None or room <= 0:
                return Reached(watermark_ms, -1 - self._told)
        self._coming, self._told, self._to = None, 0, watermark_ms
        return None

    def _slices(self, windows: Windows) -> Iterator[tuple[int, int, Rows] | None]:
        skip = self._told
        for window in windows:
            if window is None:
                yield None
                continue
            start, end, rows = window
            skip -= sum(1 for _ in islice(rows, skip))
            while found := list(islice(rows, fold_table.CLOSING_ROWS)):
                yield start, end, found
