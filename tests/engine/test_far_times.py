"""Event times too far from their records', and processing time: a bad clock is put aside, and cannot close the world."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str, id: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, key: k, idle_after: 1s, {source}}}
  w: {{kind: window, input: s, window: {{type: tumbling, size: 10ms}}, aggregate: {{n: count()}}, late: late}}
  o: {{kind: sink, input: w, topic: out}}
"""
WRITTEN = 1_000_000


def _driver(source: str, **shape: Any) -> Driver:
    return Driver(make_plan(parse_topology(_TOPOLOGY.format(source=source))), **shape)


def _publish(driver: Driver, *times: int, written: int = WRITTEN) -> None:
    start = len(driver.records("in"))
    driver.publish("in", [{"t": t, "k": "a", "id": start + n} for n, t in enumerate(times)], timestamp_ms=written)


def _windows(driver: Driver) -> dict[int, int]:
    return {start: row["n"] for (_, start), row in driver.table("w").items()}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 100])
def test_one_bad_clock_does_not_close_the_world(chunk_size: int, fused: bool) -> None:
    """An hour ahead is allowed without a word in the topology; the letter says how far it was."""
    driver = _driver("event_time: t", chunk_size=chunk_size, fused=fused)
    limit = WRITTEN + 3_600_000
    _publish(driver, 5, limit + 1, 6, WRITTEN + 20, 7)
    driver.run()
    (letter,) = driver.dead_letters()
    assert letter["sf-reason"] == "event_time_ahead"
    assert (letter["sf-event-time"], letter["sf-distance-ms"]) == (str(limit + 1), "3600001")
    assert "3600000 ms are allowed" in letter["sf-error"]
    assert _windows(driver) == {0: 2, WRITTEN + 20: 1}
    _publish(driver, limit)
    driver.run()
    assert len(driver.dead_letters()) == 1, "the limit itself is allowed"


def test_a_clamped_event_happened_when_it_was_written() -> None:
    driver = _driver("event_time: t, future: {limit: 30ms, policy: clamp}, past: {limit: 100ms, policy: clamp}")
    _publish(driver, WRITTEN + 31, WRITTEN + 30, WRITTEN - 100, WRITTEN - 101)
    driver.run()
    assert driver.dead_letters() == []
    assert _windows(driver) == {WRITTEN: 1, WRITTEN + 30: 1}
    assert [row["id"] for row in driver.output("late")] == [2, 3], "both are behind the one at +30"
    assert driver.tasks()[0].counters.clamped == [2]


def test_the_far_past_is_put_aside_where_asked() -> None:
    driver = _driver("event_time: t, past: {limit: 1s}")
    _publish(driver, WRITTEN - 1_000, WRITTEN - 1_001)
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["event_time_behind"]
    assert driver.dead_letters()[0]["sf-distance-ms"] == "1001"


def test_accept_takes_everything() -> None:
    driver = _driver("event_time: t, future: {limit: 0ms, policy: accept}")
    _publish(driver, 2**50)
    driver.run()
    assert (driver.dead_letters(), len(_windows(driver))) == ([], 1)


_CLOCKS = st.lists(st.tuples(st.integers(-60, 60), st.integers(0, 5)), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    _CLOCKS,
    st.sampled_from(["dead_letter", "clamp", "accept"]),
    st.sampled_from(["dead_letter", "clamp"]),
    st.sampled_from([1, 3, 100]),
    st.booleans(),
)
def test_bounds_equal_the_model(
    steps: list[tuple[int, int]], future: str, past: str, chunk_size: int, fused: bool
) -> None:
    """Every record is a batch of its own, so its timestamp is the reference. The model goes event by event."""
    driver = _driver(
        f"event_time: t, future: {{limit: 20ms, policy: {future}}}, past: {{limit: 30ms, policy: {past}}}",
        chunk_size=chunk_size,
        fused=fused,
    )
    written, high = WRITTEN, -1
    counts: dict[int, int] = {}
    dead: list[str] = []
    late = 0
    for distance, pause in steps:
        written += pause
        _publish(driver, written + distance, written=written)
        time = written + distance
        if distance > 20 and future != "accept":
            time = written
            if future == "dead_letter":
                dead.append("event_time_ahead")
                continue
        if distance < -30:
            time = written
            if past == "dead_letter":
                dead.append("event_time_behind")
                continue
        high = max(high, time)
        start = time // 10 * 10
        if start + 10 <= high:
            late += 1
        else:
            counts[start] = counts.get(start, 0) + 1
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == dead
    assert _windows(driver) == counts
    assert len(driver.output("late")) == late


# -- processing time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 100])
def test_processing_time_is_the_brokers_and_nothing_is_late(chunk_size: int) -> None:
    """The third record was appended while the broker's clock had stepped back."""
    driver = _driver("time: processing", chunk_size=chunk_size)
    for written in (WRITTEN, WRITTEN + 12, WRITTEN + 3, WRITTEN + 20):
        _publish(driver, 5, written=written)
    driver.run()
    assert _windows(driver) == {WRITTEN: 1, WRITTEN + 10: 2, WRITTEN + 20: 1}
    assert driver.output("late") == []
    assert [row["start"] for row in driver.output("out")] == [WRITTEN, WRITTEN + 10]


def test_processing_time_goes_on_without_events() -> None:
    """idle_after is 1 s: in silence time follows the clock a second behind, in steps of a second, also after a crash."""
    driver = _driver("time: processing")
    _publish(driver, 5)
    driver.run()
    assert driver.output("out") == []
    driver.idle(1_999)
    assert driver.output("out") == []
    driver.idle(1)
    assert [row["start"] for row in driver.output("out")] == [WRITTEN]
    assert driver.tasks()[0].watermark_ms == WRITTEN + 1_000
    commits = driver.log.committed["in", 0]
    driver.idle(999)
    assert driver.log.committed["in", 0] == commits, "an idle task opens no transaction"
    driver.crash()
    driver.run()
    assert driver.tasks()[0].watermark_ms == WRITTEN + 1_000
    driver.idle(1_000)
    assert driver.tasks()[0].watermark_ms > WRITTEN + 2_000


def test_a_silent_partition_on_processing_time_holds_nobody() -> None:
    text = (
        _TOPOLOGY.format(source="time: processing")
        .replace("input: s", "input: k")
        .replace("  w:", "  k: {kind: key_by, input: s, key: id}\n  w:")
    )
    driver = Driver(make_plan(parse_topology(text)), partitions=3)
    _publish(driver, 1, 1, 1)
    driver.run()
    for _ in range(4):
        driver.idle(1_000)
    assert len(driver.output("out")) == 3


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("time: processing, event_time: t", "nodes.s.event_time"),
        ("time: processing, watermark_delay: 1s", "nodes.s.watermark_delay"),
        ("future: {limit: 1s}", "nodes.s.future"),
        ("past: {limit: 1s}", "nodes.s.past"),
        ("event_time: t, watermark_delay: 2s, past: {limit: 1s}", "nodes.s.past"),
        ("event_time: t, past: {limit: 1s, polcy: clamp}", "nodes.s.past.polcy"),
    ],
)
def test_what_makes_no_sense_is_refused(source: str, place: str) -> None:
    with pytest.raises(TopologyError) as caught:
        make_plan(parse_topology(_TOPOLOGY.format(source=source)))
    assert [problem.place for problem in caught.value.problems] == [place]
    assert caught.value.problems[0].remedy
