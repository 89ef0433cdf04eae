"""Late events, bad events, and what the clock does. Nothing is lost without a trace."""

from typing import Any

import pytest

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_HEAD = "topology: t\nschemas: {A: {t: timestamp, k: str?, v: float, id: int}}\nnodes:\n"
_SOURCE = "  s: {kind: source, topic: in, schema: A, event_time: t, watermark_delay: 5ms, idle_after: 1s}\n"
_KEYED = _SOURCE + "  key: {kind: key_by, input: s, key: k}\n"
_WINDOW = "window: {type: tumbling, size: 10ms}, aggregate: {n: count(), s: sum(v)}"


def _driver(nodes: str, **shape: Any) -> Driver:
    return Driver(make_plan(parse_topology(_HEAD + nodes)), **shape)


def _event(t: int, k: str | None = "a", v: float = 1.0, n: int = 1) -> dict[str, Any]:
    return {"t": t, "k": k, "v": v, "id": n}


def _source_window(extra: str = "") -> str:
    source = _SOURCE.replace("watermark_delay: 5ms", "watermark_delay: 5ms, key: id")
    return source + f"  w: {{kind: window, input: s, {_WINDOW}{extra}}}\n  o: {{kind: sink, input: w, topic: out}}\n"


@pytest.mark.parametrize("chunk_size", [1, 2, 100])
def test_a_window_closes_exactly_when_the_watermark_reaches_its_end(chunk_size: int) -> None:
    """With 5 ms of delay, [0, 10) closes at the event of time 15, so 9 before it counts and 9 after it is late."""
    driver = _driver(_source_window(), chunk_size=chunk_size)
    driver.publish("in", [_event(t) for t in (1, 14, 9, 15, 9, 10)])
    driver.run()
    assert [(row["start"], row["n"]) for row in driver.output("out")] == [(0, 2)]
    assert driver.table("w") == {(1, 0): {"n": 2, "s": 2.0}, (1, 10): {"n": 3, "s": 3.0}}
    assert [sum(task.counters.late) for task in driver.tasks()] == [1]


def test_allowed_lateness_keeps_a_window_open() -> None:
    driver = _driver(_source_window(", allowed_lateness: 20ms, emit: final"))
    driver.publish("in", [_event(t) for t in (1, 34, 9, 35, 9)])
    driver.run()
    assert [(row["start"], row["n"]) for row in driver.output("out")] == [(0, 2)]


@pytest.mark.parametrize("chunk_size", [1, 100])
def test_a_late_event_that_is_allowed_corrects_the_result(chunk_size: int) -> None:
    """[0, 10) fires at the event of 15 and takes events until the one of 35."""
    driver = _driver(_source_window(", allowed_lateness: 20ms, late: too_late"), chunk_size=chunk_size)
    driver.publish("in", [_event(t) for t in (1, 15, 9, 34, 9, 35, 9)])
    driver.run()
    results = [(row["start"], row["n"], row["revision"]) for row in driver.output("out")]
    assert results[0] == (0, 1, 0)
    revisions = [revision for start, _, revision in results if start == 0]
    assert revisions == sorted(set(revisions))
    assert [n for start, n, _ in results if start == 0][-1] == 3
    assert [row["t"] for row in driver.output("too_late")] == [9]
    (late,) = driver.records("too_late")
    assert dict(late.headers)["sf-late-ms"] == b"0"


def test_times_before_the_epoch_have_windows_too() -> None:
    driver = _driver(_source_window())
    driver.publish("in", [_event(t) for t in (-25, -21, -20, -1, 0, 30)])
    driver.run()
    assert [(row["start"], row["n"]) for row in driver.output("out")] == [(-30, 2), (-20, 1), (-10, 1), (0, 1)]


@pytest.mark.parametrize("chunk_size", [1, 100])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"not json", "decode"),
        (b'{"t":1,"k":"a","v":"x","id":1}', "decode"),
        (b'{"t":1,"k":"a"}', "decode"),
        (b'{"t":1,"k":null,"v":1,"id":1}', "null_key"),
        (b'{"t":99999999999999,"k":"a","v":1,"id":1}', "event_time_ahead"),
        (b'{"t":1,"k":"a","v":0,"id":1}', "expression"),
        (b'{"t":1,"k":"a","v":1,"id":1,"x":"' + b"y" * 1_000_000 + b'"', "decode"),
    ],
)
def test_bad_events_become_dead_letters_and_the_stream_goes_on(
    bad: bytes, reason: str, fused: bool, chunk_size: int
) -> None:
    nodes = _KEYED + (
        f"  w: {{kind: window, input: key, {_WINDOW}}}\n"
        "  m: {kind: map, input: key, set: {inverse: 1 / v}}\n"
        "  o: {kind: sink, input: m, topic: out}\n"
    )
    driver = _driver(nodes, chunk_size=chunk_size, fused=fused)
    driver.publish("in", [_event(1), _event(2), bad, _event(3), bad, _event(4)])
    driver.run()
    letters = driver.dead_letters()
    assert [letter["sf-reason"] for letter in letters] == [reason] * 2
    assert all(letter["sf-node"] and letter["sf-error"] for letter in letters)
    assert [row["id"] for row in driver.output("out")] == [1] * 4
    folded = 6 if reason == "expression" else 4  # the window beside the failing map still gets the event
    assert driver.table("w")["a", 0]["n"] == folded
    if letters[0]["sf-topic"] == "in":
        assert [letter["sf-offset"] for letter in letters] == ["2", "4"]
        assert [record.value for record in driver.records("t.dead_letters")] == [bad] * 2


def test_a_slice_full_of_bad_events_is_put_aside_whole() -> None:
    driver = _driver(
        _KEYED + "  m: {kind: map, input: key, set: {x: 1 / v}}\n  o: {kind: sink, input: m, topic: out}\n"
    )
    driver.publish("in", [_event(1, v=0.0)] * 1_000)
    driver.run()
    assert len(driver.dead_letters()) == 1_000
    assert [int(letter["sf-offset"]) for letter in driver.dead_letters()] == list(range(1_000))


def test_huge_sums_do_not_break_the_state() -> None:
    driver = _driver(
        _source_window().replace("sum(v)", "sum(id)").replace(", key: id", ", key: k").replace("k: str?", "k: str")
    )
    driver.publish("in", [_event(t, n=2**62) for t in range(8)])
    driver.run()
    assert driver.table("w")["a", 0]["s"] == pytest.approx(8 * 2.0**62)


def test_an_idle_partition_stops_holding_the_others() -> None:
    """Two partitions, one of them silent: nothing closes until it is idle and the grace after awakening is over."""
    driver = _driver(_KEYED.replace("idle_after", "key: id, idle_after") + f"  w: {{kind: window, input: key, {_WINDOW}}}\n"
                     "  o: {kind: sink, input: w, topic: out}\n", partitions=2)  # fmt: skip
    driver.publish("in", [_event(t) for t in range(0, 60, 5)])
    driver.run()
    assert driver.output("out") == []
    driver.now_ms += 900
    driver.publish("in", [_event(60)])
    driver.run()
    assert driver.output("out") == []
    driver.idle(200)
    driver.publish("in", [_event(61)])
    driver.run()
    assert [row["start"] for row in driver.output("out")] == [0, 10, 20, 30, 40]


def test_a_burst_after_silence_does_not_overtake_itself() -> None:
    """Everything is idle; one partition is read a moment before the other. Nothing of the other may be late."""
    driver = _driver(_KEYED.replace("idle_after", "key: id, idle_after") + f"  w: {{kind: window, input: key, {_WINDOW}}}\n", partitions=2)  # fmt: skip
    driver.run()
    driver.idle(5_000)
    first, second = _keys_of_both_partitions()
    driver.publish("in", [_event(t, n=first) for t in range(0, 1_000, 5)])
    driver.run()
    driver.publish("in", [_event(t, n=second) for t in range(0, 1_000, 5)])
    driver.run()
    assert sum(sum(task.counters.late) for task in driver.tasks()) == 0
    assert sum(row["n"] for row in driver.table("w").values()) == 400


def _keys_of_both_partitions() -> tuple[int, int]:
    from streamflow.model.partitioner import partition_of

    keys = {partition_of(str(n).encode(), 2): n for n in range(50)}
    return keys[0], keys[1]


def test_event_time_of_the_record_is_used_when_the_source_names_none() -> None:
    source = _SOURCE.replace("event_time: t, ", "").replace("watermark_delay: 5ms", "watermark_delay: 5ms, key: id")
    driver = _driver(source + f"  w: {{kind: window, input: s, {_WINDOW}}}\n")
    for time in (1_000_001, 1_000_009, 1_000_010):
        driver.publish("in", [_event(5)], timestamp_ms=time)
    driver.run()
    assert {start: row["n"] for (_, start), row in driver.table("w").items()} == {1_000_000: 2, 1_000_010: 1}


def test_retention_lets_old_windows_go() -> None:
    driver = _driver(_source_window(", retention: 100ms"))
    driver.publish("in", [_event(t) for t in range(0, 1_000, 5)])
    driver.run()
    starts = sorted(start for _, start in driver.table("w"))
    assert starts[0] >= 995 - 5 - 100 - 10
    assert starts[-1] == 990


def test_unknown_fields_follow_the_sources_policy() -> None:
    nodes = (
        _SOURCE.replace("idle_after", "unknown_fields: reject, idle_after")
        + "  o: {kind: sink, input: s, topic: out}\n"
    )
    driver = _driver(nodes)
    driver.publish("in", [_event(1), {**_event(2), "extra": 1}])
    driver.run()
    assert [row["t"] for row in driver.output("out")] == [1]
    assert "extra" in driver.dead_letters()[0]["sf-error"]


@pytest.mark.parametrize(
    "expression", ["v * 1e308 * 1e308", "v * 1e308 * 1e308 - v * 1e308 * 1e308", "id * 4611686018427387904 * 4"]
)
def test_computed_numbers_that_cannot_be_stored_become_dead_letters(expression: str) -> None:
    nodes = (
        _KEYED
        + f"  m: {{kind: map, input: key, set: {{x: {expression}}}}}\n  o: {{kind: sink, input: m, topic: out}}\n"
    )
    driver = _driver(nodes)
    driver.publish("in", [_event(1, v=5.0), _event(2, v=0.0, n=0)])
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["expression"]
    assert [row["t"] for row in driver.output("out")] == [2]


@pytest.mark.parametrize(
    "source", [_SOURCE.replace("event_time", "key: k, event_time").replace("k: str?", "k: str"), _KEYED]
)
def test_giant_keys_become_dead_letters(source: str) -> None:
    name = "key" if "key_by" in source else "s"
    driver = _driver(source + f"  w: {{kind: window, input: {name}, {_WINDOW}}}\n")
    driver.publish("in", [_event(1, k="x" * 20_000), _event(2, k="y")])
    driver.run()
    assert [letter["sf-reason"] for letter in driver.dead_letters()] == ["too_large"]
    assert [key for key, _ in driver.table("w")] == ["y"]
