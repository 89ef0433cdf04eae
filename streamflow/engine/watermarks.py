"""The watermark of a task: the time up to which it has seen everything.

    source entry         highest event time seen - delay             a function of the partition's prefix
    repartition entry    min of the marks of its producers           nothing until every producer was heard
    task                 min over its entries, never going back

Idleness is the one rule that looks at a clock, through `now_ms` from the caller's clock port:

    a source entry is idle at `now` when    now - last_active >= idle_after
        last_active = when its last chunk was fetched, or when the task opened
    a repartition entry is idle when        every producer's last mark says idle
    a task is idle when                     every entry is idle; its watermark stays, and its own marks say so

    what is idle is left out of the minimum when, besides,
                                            now - awake_since >= idle_after
        awake_since = when the first of the producers (or entries) stopped being idle, after all of them were

The second condition is for bursts: after a silence of everything, the first producer that is read again would carry the
watermark past what the others, just as awake but read a moment later, still hold.

What is left out comes back with its first event or mark. Events that were held up longer than `idle_after` may then be
late: that is the price of not waiting, and why the time-out is a setting of the source.
"""

from dataclasses import dataclass, field

from streamflow.checkpoint.progress import NO_TIME, EntryProgress, ProducerMark
from streamflow.plan.plan import Entry, EntryKind


@dataclass(slots=True)
class Awakening:
    """Since when not everything is idle, and whether that is long enough to leave idle ones out."""

    idle_after_ms: int
    since_ms: int | None = None
    leaves_idle_out: bool = False

    def judge(self, all_idle: bool, now_ms: int) -> None:
        """Apply the second condition above."""
        if all_idle:
            self.since_ms = None
        elif self.since_ms is None:
            self.since_ms = now_ms
        self.leaves_idle_out = self.since_ms is not None and now_ms - self.since_ms >= self.idle_after_ms


@dataclass(slots=True)
class EntryClock:
    """Time of one entry of one task. `high_ms` is written by the fused loop."""

    entry: Entry
    high_ms: int
    marks: list[ProducerMark | None]
    last_active_ms: int
    awakening: Awakening
    idle: bool = False

    @classmethod
    def resume(cls, entry: Entry, progress: EntryProgress | None, producer_count: int, now_ms: int) -> "EntryClock":
        """Continue where the committed progress ends; producers not in it have not been heard yet."""
        marks: list[ProducerMark | None] = [None] * producer_count
        if progress is not None:
            for producer, mark in enumerate(progress.marks[:producer_count]):
                marks[producer] = mark if mark.watermark_ms != NO_TIME or mark.idle else None
        return cls(entry, progress.high_ms if progress else NO_TIME, marks, now_ms, Awakening(entry.idle_after_ms))

    @property
    def watermark_ms(self) -> int:
        """Watermark of this entry alone, NO_TIME when it has none."""
        if self.entry.kind is EntryKind.SOURCE:
            return NO_TIME if self.high_ms == NO_TIME else self.high_ms - self.entry.watermark_delay_ms
        out = self.awakening.leaves_idle_out
        times = [
            NO_TIME if mark is None else mark.watermark_ms for mark in self.marks if not (out and mark and mark.idle)
        ]
        return min(times, default=NO_TIME)

    def hear(self, producer: int, mark: ProducerMark) -> None:
        """A producer's mark. A producer's watermark never goes back, whatever a mark says."""
        before = self.marks[producer]
        if before is not None and before.watermark_ms > mark.watermark_ms:
            mark = ProducerMark(before.watermark_ms, mark.idle)
        self.marks[producer] = mark

    def judge(self, now_ms: int) -> None:
        """Apply the rules above at `now_ms`."""
        if self.entry.kind is EntryKind.SOURCE:
            self.idle = now_ms - self.last_active_ms >= self.entry.idle_after_ms
        else:
            self.idle = all(mark is not None and mark.idle for mark in self.marks)
            self.awakening.judge(self.idle, now_ms)

    def progress(self) -> EntryProgress:
        """What must survive of it."""
        silent = ProducerMark(NO_TIME)
        return EntryProgress(self.high_ms, tuple(silent if mark is None else mark for mark in self.marks))


@dataclass(slots=True)
class TaskClock:
    """All entries of a task."""

    entries: list[EntryClock]
    awakening: Awakening = field(init=False)

    def __post_init__(self) -> None:
        self.awakening = Awakening(max(clock.entry.idle_after_ms for clock in self.entries))

    def judge(self, now_ms: int) -> bool:
        """Apply the rules to everything; whether anything that the watermark depends on changed."""
        before = self._standing()
        for clock in self.entries:
            clock.judge(now_ms)
        self.awakening.judge(self.is_idle, now_ms)
        return self._standing() != before

    def _standing(self) -> list[tuple[bool, bool]]:
        standing = [(clock.idle, clock.awakening.leaves_idle_out) for clock in self.entries]
        return [*standing, (self.is_idle, self.awakening.leaves_idle_out)]

    @property
    def is_idle(self) -> bool:
        """Whether every entry is idle."""
        return all(clock.idle for clock in self.entries)

    def watermark_ms(self, before_ms: int) -> int:
        """Watermark of the task, at least `before_ms`. An entry that has none yet holds everything."""
        out = self.awakening.leaves_idle_out
        times = [clock.watermark_ms for clock in self.entries if not (out and clock.idle)]
        return max(before_ms, min(times, default=NO_TIME))
