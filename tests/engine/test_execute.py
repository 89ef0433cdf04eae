"""An event with a correlation id: exactly its own rows come back, whatever runs beside it, in every shape."""

import itertools
import random
from typing import Any

import orjson
import pytest

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Dep: {time: timestamp, id: int, k: str, city: str?, n: int}}
nodes:
  deps: {kind: source, topic: in, schema: Dep, event_time: time, watermark_delay: 5ms, key: k}
  large: {kind: filter, input: deps, where: n > 10}
  shown: {kind: map, input: large, set: {double: n * 2}}
  out: {kind: sink, input: shown, topic: large}
  by_city: {kind: key_by, input: deps, key: city}
  seen: {kind: echo, input: by_city, table: seen}
  out2: {kind: sink, input: seen, topic: seen}
  ratio: {kind: map, input: by_city, set: {part: 100 / n}}
  out3: {kind: sink, input: ratio, topic: ratio}
  w: {kind: window, input: by_city, window: {type: tumbling, size: 10ms}, aggregate: {n: count()}, late: late}
  out4: {kind: sink, input: w, topic: windows}
"""
PLAN = make_plan(parse_topology(_TOPOLOGY))


def _id(number: int) -> str:
    """As `execute` makes them: outcomes are kept for these."""
    return f"{number:011x}-{number:032x}"


def _event(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "time": 1_000 + number * 3 - (chance.random() < 0.1) * 200,
        "id": number,
        "k": chance.choice("abc"),
        "city": chance.choice(["Rome", "Oslo", None]),
        "n": chance.choice([0, 5, 20]),
    }


def _expected(event: dict[str, Any]) -> tuple[list[tuple[str, int]], list[tuple[str, str]]]:
    """(sink, id) of the rows and (node, reason) of the dead letters of an event, but for its counter and lateness."""
    rows, dead = [], []
    if event["n"] > 10:
        rows.append(("large", event["id"]))
    if event["city"] is None:
        dead.append(("by_city", "null_key"))
    else:
        rows.append(("seen", event["id"]))
        if event["n"] == 0:
            dead.append(("ratio", "expression"))
        else:
            rows.append(("ratio", event["id"]))
    return sorted(rows), sorted(dead)


@pytest.mark.parametrize(
    ("partitions", "chunk_size", "fused", "crashes"),
    list(
        itertools.product(
            (1, 3), (1, 7, 1_000), (True, False), ({}, {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.BEFORE_STORE})
        )
    ),
)
def test_an_outcome_has_exactly_the_rows_of_its_event(
    partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]
) -> None:
    chance = random.Random(partitions * chunk_size)
    driver = Driver(PLAN, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=2)
    plain = Driver(PLAN, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=2)
    driver.crash_at = dict(crashes)
    events = [_event(number, chance) for number in range(200)]
    for event in events:
        plain.publish("in", [event])
        driver.publish("in", [event], correlation=_id(event["id"]) if event["id"] % 3 == 0 else None)
    plain.run()
    driver.run()
    for event in events[::3]:
        outcome = driver.outcome(_id(event["id"]))
        assert outcome.is_complete
        rows, dead = _expected(event)
        assert sorted((row["topic"], row["row"]["id"]) for row in outcome.rows) == rows
        assert sorted((each["node"], each["reason"]) for each in outcome.dead) == dead
        assert all(each["node"] == "w" and each["late_ms"] >= 0 for each in outcome.late)
        assert outcome.status == ("dead" if dead else "late" if outcome.late else "done")
    assert driver.outcome(_id(1)).missing == 1, "events without an id have no outcome"
    for topic in ("large", "seen", "ratio", "windows", "late"):
        if not crashes:  # these change which of two partitions is read first
            assert [r.value for r in driver.records(topic)] == [r.value for r in plain.records(topic)]
        ids = {name for record in plain.records(topic) for name, _ in record.headers}
        assert "sf-correlation" not in ids
    stamped = [record for record in driver.records("seen") if record.headers]
    assert {dict(record.headers)["sf-correlation"].decode() for record in stamped} == {
        _id(orjson.loads(record.value or b"")["id"]) for record in stamped
    }
    assert all(record.headers == () for record in driver.records("windows")), "a result of many events is nobody's"


def test_what_does_not_decode_has_an_outcome_too() -> None:
    driver = Driver(PLAN)
    driver.publish("in", [b"{}"], correlation=_id(1))
    driver.publish("in", [{"time": 1, "id": 1, "k": "a", "city": "Rome", "n": 20}], correlation=_id(2))
    driver.run()
    assert [each["reason"] for each in driver.outcome(_id(1)).dead] == ["decode"]
    assert driver.outcome(_id(1)).is_complete
    assert driver.outcome(_id(2)).status == "done"


def test_a_late_event_says_so_and_the_windows_it_closes_are_not_its_own() -> None:
    driver = Driver(PLAN)
    for number, time in enumerate((1_000, 2_000, 3_000, 1_001)):
        event = {"time": time, "id": number, "k": "a", "city": "Rome", "n": 20}
        driver.publish("in", [event], correlation=_id(number))
        driver.run()
    assert [row["n"] for row in driver.output("windows")] == [1, 1]
    outcomes = [driver.outcome(_id(number)) for number in range(4)]
    assert [outcome.status for outcome in outcomes] == ["done", "done", "done", "late"]
    assert all(sorted(row["topic"] for row in outcome.rows) == ["large", "ratio", "seen"] for outcome in outcomes)
    assert outcomes[3].late == [{"node": "w", "topic": "late", "late_ms": 2_995 - 1_010}]


def test_parts_that_come_twice_count_once() -> None:
    driver = Driver(PLAN)
    driver.publish("in", [{"time": 1, "id": 1, "k": "a", "city": "Rome", "n": 20}], correlation=_id(7))
    driver.run()
    outcome = driver.outcome(_id(7))
    for record in driver.records("t.outcomes"):
        outcome.add(orjson.loads(record.value or b""), 1)
    assert outcome.is_complete
    assert len(outcome.rows) == 3
