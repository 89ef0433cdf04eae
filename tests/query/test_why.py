"""Why a window has not closed: data in, sentences out; and whatever is promised comes true when it is done."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamflow.model.partitioner import partition_of
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.query.standing import Closing, EntryStanding, LateRows, ProducerStanding, TaskStanding, WindowFacts
from streamflow.query.why import FOLLOWED_MAX, Explanation, Holding, Status, explain
from streamflow.query.why_text import moment, picture, sentences, span
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

HOUR = 3_600_000
NOW = 1_000 * HOUR
IDLE_AFTER = 10_000
WINDOW = WindowFacts(
    table="hourly",
    node="hourly",
    stage="by_carrier",
    partition=1,
    key="UA",
    kind="tumbling",
    start_ms=5 * HOUR,
    end_ms=6 * HOUR,
    exists=True,
    fires_at_ms=6 * HOUR,
    closes_at_ms=6 * HOUR,
    kept_until_ms=30 * HOUR,
    opened_at_ms=NOW - HOUR,
)


def _source(
    partition: int, high_ms: int | None, *, idle: bool = False, quiet_ms: int = 500, end: int = 100
) -> TaskStanding:
    entry = EntryStanding(
        node="departures",
        topic="flights",
        watermark_ms=None if high_ms is None else high_ms - 60_000,
        idle=idle,
        idle_after_ms=IDLE_AFTER,
        settled=True,
        settled_at_ms=NOW - HOUR,
        position=100,
        end=end,
        high_ms=high_ms,
        delay_ms=60_000,
        last_active_at_ms=NOW - quiet_ms,
        last_offset=None if high_ms is None else 99,
        last_time_ms=high_ms,
    )
    return TaskStanding(
        "departures", partition, "http://one", NOW, entry.watermark_ms, idle, True, NOW - HOUR, IDLE_AFTER, (entry,)
    )


def _reader(
    *sources: TaskStanding, settled_at_ms: int = NOW - HOUR, marks: dict[int, int] | None = None
) -> TaskStanding:
    heard = {task.partition: task.watermark_ms for task in sources} | (marks or {})
    producers = tuple(ProducerStanding(task.partition, heard[task.partition], task.idle) for task in sources)
    all_idle, settled = all(task.idle for task in sources), settled_at_ms <= NOW
    times = [-1 if each.watermark_ms is None else each.watermark_ms for each in producers]
    awake = [time for time, each in zip(times, producers, strict=True) if not each.idle or not settled]
    watermark = max(times) if all_idle and settled else min(awake)
    entry = EntryStanding(
        node="by_carrier",
        topic="t.by_carrier",
        watermark_ms=None if watermark < 0 else watermark,
        idle=all_idle,
        idle_after_ms=IDLE_AFTER,
        settled=settled,
        settled_at_ms=settled_at_ms,
        position=50,
        producer_stage="departures",
        producers=producers,
    )
    return TaskStanding(
        "by_carrier", 1, "http://two", NOW, entry.watermark_ms, all_idle, settled, NOW - HOUR, IDLE_AFTER, (entry,)
    )


def _explain(*tasks: TaskStanding, window: WindowFacts = WINDOW) -> Explanation:
    return explain(window, {(task.stage, task.partition): task for task in tasks})


AHEAD = 6 * HOUR + 60_000


def test_it_asks_for_those_who_hold_and_for_nobody_else() -> None:
    sources = [_source(0, AHEAD), _source(1, 5 * HOUR), _source(2, None)]
    assert _explain(_reader(*sources)).unasked == {("departures", 1), ("departures", 2)}
    assert _explain(_reader(*sources), *sources).unasked == frozenset()


def test_the_partition_that_is_behind_is_named_with_what_it_needs() -> None:
    behind = _source(2, 5 * HOUR + 780_000)
    made = _explain(_reader(_source(0, AHEAD), behind), behind)
    (holder,) = made.holders
    assert (made.status, made.target_ms) == (Status.OPEN, 6 * HOUR)
    assert (holder.holding, holder.path, holder.topic) == (Holding.BEHIND, ("by_carrier/1", "departures/2"), "flights")
    assert holder.needs_event_ms == AHEAD
    assert made.closes_by_at_ms == holder.left_out_at_ms == NOW + IDLE_AFTER - 500
    said = " ".join(sentences(made))
    for part in (
        "The tumbling window of 'UA' in hourly from 1970-01-01T05:00:00Z to 1970-01-01T06:00:00Z is open.",
        "reaches 1970-01-01T06:00:00Z, its end.",
        "It is held by flights, partition 2 (source departures, producer task departures/2 on http://one)",
        "its last event, offset 99, has time 1970-01-01T05:13:00Z.",
        "Nothing waits to be read; the last fetch was 500 ms ago.",
        "An event of 1970-01-01T06:01:00Z or later there lets go.",
        f"it closes at about {moment(NOW + 9_500)}",
    ):
        assert part in said, said


def test_the_picture_shows_the_chain() -> None:
    behind = _source(2, 5 * HOUR + 780_000, end=140)
    assert picture(_explain(_reader(_source(0, AHEAD), behind), behind)).splitlines() == [
        "hourly  needs 1970-01-01T06:00:00Z",
        "by_carrier/1      ✗ 1970-01-01T05:12:00Z",
        "├─departures/0    ✓ 1970-01-01T06:00:00Z",
        "└─departures/2    ✗ 1970-01-01T05:12:00Z",
        "  └─flights/2     ✗ 1970-01-01T05:12:00Z  40 records wait",
    ]


def test_records_that_wait_are_not_idle() -> None:
    lagging = _source(2, 5 * HOUR, quiet_ms=60_000, end=140)
    made = _explain(_reader(_source(0, AHEAD), lagging), lagging)
    assert (made.holders[0].holding, made.holders[0].lag_count, made.closes_by_at_ms) == (Holding.LAGS, 40, None)
    assert "40 records wait to be read behind offset 100" in " ".join(sentences(made))


def test_an_idle_partition_is_left_out_when_that_is_settled() -> None:
    idle = _source(2, None, idle=True, quiet_ms=20_000)
    made = _explain(_reader(_source(0, AHEAD), idle, settled_at_ms=NOW + 3_000), idle)
    assert (made.holders[0].holding, made.closes_by_at_ms) == (Holding.IDLE, NOW + 3_000)
    assert "It is idle: nothing has come for 20 s (idle_after is 10 s)." in " ".join(sentences(made))
    assert _explain(_reader(_source(0, AHEAD), idle), idle).status is Status.CLOSED, "it is left out already"


def test_silence_of_everything_needs_one_event_anywhere() -> None:
    silent = [_source(number, 5 * HOUR, idle=True, quiet_ms=60_000) for number in (0, 1)]
    made = _explain(_reader(*silent), *silent)
    assert (made.any_one, made.closes_by_at_ms, len(made.holders)) == (True, None, 2)
    assert "Everything is silent; one such event, in any of them, is enough." in sentences(made)


def test_idleness_does_not_help_where_nobody_has_come_that_far() -> None:
    behind = [_source(number, 5 * HOUR) for number in (0, 1)]
    made = _explain(_reader(*behind), *behind)
    assert made.closes_by_at_ms is None
    assert sentences(made)[-1] == "Idleness does not help: it needs events."


def test_a_mark_on_its_way_is_no_fault_of_the_source() -> None:
    fast = _source(2, AHEAD)
    made = _explain(_reader(_source(0, AHEAD), fast, marks={2: 5 * HOUR}), fast)
    assert [holder.holding for holder in made.holders] == [Holding.ON_ITS_WAY]
    assert sentences(made)[-1] == "It closes in a moment, when what is on its way has been read."


def test_a_worker_that_does_not_answer_is_named() -> None:
    lost = TaskStanding("departures", 2, "http://gone", missing="its worker could not tell: no answer within 1.5 s")
    made = _explain(_reader(_source(0, AHEAD), _source(2, None)), lost)
    assert made.holders[0].holding is Holding.UNKNOWN
    assert "What task departures/2 waits for is not known: its worker could not tell" in " ".join(sentences(made))


def test_many_producers_are_followed_from_the_last_on() -> None:
    sources = [_source(number, 4 * HOUR + number) for number in range(FOLLOWED_MAX + 8)]
    made = _explain(_reader(*sources), *sources)
    assert [holder.partition for holder in made.holders] == list(range(FOLLOWED_MAX))
    assert made.not_followed_count == 8
    assert "8 more producers hold it" in " ".join(sentences(made))


CLOSED = _reader(_source(0, AHEAD + 40 * HOUR))
SOON = _reader(_source(0, AHEAD))


@pytest.mark.parametrize(
    ("window", "task", "status", "part"),
    [
        (WINDOW, SOON, Status.CLOSED, "When is not remembered"),
        (
            replace(WINDOW, closing=Closing(6 * HOUR, NOW, "mark", "by_carrier", "t.by_carrier", 2)),
            SOON,
            Status.CLOSED,
            f"It closed at {moment(NOW)}, when the watermark came to 1970-01-01T06:00:00Z with a mark of producer 2",
        ),
        (
            replace(WINDOW, closing=Closing(6 * HOUR, NOW, "event", "s", "in", None, AHEAD, 7, 9)),
            SOON,
            Status.CLOSED,
            "with an event of 1970-01-01T06:01:00Z (source s, in, offsets 7 to 9)",
        ),
        (replace(WINDOW, closing=Closing(6 * HOUR, NOW, "silence")), SOON, Status.CLOSED, "by the clock"),
        (
            replace(WINDOW, closing=Closing(6 * HOUR, NOW, "end", "s", "t.in")),
            SOON,
            Status.CLOSED,
            "at the end of t.in",
        ),
        (replace(WINDOW, late=LateRows(3, 5 * HOUR)), SOON, Status.CLOSED, "3 late events of this key for it were not"),
        (replace(WINDOW, exists=False), SOON, Status.NEVER, "never existed"),
        (replace(WINDOW, exists=False), CLOSED, Status.EXPIRED, "whether it existed is not known"),
        (replace(WINDOW, closes_at_ms=7 * HOUR), SOON, Status.FIRED, "its end plus 60 min of allowed lateness"),
    ],
)
def test_what_is_said_of_windows_that_are_past(
    window: WindowFacts, task: TaskStanding, status: Status, part: str
) -> None:
    made = _explain(task, _source(0, AHEAD), window=window)
    assert made.status is status
    assert part in " ".join(sentences(made)), sentences(made)


def test_a_window_without_rows_that_still_takes_some_says_so() -> None:
    made = _explain(_reader(_source(0, 5 * HOUR)), _source(0, 5 * HOUR), window=replace(WINDOW, exists=False))
    assert made.status is Status.AWAITED
    assert "has no event of this key so far" in sentences(made)[0]


@pytest.mark.parametrize(
    ("length_ms", "text"), [(0, "0 ms"), (999, "999 ms"), (1_500, "1.5 s"), (720_000, "12 min"), (18_720_000, "5.2 h")]
)
def test_spans_are_short(length_ms: int, text: str) -> None:
    assert span(length_ms) == text


# -- promises come true -------------------------------------------------------------------------------------------------

CHAINS = [
    make_plan(
        parse_topology(f"""
topology: t
schemas: {{A: {{time: timestamp, p: str, k: str}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: time, key: p, watermark_delay: 20ms, idle_after: 100ms}}
  k: {{kind: key_by, input: s, key: k}}
  w: {{kind: window, input: k, window: {{type: tumbling, size: 10ms}}, aggregate: {{n: count()}}, emit: final,
       allowed_lateness: {lateness_ms}ms}}
  k2: {{kind: key_by, input: w, key: n}}
  w2: {{kind: window, input: k2, window: {{type: tumbling, size: 40ms}}, aggregate: {{windows: count()}}}}
  o2: {{kind: sink, input: w2, topic: out2}}
""")
    )
    for lateness_ms in (0, 25)
]
_FACTS = replace(WINDOW, table="w2", node="w2", stage="k2", kind="tumbling")


def _ask(driver: Driver, window: WindowFacts) -> Explanation:
    for task in driver.tasks():
        task.tick(driver.now_ms)
    return explain(window, {(task.stage.name, task.partition): task.standing() for task in driver.tasks()})


def _put(driver: Driver, partition: int, time_ms: int) -> None:
    value = orjson.dumps({"time": time_ms, "p": f"p{partition}", "k": "k"})
    driver.log.partitions["in", partition].append(b"p", value, driver.now_ms)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1_000, 1_300), st.integers(0, 8)), min_size=1, max_size=12),
    st.integers(1_000, 1_300),
    st.booleans(),
    st.sampled_from(CHAINS),
)
def test_what_is_promised_comes_true(
    partitions: int, steps: list[tuple[int, int, int]], time_ms: int, by_silence: bool, plan: Plan
) -> None:
    """Two stages behind a source. Do what the explanation says: the window closes; one millisecond less: it does not."""
    driver = Driver(plan, partitions=partitions)
    for partition, time, pauses in steps:
        _put(driver, partition % partitions, time)
        driver.run()
        for _ in range(pauses):
            driver.idle(25)
    start = time_ms // 40 * 40
    window = replace(
        _FACTS,
        partition=partition_of(b"1", partitions),
        start_ms=start,
        end_ms=start + 40,
        fires_at_ms=start + 40,
        closes_at_ms=start + 40,
        kept_until_ms=1 << 60,
    )
    made = _ask(driver, window)
    assert not made.unasked
    assume(made.status is Status.OPEN)
    assert made.holders
    if by_silence:
        assume(made.closes_by_at_ms is not None)
        # Marks travel through two stages, each of which has to be settled, and the promise is about the first.
        driver.idle((made.closes_by_at_ms or 0) - driver.now_ms)
        driver.idle(100)
        driver.idle(100)
        assert _ask(driver, window).status is Status.CLOSED
        return
    for less, status in ((1, Status.OPEN), (0, Status.CLOSED)):
        for holder in made.holders:
            if holder.needs_event_ms is not None:
                _put(driver, holder.partition, holder.needs_event_ms - less)
        driver.run()
        assert _ask(driver, window).status is status
