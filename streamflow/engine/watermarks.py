"""The watermark of a task: the time up to which it has seen everything.

    source entry         highest event time seen - delay             a function of the partition's prefix
    repartition entry    min of the marks of its live producers      nothing until every producer was heard
    task                 min over the entries that are not idle, never going back

Idleness is the one rule that looks at a clock, through `now_ms` from the caller's clock port:

    a source entry is idle at `now` when now - last_active >= idle_after
        last_active = when its last non-empty chunk was fetched, or when the task opened
    a repartition entry is idle when every producer's last mark says idle
    when all entries are idle the task is idle: its watermark stays, and its own marks say so

An idle entry is left out of the minimum; its first event or mark brings it back. Events that were held up meanwhile may
then be late: that is the price of not waiting, and why the time-out is a setting of the source.
"""

from dataclasses import dataclass

from streamflow.checkpoint.progress import NO_TIME, EntryProgress, ProducerMark
from streamflow.plan.plan import Entry, EntryKind


@dataclass(slots=True)
class EntryClock:
    """Time of one entry of one task. `high_ms` is written by the fused loop."""

    entry: Entry
    high_ms: int
    marks: list[ProducerMark | None]
    last_active_ms: int
    idle: bool = False

    @classmethod
    def resume(cls, entry: Entry, progress: EntryProgress | None, producer_count: int, now_ms: int) -> "EntryClock":
        """Continue where the committed progress ends; producers not in it have not been heard yet."""
        marks: list[ProducerMark | None] = [None] * producer_count
        if progress is not None:
            for producer, mark in enumerate(progress.marks[:producer_count]):
                marks[producer] = mark if mark.watermark_ms != NO_TIME or mark.idle else None
        return cls(entry, progress.high_ms if progress else NO_TIME, marks, now_ms)

    @property
    def watermark_ms(self) -> int:
        """Watermark of this entry alone, NO_TIME when it has none."""
        if self.entry.kind is EntryKind.SOURCE:
            return NO_TIME if self.high_ms == NO_TIME else self.high_ms - self.entry.watermark_delay_ms
        live = [mark.watermark_ms for mark in self.marks if mark is not None and not mark.idle]
        if any(mark is None for mark in self.marks) or not live:
            return NO_TIME
        return min(live)

    def hear(self, producer: int, mark: ProducerMark) -> None:
        """A producer's mark. A producer's watermark never goes back, whatever a mark says."""
        before = self.marks[producer]
        if before is not None and before.watermark_ms > mark.watermark_ms:
            mark = ProducerMark(before.watermark_ms, mark.idle)
        self.marks[producer] = mark

    def judge_idle(self, now_ms: int) -> None:
        """Apply the rule above."""
        if self.entry.kind is EntryKind.SOURCE:
            self.idle = now_ms - self.last_active_ms >= self.entry.idle_after_ms
        else:
            self.idle = all(mark is not None and mark.idle for mark in self.marks)

    def progress(self) -> EntryProgress:
        """What must survive of it."""
        silent = ProducerMark(NO_TIME)
        return EntryProgress(self.high_ms, tuple(silent if mark is None else mark for mark in self.marks))


def combined(clocks: list[EntryClock], before_ms: int) -> int:
    """Watermark of the task: min over entries that are not idle, at least `before_ms`.

    An entry that is not idle and has no watermark yet holds everything.
    """
    times = [clock.watermark_ms for clock in clocks if not clock.idle]
    return max(before_ms, min(times)) if times else before_ms
