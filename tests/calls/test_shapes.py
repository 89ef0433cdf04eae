"""Async nodes give what the model gives in every shape: order, windows, dead letters, crashes."""

import random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.bus.detail import Detail
from streamflow.bus.executions import ExecutionTable
from streamflow.model.outcome import new_execution
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

TOPOLOGY = """
topology: t
schemas: {Asked: {t: timestamp, shop: str, number: int, wait_ms: int}}
nodes:
  s:      {kind: source, topic: in, schema: Asked, event_time: t, watermark_delay: 20ms, key: shop}
  renamed: {kind: map, input: s, set: {shop: upper(shop)}}
  some:   {kind: filter, input: renamed, where: number % 7 != 0}
  half:   {kind: python, input: some, call: "tests.calls.functions:halved", concurrency: 8}
  rows:   {kind: sink, input: half, topic: rows}
  w:      {kind: window, input: half, window: {type: tumbling, size: 100ms}, aggregate: {n: count(), total: sum(half)}}
  out:    {kind: sink, input: w, topic: windows}
  longer: {kind: map, input: half, set: {wait_ms: half % 3}}
  by_half: {kind: key_by, input: longer, key: half % 5}
  again:  {kind: python, input: by_half, call: "tests.calls.functions:halved", with: {fail_at: 17}}
  last:   {kind: sink, input: again, topic: again}
  echo:   {kind: echo, input: s, table: seen}
  echoed: {kind: sink, input: echo, topic: echoed}
"""
PLAN = bounded(make_plan(parse_topology(TOPOLOGY)))


def halves(number: int, fail_at: int) -> int:
    """How many rows the function gives, -1 for a failure."""
    if number % fail_at == 0:
        return -1
    return 0 if number % 11 == 0 else 1 + (number // 2) % 2


def make_events(seed: int, count: int) -> list[dict[str, Any]]:
    chance, time, events = random.Random(seed), 1_000, []
    for _ in range(count):
        time += chance.choice([0, 1, 5, 20, 90])
        event = {"t": time - chance.randrange(15), "shop": chance.choice("abc"), "number": chance.randrange(500)}
        events.append(event | {"wait_ms": chance.choice([0, 0, 0, 1, 3])})
    return events


def test_async_nodes_stand_behind_topics_of_their_own() -> None:
    """A queue of the node's own, or the key_by before it."""
    stages = {stage.name: {node.name for node in stage.nodes} for stage in PLAN.stages}
    assert stages == {
        "s": {"renamed", "some", "half.queue", "echo", "echoed"},
        "half.queue": {"half", "w", "rows", "out", "longer", "by_half"},
        "by_half": {"again", "last"},
    }
    assert {"t.half.queue", "t.by_half.repartition"} <= {topic.name for topic in PLAN.topics}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.sampled_from([1, 7, 500]),
    st.booleans(),
    st.booleans(),
    st.dictionaries(st.integers(1, 30), st.sampled_from(CrashPoint), max_size=4),
)
def test_any_shape_equals_the_model(
    seed: int, partitions: int, chunk_size: int, fused: bool, overlap: bool, crashes: dict[int, CrashPoint]
) -> None:
    events = make_events(seed, 60)
    driver = Driver(PLAN, partitions=partitions, chunk_size=chunk_size, fused=fused, overlap=overlap)
    driver.crash_at = dict(crashes)
    for start in range(0, len(events), 25):
        driver.publish("in", events[start : start + 25])
        driver.run()
    driver.finish()
    driver.close()
    asked = [event for event in events if event["number"] % 7]
    given_rows = [(e["shop"], e["number"], e["t"]) for e in asked for _ in range(max(0, halves(e["number"], 13)))]
    for shop in "abc":
        found = [row["number"] for row in driver.output("rows") if row["shop"] == shop.upper()]
        assert found == [number for name, number, _ in given_rows if name == shop], "the order of a key"
    windows: dict[tuple[str, int], list[int]] = {}
    for shop, number, time in given_rows:
        windows.setdefault((shop, time // 100 * 100), []).append(number // 2)
    told = {(row["shop"], row["start"]): (row["n"], row["total"]) for row in driver.output("windows")}
    assert told == {key: (len(rows), sum(rows)) for key, rows in windows.items()}
    assert len(driver.output("windows")) == len(windows), "a window came twice"
    again = [number for _, number, _ in given_rows for _ in range(max(0, halves(number, 17)))]
    assert sorted(row["number"] for row in driver.output("again")) == sorted(again)
    letters = driver.dead_letters()
    failed = [e for e in asked if halves(e["number"], 13) < 0]
    failed_again = [number for _, number, _ in given_rows if halves(number, 17) < 0]
    assert len(letters) == len(failed) + len(failed_again)
    assert {(each["sf-reason"], each["sf-class"], each["sf-calls"]) for each in letters} <= {
        ("process", "permanent", "1")
    }
    assert sum(driver.table("seen").values()) == len(events), "the branch beside it"


def test_an_event_that_somebody_waits_for_is_followed_through_an_async_node() -> None:
    driver = Driver(PLAN, partitions=2, events=Detail.EVERY)
    event = {"t": 1_000, "shop": "a", "number": 10, "wait_ms": 0}
    me, you = new_execution(), new_execution()
    driver.publish("in", [event, event | {"number": 13}])
    driver.publish("in", [event], correlation=me)
    driver.publish("in", [event | {"number": 13}], correlation=you)
    driver.run()
    driver.close()
    mine, yours = driver.outcome(me), driver.outcome(you)
    assert [row["row"]["number"] for row in mine.rows if row["topic"] == "rows"] == [10, 10]
    assert [row["topic"] for row in yours.rows] == ["echoed"]
    assert [letter["node"] for letter in yours.dead] == ["half"]
    table = ExecutionTable()
    for record in driver.records(EVENTS):
        table.add(orjson.loads(record.value or b""))
    for execution, state, nodes in ((me, "completed", ["half", "rows"]), (you, "failed", ["half"])):
        row = table.row(execution)
        assert row is not None
        assert row["state"] == state
        assert [node["node"] for node in row["nodes"] if node["node"] in ("half", "rows")] == nodes
        half = next(node for node in row["nodes"] if node["node"] == "half")
        assert (half["state"], half["attempt"]) == (state, 1)
    assert (mine.is_complete, yours.is_complete) == (True, True)
