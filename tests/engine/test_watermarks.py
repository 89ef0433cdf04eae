"""The watermark: by its definition, monotone across every takeover, and never held for good by who has nothing to say."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.checkpoint.progress import NO_TIME, EntryProgress, ProducerMark, Progress
from streamflow.engine.watermarks import EntryClock, TaskClock
from streamflow.errors import StateMismatch
from streamflow.plan.plan import Entry, EntryKind, Plan
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.engine.model import make_events

IDLE_AFTER = 100
DELAY = 20
_CHAIN = """
topology: t
schemas: {{A: {{time: timestamp, p: str, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: time, key: p, watermark_delay: 20ms, idle_after: 100ms}}
  k: {{kind: key_by, input: s, key: k}}
  w: {{kind: window, input: k, window: {{type: tumbling, size: 10ms}}, aggregate: {{n: count()}}, late: too_late}}
  o: {{kind: sink, input: w, topic: out}}
{more}
"""
_SECOND = """
  k2: {kind: key_by, input: w, key: n}
  w2: {kind: window, input: k2, window: {type: tumbling, size: 40ms}, aggregate: {windows: count()}}
  o2: {kind: sink, input: w2, topic: out2}
"""
PLAN: Plan = make_plan(parse_topology(_CHAIN.format(more=_SECOND)))
KEYED = next(entry for stage in PLAN.stages for entry in stage.entries if entry.node == "k")


# -- the definition, over a history ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """At `at` a producer said this."""

    at: int
    producer: int
    watermark: int
    idle: bool


def greatest(history: list[Heard], producers: int, opened: int, start: int, now: int) -> int:
    """The greatest watermark that the table of the definition gave from `start` to `now`, nothing said in between."""
    settled = _since(history, producers, opened, now) + IDLE_AFTER
    return max(_table(history, producers, opened, at) for at in (start, settled, now) if start <= at <= now)


def _marks(history: list[Heard], producers: int, at: int) -> list[tuple[int, bool] | None]:
    marks: list[tuple[int, bool] | None] = [None] * producers
    for each in history:
        if each.at <= at:
            before = marks[each.producer]
            marks[each.producer] = (max(each.watermark, before[0]) if before else each.watermark, each.idle)
    return marks


def _quiet(history: list[Heard], producers: int, at: int) -> bool:
    return all(mark is not None and mark[1] for mark in _marks(history, producers, at))


def _since(history: list[Heard], producers: int, opened: int, at: int) -> int:
    since, quiet = opened, _quiet(history, producers, opened)
    for moment in sorted({each.at for each in history if opened < each.at <= at}):
        if _quiet(history, producers, moment) != quiet:
            since, quiet = moment, not quiet
    return since


def _table(history: list[Heard], producers: int, opened: int, at: int) -> int:
    marks = [mark or (NO_TIME, False) for mark in _marks(history, producers, at)]
    if at - _since(history, producers, opened, at) < IDLE_AFTER:
        return min(time for time, _ in marks)
    if all(idle for _, idle in marks):
        return max(time for time, _ in marks)
    return min(time for time, idle in marks if not idle)


_STEPS = st.lists(
    st.tuples(st.integers(1, 80), st.integers(0, 2), st.integers(0, 300), st.booleans(), st.booleans()), max_size=30
)


@settings(max_examples=400, deadline=None)
@given(_STEPS, st.integers(1, 3))
def test_a_repartition_entry_follows_the_definition(steps: list[tuple[int, int, int, bool, bool]], count: int) -> None:
    """Marks and ticks in any order. Every millisecond is a tick, as if the clock were looked at without a pause."""
    clock = EntryClock.resume(KEYED, None, count, 0)
    task = TaskClock([clock], 0)
    history: list[Heard] = []
    watermark = best = NO_TIME
    now = last = 0
    for pause, producer, time, idle, silent in steps:
        for _ in range(pause):
            now += 1
            task.judge(now)
            watermark = task.watermark_ms(watermark)
        best = max(best, greatest(history, count, 0, last, now))
        assert watermark == best
        last = now
        if not silent:
            history.append(Heard(now, producer % count, time, idle))
            clock.hear(producer % count, ProducerMark(time, idle))
            task.judge(now)
            watermark = task.watermark_ms(watermark)
        best = max(best, _table(history, count, 0, now))
        assert watermark == best
        assert task.watermark_ms(NO_TIME) == _table(history, count, 0, now)


def test_an_unknown_producer_is_refused() -> None:
    """Somebody added partitions while it ran: its rows would not be waited for."""
    clock = EntryClock.resume(KEYED, EntryProgress(marks=(ProducerMark(5), ProducerMark(7))), 2, 0)
    with pytest.raises(StateMismatch, match="partitions were added"):
        clock.hear(2, ProducerMark(9))
    assert clock.watermark_ms == 5


def test_a_source_with_records_waiting_is_not_idle() -> None:
    """The chunk that is stuck behind a slow commit, or a partition whose leader is away, is not silence."""
    source = PLAN.stages[0].entries[0]
    clock = EntryClock.resume(source, None, 0, 0)
    task = TaskClock([clock], 0)
    task.judge(IDLE_AFTER + 50, lambda entry: entry is source)
    assert not clock.idle
    task.judge(2 * IDLE_AFTER + 49, _nothing_waits)
    assert not clock.idle, "it was last known to wait 99 ms ago"
    task.judge(2 * IDLE_AFTER + 50)
    assert not clock.idle, "between ticks nobody knows whether something waits"
    task.judge(2 * IDLE_AFTER + 50, _nothing_waits)
    assert clock.idle


def _nothing_waits(_entry: Entry) -> bool:
    return False


# -- whole topologies --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Burst:
    """Events published at once, then a pause on the wall clock."""

    events: list[tuple[int, int]]
    pause: int
    crash: bool


def _bursts() -> st.SearchStrategy[list[Burst]]:
    event = st.tuples(st.integers(-15, 15), st.integers(0, 3))
    return st.lists(st.builds(Burst, st.lists(event, max_size=12), st.integers(0, 350), st.booleans()), max_size=8)


def _run(bursts: list[Burst], driver: Driver) -> list[dict[str, Any]]:
    """Event time moves on by 30 ms with every burst; `p` decides the partition."""
    published: list[dict[str, Any]] = []
    for number, burst in enumerate(bursts):
        events = [{"time": 1_000 + 30 * number + t, "p": f"p{p}", "k": f"k{t % 3}"} for t, p in burst.events]
        driver.publish("in", events)
        published += events
        driver.run()
        for _ in range(burst.pause // 50):
            driver.idle(50)
        if burst.crash:
            driver.crash()
            driver.run()
    return published


def _check_marks_never_go_back(driver: Driver) -> None:
    for topic in [topic.name for topic in PLAN.topics]:
        last: dict[tuple[int, int], int] = {}
        for (name, partition), log in driver.log.partitions.items():
            for record in log.records if name == topic and topic.startswith("t.k") else []:
                if record.value is not None and record.value.startswith(b"{"):
                    mark = orjson.loads(record.value)
                    time = NO_TIME if mark["watermark"] is None else mark["watermark"]
                    place = (partition, mark["producer"])
                    assert time >= last.get(place, NO_TIME), (name, place)
                    last[place] = time


@settings(max_examples=120, deadline=None)
@given(
    _bursts(),
    st.integers(1, 4),
    st.sampled_from([1, 3, 100]),
    st.booleans(),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=4),
)
def test_it_never_goes_back_and_never_stalls(
    bursts: list[Burst], partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]
) -> None:
    """Idle and empty partitions, pauses and crashes of any length, two repartition stages in a row."""
    driver = Driver(PLAN, partitions=partitions, chunk_size=chunk_size, fused=fused)
    driver.crash_at = dict(crashes)
    events = _run(bursts, driver)
    seen: dict[tuple[str, int], int] = {}
    for _ in range(4):  # each stage needs idle_after to become idle, and again to be settled
        driver.idle(IDLE_AFTER)
        for place, (_, metadata) in driver.log.committed.items():
            watermark = Progress.decode(metadata).watermark_ms
            assert watermark >= seen.get(place, NO_TIME)
            seen[place] = watermark
    _check_marks_never_go_back(driver)
    if not events:
        return
    end = max(event["time"] for event in events) - DELAY
    for task in driver.tasks():
        if task.stage.entries[0].kind is EntryKind.REPARTITION:
            assert task.watermark_ms == end, (task.stage.name, task.partition)
    _check_windows(driver, events, end)


def _check_windows(driver: Driver, events: list[dict[str, Any]], end: int) -> None:
    table = driver.table("w")
    fired = driver.output("out")
    keys = [(row["k"], row["start"]) for row in fired]
    assert len(keys) == len(set(keys)), "a window fired twice"
    assert sorted(keys) == sorted(key for key in table if key[1] + 10 <= end), "what has ended has fired, nothing else"
    assert sum(row["n"] for row in table.values()) + len(driver.output("too_late")) == len(events)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([1, 7, 100]), st.booleans())
def test_a_crash_does_not_change_it(seed: int, partitions: int, chunk: int, fused: bool) -> None:
    """Without silence it is a function of the logs: every task ends at the same one, crash or not."""
    rows = [{"time": e["time"], "p": e["origin"], "k": e["carrier"]} for e in make_events(200, seed)]
    ends = []
    for crashes in ({}, {5: CrashPoint.BEFORE_COMMIT, 9: CrashPoint.BEFORE_STORE, 17: CrashPoint.BEFORE_COMMIT}):
        driver = Driver(PLAN, partitions=partitions, chunk_size=chunk, fused=fused)
        driver.crash_at = dict(crashes)
        driver.publish("in", rows)
        driver.run()
        ends.append({place: Progress.decode(text).watermark_ms for place, (_, text) in driver.log.committed.items()})
    assert ends[0] == ends[1]
