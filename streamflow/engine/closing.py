"""Closing the tables of a task at a watermark, table by table, in slices with checkpoints between them.

    event e moves the watermark to W ──► table 0 … table i   closed to W
                                         table i             has fired as much as one slice may, more is due
                                         checkpoint          position of e, old watermark, W and how far table i is
                                         go on …             e itself waits, and with it everything behind it
                                         all closed          the watermark is W, and e is worked on

What is fired waits in memory for its transaction, so a slice bounds that memory, and the time without a commit. Nothing
else happens between the slices, so the results are those of closing at once. A task that comes back goes on where the
last checkpoint was.
"""

from zlib import crc32

from streamflow.checkpoint.progress import ClosingProgress
from streamflow.engine.fold_table import Fire, FoldTable, Opened
from streamflow.engine.slice import Slice
from streamflow.engine.watermarks import EntryClock
from streamflow.errors import StateMismatch
from streamflow.query.standing import Closing

#: Of a fold: node number, table, what fires.
Folds = list[tuple[int, FoldTable, Fire]]


class Closer:
    """Of the tables of one task. resumed: what was going on at the last checkpoint; entries: how many the task has."""

    def __init__(self, folds: Folds, resumed: ClosingProgress | None, entries: int) -> None:
        self._folds, self._progress = folds, resumed
        #: Calls of `advance` that came meanwhile: per entry the cause and the producer of the last one.
        self.missed: dict[int, tuple[str, int | None]] = {}
        if resumed is not None:
            self.missed = dict.fromkeys(range(entries), ("event", None))

    @property
    def progress(self) -> ClosingProgress | None:
        """What is going on; None when nothing is."""
        return self._progress

    def begin(self, watermark_ms: int) -> bool:
        """Close to a watermark; whether that is done, else `go_on`."""
        self._progress = ClosingProgress(watermark_ms)
        return self.go_on()

    def go_on(self) -> bool:
        """One more slice; whether it was the last one."""
        assert self._progress is not None
        watermark_ms = self._progress.watermark_ms
        for number in range(self._progress.table, len(self._folds)):
            _, table, fire = self._folds[number]
            reached = table.close(watermark_ms, fire)
            if reached is not None:
                self._progress = ClosingProgress(watermark_ms, number, *reached, self._check(number))
                return False
        self._progress = None
        return True

    def check_resumed(self) -> None:
        """Raises StateMismatch when what was going on was about other tables."""
        closing = self._progress
        if closing is not None and closing.check not in (0, self._check(closing.table)):
            raise StateMismatch(
                "windows were being closed when the tables of the topology were changed: "
                "run the topology as it was until they are closed, then change it"
            )

    def _check(self, number: int) -> int:
        return crc32(",".join(table.name for _, table, _ in self._folds[: number + 1]).encode())


def opened_at(number: int, watermark_ms: int, closing: ClosingProgress | None) -> Opened:
    """How far the table of a fold is closed when a task comes back at a watermark. Early results come last."""
    if closing is None or number > closing.table:
        return Opened(watermark_ms, 0, watermark_ms)
    if number < closing.table:
        return Opened(closing.watermark_ms, 0, closing.watermark_ms)
    return Opened(closing.reached_ms, closing.rows, watermark_ms)


def closing_by(
    watermark_ms: int, now_ms: int, cause: str, producer: int | None, clock: EntryClock, current: Slice | None
) -> Closing:
    """What is remembered of a closing: which input, and which events, moved the watermark."""
    event: tuple[int | None, ...] = ()
    if cause == "event" and current is not None and current.rows:
        offset_at, place = current.chunk.offset_at, current.place
        event = (clock.high_ms, offset_at(place(0)), offset_at(place(len(current.rows) - 1)))
    entry = clock.entry
    return Closing(watermark_ms, now_ms, cause, entry.node, entry.topic, producer, *event)
