"""Why has this window not closed? Data in, data out: nothing here asks anybody or looks at a clock.

A window fires when the watermark of its task reaches `fires_at`. A watermark is made of others (engine/watermarks.py),
so whoever is below that time, and not left out, holds it: the tasks that write a repartition topic hold its reader, and
so on down to the partitions of sources. The walk goes down only where somebody holds:

    window w of 'UA'        fires at 06:00        ┌ needs
    └─ by_carrier/1         05:12  holds          │ watermark 06:00
       ├─ departures/0      06:01                 │
       └─ departures/2      05:12  holds          │ watermark 06:00
          └─ flights/2      05:13  holds          └ an event of 06:00 + watermark_delay

What a holder needs, all the way down, is the same instant, a mark carries the watermark; later by what the mark is
held back by where results come late (plan/held_back.py). `when` it lets go is
one of: an event that late in time comes (needs_event_ms), or, without one, it becomes idle and is left out
(left_out_at_ms, an estimate from the definitions of idle and settled); None when that cannot help, because nobody who
would be left has come that far.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from streamflow.query.standing import EntryStanding, ProducerStanding, TaskId, TaskStanding, WindowFacts

#: Producers of one repartition entry that are followed, those furthest behind first; the rest is counted.
FOLLOWED_MAX = 32
_LEFT_OUT = "left out, idle"


class Status(StrEnum):
    """What has become of a window."""

    OPEN = "open"  # it has rows and has not fired
    AWAITED = "awaited"  # nothing of the key is in it so far, and it still takes rows
    FIRED = "fired"  # its result has left; late rows still correct it
    CLOSED = "closed"
    NEVER = "never_existed"  # it takes no rows any more, and had none
    EXPIRED = "expired"  # older than the table's retention: nobody knows


class Holding(StrEnum):
    """Why somebody holds a window."""

    BEHIND = "behind"  # its events have not come that far
    LAGS = "lags"  # records wait to be read
    IDLE = "idle"  # nothing has come for idle_after
    SILENT = "never_heard"  # it has not had an event yet
    ON_ITS_WAY = "on_its_way"  # it has come that far; its mark has not been read here
    UNKNOWN = "unknown"  # its worker could not be asked


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who holds a window: a source's partition (`topic`, `partition` of `task`), or a task that is not known.

    path: tasks from the window's down to this one. needs_event_ms: event time from which an event lets go; None where
    no event is needed. left_out_at_ms: wall clock; see the module.
    """

    holding: Holding
    path: tuple[str, ...]
    worker: str
    node: str
    topic: str
    partition: int
    watermark_ms: int | None = None
    high_ms: int | None = None
    last_offset: int | None = None
    last_time_ms: int | None = None
    last_active_at_ms: int | None = None
    position: int | None = None
    lag_count: int = 0
    clamped_count: int = 0
    processing_time: bool = False
    idle_after_ms: int = 0
    needs_event_ms: int | None = None
    left_out_at_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the picture: somebody at a depth, how far it is, and whether it holds the window."""

    depth: int
    name: str
    watermark_ms: int | None
    holds: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. target_ms: the watermark that is waited for; None when nothing is.

    any_one: everything is silent, so the first of the holders that gets such an event is enough.
    closes_by_at_ms: wall clock by which it fires without any event; None when an event is needed.
    """

    status: Status
    window: WindowFacts
    now_at_ms: int
    worker: str
    watermark_ms: int | None
    target_ms: int | None = None
    holders: tuple[Holder, ...] = ()
    not_followed_count: int = 0
    any_one: bool = False
    closes_by_at_ms: int | None = None
    steps: tuple[Step, ...] = ()
    unasked: frozenset[TaskId] = field(default=frozenset())


def explain(window: WindowFacts, standings: Mapping[TaskId, TaskStanding]) -> Explanation:
    """Explain a window from what is known of tasks, its own among them.

    `unasked` names tasks that must be known to go on: ask for them, and explain again.
    """
    own = standings[window.stage, window.partition]
    status = _status(window, own.watermark_ms)
    made = Explanation(status, window, own.now_at_ms, own.worker, own.watermark_ms)
    if status in (Status.CLOSED, Status.NEVER, Status.EXPIRED):
        return made
    target_ms = window.closes_at_ms if status is Status.FIRED else window.fires_at_ms
    walk = _Walk(standings, target_ms)
    walk.task(own, 0, (), ())
    return replace(
        made,
        target_ms=target_ms,
        holders=tuple(walk.holders),
        not_followed_count=walk.not_followed_count,
        any_one=walk.any_one,
        closes_by_at_ms=None if walk.unasked else _closes_by(walk),
        steps=tuple(walk.steps),
        unasked=frozenset(walk.unasked),
    )


def _closes_by(walk: "_Walk") -> int | None:
    """When the last of the holders is left out; None when one has to have an event."""
    lets_go = [each.left_out_at_ms for each in walk.holders if each.holding is not Holding.ON_ITS_WAY]
    known = [each for each in lets_go if each is not None]
    return max(known) if known and len(known) == len(lets_go) else None


def _status(window: WindowFacts, watermark_ms: int | None) -> Status:
    reached = -(1 << 62) if watermark_ms is None else watermark_ms
    if window.exists:
        if reached < window.fires_at_ms:
            return Status.OPEN
        return Status.FIRED if reached < window.closes_at_ms else Status.CLOSED
    if reached >= window.kept_until_ms:
        return Status.EXPIRED
    return Status.AWAITED if reached < window.closes_at_ms else Status.NEVER


@dataclass(frozen=True, slots=True)
class _Level:
    """A place where several watermarks become one: of each, whether it has come that far, and whether it is idle."""

    settled_at_ms: int
    idle_after_ms: int
    members: tuple[tuple[bool, bool], ...]

    def left_out_at_ms(self, idle_at_ms: int) -> int | None:
        """When a member that becomes idle then is left out; None when nobody who would be left has come that far."""
        reached = [idle for come, idle in self.members if come]
        if not reached:
            return None
        if all(reached) and not all(idle for _, idle in self.members):
            return idle_at_ms + self.idle_after_ms  # then all are idle, and have to be settled once more
        return max(idle_at_ms, self.settled_at_ms)


class _Walk:
    """Goes down from a task to whoever holds `target_ms`."""

    def __init__(self, standings: Mapping[TaskId, TaskStanding], target_ms: int) -> None:
        self._standings, self._target = standings, target_ms
        self.holders: list[Holder] = []
        self.steps: list[Step] = []
        self.unasked: set[TaskId] = set()
        self.not_followed_count = 0
        self.any_one = False

    def task(self, task: TaskStanding, depth: int, path: tuple[str, ...], levels: tuple[_Level, ...]) -> None:
        """Everything below a task that holds."""
        self.steps.append(Step(depth, task.name, task.watermark_ms, True, task.missing))
        path = (*path, task.name)
        if task.missing:
            nobody = Holder(Holding.UNKNOWN, path, task.worker, "", "", task.partition, detail=task.missing)
            self.holders.append(nobody)
            return
        members = [(entry.watermark_ms, entry.idle) for entry in task.entries]
        level = self._level(members, task.settled_at_ms, task.idle_after_ms)
        out = self._leaves_idle_out(members, task.settled)
        for entry, (watermark_ms, idle) in zip(task.entries, members, strict=True):
            holds = self._holds(watermark_ms) and not (out and idle)
            if not entry.producers:
                note = _note(entry) if holds else _LEFT_OUT if self._holds(watermark_ms) else ""
                self.steps.append(Step(depth + 1, f"{entry.topic}/{task.partition}", watermark_ms, holds, note))
                if holds:
                    self.holders.append(self._source(task, entry, path, (*levels, level)))
            elif holds:
                self._producers(task, entry, depth + 1, path, (*levels, level))
            else:
                self.steps.append(Step(depth + 1, entry.topic, watermark_ms, False))

    def _producers(
        self, task: TaskStanding, entry: EntryStanding, depth: int, path: tuple[str, ...], levels: tuple[_Level, ...]
    ) -> None:
        members = [(each.watermark_ms, each.idle) for each in entry.producers]
        level = self._level(members, entry.settled_at_ms, entry.idle_after_ms)
        out = self._leaves_idle_out(members, entry.settled)
        holding = []
        for each in entry.producers:
            if self._holds(each.watermark_ms) and not (out and each.idle):
                holding.append(each)
            else:
                note = _LEFT_OUT if self._holds(each.watermark_ms) else ""
                self.steps.append(Step(depth, f"{entry.producer_stage}/{each.number}", each.watermark_ms, False, note))
        holding.sort(key=lambda each: (each.watermark_ms is not None, each.watermark_ms or 0, each.number))
        self.not_followed_count += len(holding[FOLLOWED_MAX:])
        with self._ahead(entry.held_back_ms):
            for each in holding[:FOLLOWED_MAX]:
                self._producer(task, entry, each, depth, path, (*levels, level))

    @contextmanager
    def _ahead(self, held_back_ms: int) -> Iterator[None]:
        """Below, the watermark that is waited for is a later one."""
        self._target += held_back_ms
        try:
            yield
        finally:
            self._target -= held_back_ms

    def _producer(
        self,
        task: TaskStanding,
        entry: EntryStanding,
        producer: ProducerStanding,
        depth: int,
        path: tuple[str, ...],
        levels: tuple[_Level, ...],
    ) -> None:
        known = self._standings.get((entry.producer_stage, producer.number))
        if known is None:
            self.unasked.add((entry.producer_stage, producer.number))
        elif known.missing or self._holds(known.watermark_ms):
            self.task(known, depth, path, levels)
        else:
            self.steps.append(Step(depth, known.name, known.watermark_ms, True, "its mark is on its way"))
            self.holders.append(
                Holder(
                    Holding.ON_ITS_WAY,
                    (*path, known.name),
                    known.worker,
                    entry.node,
                    entry.topic,
                    task.partition,
                    watermark_ms=known.watermark_ms,
                    position=entry.position,
                    lag_count=entry.lag_count,
                )
            )

    def _source(
        self, task: TaskStanding, entry: EntryStanding, path: tuple[str, ...], levels: tuple[_Level, ...]
    ) -> Holder:
        idle_at_ms = entry.last_active_at_ms + entry.idle_after_ms
        holding, left_out_at_ms = Holding.BEHIND, None
        if entry.lag_count:
            holding = Holding.LAGS
        elif entry.processing_time:
            # Its time follows the clock, idle_after behind it and in steps of idle_after.
            left_out_at_ms = self._target + 2 * entry.idle_after_ms
        else:
            holding = Holding.IDLE if entry.idle else Holding.SILENT if entry.high_ms is None else Holding.BEHIND
            found = [level.left_out_at_ms(max(idle_at_ms, task.now_at_ms if not entry.idle else 0)) for level in levels]
            left_out_at_ms = min((each for each in found if each is not None), default=None)
        return Holder(
            holding,
            path,
            task.worker,
            entry.node,
            entry.topic,
            task.partition,
            watermark_ms=entry.watermark_ms,
            high_ms=entry.high_ms,
            last_offset=entry.last_offset,
            last_time_ms=entry.last_time_ms,
            last_active_at_ms=entry.last_active_at_ms,
            position=entry.position,
            lag_count=entry.lag_count,
            clamped_count=entry.clamped_count,
            processing_time=entry.processing_time,
            idle_after_ms=entry.idle_after_ms,
            needs_event_ms=self._target + entry.delay_ms,
            left_out_at_ms=left_out_at_ms,
        )

    def _holds(self, watermark_ms: int | None) -> bool:
        return watermark_ms is None or watermark_ms < self._target

    def _level(self, members: list[tuple[int | None, bool]], settled_at_ms: int, idle_after_ms: int) -> _Level:
        return _Level(
            settled_at_ms, idle_after_ms, tuple((not self._holds(watermark_ms), idle) for watermark_ms, idle in members)
        )

    def _leaves_idle_out(self, members: list[tuple[int | None, bool]], settled: bool) -> bool:
        """Whether members that are idle do not count; when all are, all do, and any one of them is enough."""
        all_idle = all(idle for _, idle in members)
        self.any_one |= settled and all_idle and len(members) > 1
        return settled and not all_idle


def _note(entry: EntryStanding) -> str:
    if entry.lag_count:
        return f"{entry.lag_count} records wait"
    return "idle" if entry.idle else "no event yet" if entry.high_ms is None else ""
