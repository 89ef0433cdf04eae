"""The watermark of a task: the time up to which it has seen everything.

    source entry         highest event time seen - delay             a function of the partition's prefix
    repartition entry    of the marks of its producers               nothing until every producer was heard
    task                 of its entries, never going back

Idleness is the one rule that looks at a clock, through `now_ms` from the caller's clock port:

    a source entry is idle at `now` when    now - last_active >= idle_after
        last_active = when its last chunk was fetched, when records were last known to wait, or when the task opened
    a repartition entry is idle when        every producer's last mark says idle
    a task is idle when                     every entry is idle; its own marks say so

Producers (or entries) are *settled* when whether all of them are idle has not changed for `idle_after`. They give:

    not settled                the least of all
    settled, not all idle      the least of those that are not idle
    settled, all idle          the greatest of all

Waiting to be settled is for bursts: after a silence of everything, the first producer that is read again would carry
the watermark past what the others, just as awake but read a moment later, still hold. The greatest of all is for ends:
when nothing comes any more, a producer that never had an event, or an old one, must not hold what the others gave.

What is left out comes back with its first event or mark. Events that were held up longer than `idle_after` may then be
late: that is the price of not waiting, and why the time-out is a setting of the source.

A source on processing time has no need to be left out: when nothing waits there, its time follows the clock, at a
distance of `idle_after` and in steps of it, so that a partition gives at most one watermark per `idle_after`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from streamflow.checkpoint.progress import END_OF_TIME, NO_TIME, EntryProgress, ProducerMark, Progress
from streamflow.errors import StateMismatch
from streamflow.plan.plan import Entry, EntryKind, Plan, Stage


@dataclass(slots=True)
class Silence:
    """Since when all are idle, or not all are, and whether that is long enough to go by it."""

    idle_after_ms: int
    since_ms: int
    all_idle: bool = False
    settled: bool = False

    def reopen(self, now_ms: int) -> None:
        """Begin to wait anew."""
        self.since_ms, self.settled = now_ms, False

    def judge(self, all_idle: bool, now_ms: int) -> None:
        """Apply the definition of settled above."""
        if all_idle is not self.all_idle:
            self.all_idle, self.since_ms = all_idle, now_ms
        self.settled = now_ms - self.since_ms >= self.idle_after_ms

    def watermark_ms(self, members: Iterable[tuple[int, bool]]) -> int:
        """What (watermark, idle) of each give together, by the table above; NO_TIME of nobody."""
        known = list(members)
        if not self.settled:
            return min((time for time, _ in known), default=NO_TIME)
        awake = [time for time, idle in known if not idle]
        return min(awake) if awake else max((time for time, _ in known), default=NO_TIME)


@dataclass(slots=True)
class EntryClock:
    """Time of one entry of one task. `high_ms` is written by the fused loop."""

    entry: Entry
    high_ms: int
    marks: list[ProducerMark | None]
    last_active_ms: int
    silence: Silence
    idle: bool = False
    #: The greatest watermark before the end, of a bounded run.
    data_ms: int = NO_TIME
    #: Offsets behind the position whose rows are done (async nodes without an order).
    overtaken: set[int] = field(default_factory=set)
    #: The event read last, for whoever asks.
    last_offset: int | None = None
    last_time_ms: int | None = None

    @classmethod
    def resume(cls, entry: Entry, progress: EntryProgress | None, producer_count: int, now_ms: int) -> "EntryClock":
        """Continue where the committed progress ends; producers not in it have not been heard yet."""
        marks: list[ProducerMark | None] = [None] * producer_count
        if progress is not None:
            for producer, mark in enumerate(progress.marks[:producer_count]):
                marks[producer] = mark if mark.watermark_ms != NO_TIME or mark.idle else None
        made = cls(
            entry, progress.high_ms if progress else NO_TIME, marks, now_ms, Silence(entry.idle_after_ms, now_ms)
        )
        if progress is not None:
            made.overtaken |= progress.overtaken
            made.data_ms = progress.data_ms
        return made

    @property
    def watermark_ms(self) -> int:
        """Watermark of this entry alone, NO_TIME when it has none."""
        if self.entry.kind is EntryKind.SOURCE:
            return NO_TIME if self.high_ms == NO_TIME else self.high_ms - self.entry.watermark_delay_ms
        return self.silence.watermark_ms(
            (NO_TIME, False) if mark is None else (mark.watermark_ms, mark.idle) for mark in self.marks
        )

    def hear(self, producer: int, mark: ProducerMark, data_ms: int = NO_TIME) -> None:
        """A producer's mark. A producer's watermark never goes back, whatever a mark says. data_ms: of the mark of the
        end, how far data came there.

        Producers are tasks, so one that moved to another worker goes on under its number. Raises StateMismatch for one
        that there was not when the task opened: its rows would not be waited for.
        """
        if producer >= len(self.marks):
            raise StateMismatch(
                f"{self.entry.topic} has a watermark of producer {producer}, {len(self.marks)} were known at start: "
                "partitions were added while it ran. Stop every worker and reset the topology"
            )
        before = self.marks[producer]
        if before is not None and before.watermark_ms > mark.watermark_ms:
            mark = ProducerMark(before.watermark_ms, mark.idle)
        self.marks[producer] = mark
        self.data_ms = max(self.data_ms, data_ms)

    def end(self) -> None:
        """Nothing comes any more from this source."""
        self.data_ms = max(self.data_ms, self.watermark_ms)
        self.high_ms = END_OF_TIME + self.entry.watermark_delay_ms

    def judge(self, now_ms: int, waits: Callable[[Entry], bool] | None) -> None:
        """Apply the rules above at `now_ms`; `waits` is asked when it was silent for long enough.

        Without it a source can only wake: whether records wait is known when the clock ticks.
        """
        if self.entry.kind is EntryKind.REPARTITION:
            self.idle = all(mark is not None and mark.idle for mark in self.marks)
            self.silence.judge(self.idle, now_ms)
            return
        silent = now_ms - self.last_active_ms >= self.entry.idle_after_ms
        if waits is None:
            self.idle = self.idle and silent
            return
        if silent and waits(self.entry):
            self.last_active_ms, silent = now_ms, False
        self.idle = silent and not self.entry.processing_time
        if silent and self.entry.processing_time:
            behind_ms = now_ms - self.entry.idle_after_ms
            if behind_ms - self.high_ms >= self.entry.idle_after_ms:
                self.high_ms = behind_ms

    def progress(self) -> EntryProgress:
        """What must survive of it."""
        silent = ProducerMark(NO_TIME)
        marks = tuple(silent if mark is None else mark for mark in self.marks)
        ended = self.high_ms >= END_OF_TIME or any(mark.watermark_ms >= END_OF_TIME for mark in marks)
        data_ms = self.data_ms if ended else NO_TIME
        return EntryProgress(self.high_ms, marks, frozenset(self.overtaken), data_ms, _level_check(self.entry))


def _level_check(entry: Entry) -> int:
    """Of the name of a level's entry, the same in every run; 0 of others."""
    return 1 + crc32(f"{entry.node}.{entry.level}".encode()) if entry.level else 0


def resume_clocks(
    plan: Plan, stage: Stage, progress: Progress, partition_counts: Mapping[str, int], now_ms: int
) -> list[EntryClock]:
    """The clocks of a task's entries; `partition_counts` of every topic of the plan.

    A repartition topic is written by every task of one stage; that stage has one task per input partition. Levels are
    known by their names, as their numbers change when one is added.
    """
    clocks = []
    levels = {each.level: each for each in progress.entries if each.level}
    for number, entry in enumerate(stage.entries):
        known = levels.get(_level_check(entry))
        if not entry.level and number < len(progress.entries) and not progress.entries[number].level:
            known = progress.entries[number]
        producers = 0
        if entry.kind is EntryKind.REPARTITION:
            producers = partition_counts[plan.stage(entry.producer_stage).entries[0].topic]
        clocks.append(EntryClock.resume(entry, known, producers, now_ms))
    return clocks


@dataclass(slots=True)
class TaskClock:
    """All entries of a task, opened at `now_ms`."""

    entries: list[EntryClock]
    now_ms: int
    silence: Silence = field(init=False)
    #: Entries of rows: decisions take no part in time.
    _timed: list[EntryClock] = field(init=False)

    def __post_init__(self) -> None:
        self._timed = [clock for clock in self.entries if clock.entry.kind is not EntryKind.DECISIONS]
        self.silence = Silence(max(clock.entry.idle_after_ms for clock in self._timed), self.now_ms)
        self.judge(self.now_ms)

    def judge(self, now_ms: int, waits: Callable[[Entry], bool] | None = None) -> bool:
        """Apply the rules to everything; whether anything that the watermark depends on changed.

        `now_ms` never goes back. waits: whether records of a source are known that were not fetched; given by ticks.
        """
        self.now_ms = max(self.now_ms, now_ms)
        before = self._standing()
        for clock in self._timed:
            clock.judge(self.now_ms, waits)
        self.silence.judge(self.is_idle, self.now_ms)
        return self._standing() != before

    def reopen(self, now_ms: int) -> None:
        """Nothing was read on purpose: go on like after a restart, nobody idle and nobody left out for a while."""
        self.now_ms = max(self.now_ms, now_ms)
        for clock in self._timed:
            clock.last_active_ms, clock.idle = self.now_ms, False
            clock.silence.reopen(self.now_ms)
        self.silence.reopen(self.now_ms)
        self.judge(self.now_ms)

    def _standing(self) -> list[tuple[bool, bool, int]]:
        standing = [(clock.idle, clock.silence.settled, clock.high_ms) for clock in self._timed]
        return [*standing, (self.is_idle, self.silence.settled, 0)]

    @property
    def is_idle(self) -> bool:
        """Whether every entry is idle."""
        return all(clock.idle for clock in self._timed)

    def data_end(self) -> int:
        """How far data came: the greatest watermark of an entry before its end, NO_TIME when there was none. By then
        time is what it would be without an end, once everything is idle."""
        return max(clock.data_ms for clock in self._timed)

    def watermark_ms(self, before_ms: int) -> int:
        """Watermark of the task, at least `before_ms`. An entry that has none yet holds everything."""
        return max(before_ms, self.silence.watermark_ms((clock.watermark_ms, clock.idle) for clock in self._timed))
