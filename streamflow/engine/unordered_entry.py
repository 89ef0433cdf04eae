"""The entry of an async node without an order: each row goes on as soon as it is answered (decision 0044).

    offsets   100 101 102 103 104 mark 106        position 101, overtaken {102, 104}
    done       ✓   …   ✓   …   ✓         …        the mark, and the watermark with it, waits for 101 and 103

The position is that of the first row without an answer, as with an order. What is done behind it is remembered in the
task's progress, so it is committed with the results, and left out after a crash.
"""

from dataclasses import replace

from streamflow.calls.guarded import GuardedCaller
from streamflow.checkpoint.progress import OVERTAKEN_SPAN
from streamflow.engine.async_entry import AsyncEntry, Batch
from streamflow.engine.task import Rows, Task
from streamflow.model.codec import Decoded
from streamflow.nodes.operators import Await


class UnorderedEntry(AsyncEntry):
    """As AsyncEntry; rows that wait for others hold up none but those `OVERTAKEN_SPAN` offsets behind them."""

    def __init__(self, task: Task, number: int, node: str, guarded: GuardedCaller, operator: Await, owner: str) -> None:
        super().__init__(task, number, node, guarded, operator, owner)
        self._overtaken = task.overtaken(number)
        self._fresh: list[tuple[Batch, list[int]]] = []

    def _begin(self, batch: Batch) -> None:
        if self._overtaken:
            for row in range(len(batch.answered)):
                batch.answered[row] = batch.chunk.offset_at(batch.place(row)) in self._overtaken

    def _may_ask(self, batch: Batch, row: int) -> bool:
        first = next(each for each in self._batches if each.start < len(each.chunk.values))  # others have marks only
        oldest = first.chunk.offset_at(first.start)
        return batch.chunk.offset_at(batch.place(row)) < oldest + OVERTAKEN_SPAN

    def _answered(self, batch: Batch, row: int) -> None:
        if self._fresh and self._fresh[-1][0] is batch:
            self._fresh[-1][1].append(row)
        else:
            self._fresh.append((batch, [row]))

    def _process(self) -> bool:
        """Hand over all that is answered, then go on behind what is done without a gap."""
        moved = False
        while self._fresh and not self._task.is_closing:
            batch, rows = self._fresh.pop(0)
            self._hand_over(batch, sorted(rows))
            self._outstanding -= len(rows)
            moved = True
        went_on = super()._process()
        if went_on and self._overtaken:
            position = self._task.positions[self._place]
            self._overtaken -= {offset for offset in self._overtaken if offset < position}
        return moved or went_on

    def _hand_over(self, batch: Batch, rows: list[int]) -> None:
        assert batch.decoded is not None
        given = Decoded([batch.decoded.rows[row] for row in rows], [batch.place(row) - batch.base for row in rows], [])
        times = None if batch.times is None else [batch.times[row] for row in rows]
        chunk = batch.chunk if not batch.chunk.marks else replace(batch.chunk, marks=[])  # they are heard in order
        self._task.process_ahead(self._number, chunk, batch.base, (times, given))
        for row in rows:
            batch.answered[row] = True
            self._overtaken.add(batch.chunk.offset_at(batch.place(row)))

    def _part(self, batch: Batch, start: int, stop: int) -> Rows:
        """Only what did not decode: the rows are done."""
        times, decoded = super()._part(batch, start, stop)
        return times and [], Decoded([], [], decoded.bad)

    def _leave(self, count: int) -> None:
        """They left when they were handed over."""

    async def abandon(self) -> None:
        """Forget everything that waits."""
        await super().abandon()
        self._fresh.clear()
