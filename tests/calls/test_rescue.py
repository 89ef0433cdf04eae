"""Rows that fail at a node go on to another one, in every shape, and are no dead letters."""

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.bus.detail import Detail
from streamflow.bus.executions import ExecutionTable
from streamflow.errors import TopologyError
from streamflow.kit import Process, Row, Value
from streamflow.model.outcome import new_execution
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

TOPOLOGY = """
topology: t
schemas:
  Asked: {t: timestamp, shop: str, number: int, wait_ms: int}
  Shop: {shop: str, rate: int}
nodes:
  s:       {kind: source, topic: in, schema: Asked, event_time: t, watermark_delay: 20ms, key: shop}
  shops:   {kind: global_table, topic: shops, schema: Shop, key: shop}
  share:   {kind: map, input: s, set: {wait_ms: 100 // (number % 5)}, keep: [t, shop, number]}
  no_share: {kind: map, input: share.failed, set: {wait_ms: 0 - 1}}
  either:  {kind: pass_through, inputs: [share, no_share]}
  few:     {kind: filter, input: either, where: 60 // (number % 6) > 12}
  odd:     {kind: sink, input: few.failed, topic: odd}
  kept:    {kind: sink, input: few, topic: kept}
  rated:   {kind: lookup, input: few, table: shops, key: shop, missing: dead_letter}
  strange: {kind: sink, input: rated.failed, topic: strange}
  half:    {kind: python, input: rated, call: "tests.calls.functions:halved", concurrency: 8}
  other:   {kind: python, input: half.failed, call: "tests.calls.functions:halved", with: {fail_at: 26}}
  first:   {kind: sink, input: half, topic: out}
  second:  {kind: sink, input: other, topic: out}
  w:       {kind: window, input: half.failed, window: {type: tumbling, size: 100ms}, aggregate: {n: count()}}
  windows: {kind: sink, input: w, topic: windows}
  lost:    {kind: sink, input: other.failed, topic: lost}
"""
PLAN = bounded(make_plan(parse_topology(TOPOLOGY)))


def make_events(seed: int, count: int) -> list[dict[str, Any]]:
    chance, time, events = random.Random(seed), 1_000, []
    for _ in range(count):
        time += chance.choice([0, 1, 5, 20, 90])
        number = chance.choice([chance.randrange(500), 13 * chance.randrange(40)])
        events.append({"t": time, "shop": chance.choice("abc"), "number": number, "wait_ms": 0})
    return events


class Model:
    """What comes out where, in plain Python."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.topics: dict[str, list[Any]] = {name: [] for name in ("odd", "kept", "strange", "out", "lost")}
        self.windows: dict[tuple[str, int], int] = {}
        self.rescued = dict.fromkeys(("share", "few", "rated", "half", "other"), 0)
        for event in events:
            self._take(event["number"], event["shop"], event["t"])

    def _take(self, number: int, shop: str, t: int) -> None:
        self.rescued["share"] += number % 5 == 0
        if number % 6 == 0:
            self._fail("few", "odd", number)
        elif 60 // (number % 6) > 12:
            self.topics["kept"].append(number)
            if shop == "c":
                self._fail("rated", "strange", number)
            else:
                self._ask(number, shop, t)

    def _ask(self, number: int, shop: str, t: int) -> None:
        if number % 13 == 0:
            self.rescued["half"] += 1
            border = shop, t // 100 * 100
            self.windows[border] = self.windows.get(border, 0) + 1
        if number % 26 == 0:
            self._fail("other", "lost", number)
        elif number % 11:
            self.topics["out"] += [number] * (1 + number // 2 % 2)

    def _fail(self, node: str, topic: str, number: int) -> None:
        self.rescued[node] += 1
        self.topics[topic].append(number)


@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 7, 500]),
    st.booleans(),
    st.dictionaries(st.integers(1, 30), st.sampled_from(CrashPoint), max_size=4),
)
def test_any_shape_equals_the_model(seed: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]) -> None:
    events = make_events(seed, 60)
    driver = Driver(PLAN, partitions=2, chunk_size=chunk_size, fused=fused)
    driver.crash_at = dict(crashes)
    driver.publish("shops", [{"shop": shop, "rate": 1} for shop in "ab"])
    driver.run()
    for start in range(0, len(events), 25):
        driver.publish("in", events[start : start + 25])
        driver.run()
    driver.finish()
    driver.close()
    model = Model(events)
    found = {topic: sorted(row["number"] for row in driver.output(topic)) for topic in model.topics}
    assert found == {topic: sorted(numbers) for topic, numbers in model.topics.items()}
    assert {(row["shop"], row["start"]): row["n"] for row in driver.output("windows")} == model.windows
    assert driver.dead_letters() == []
    assert all(set(row) == {"t", "shop", "number", "wait_ms", "rate"} for row in driver.output("lost"))
    assert all(set(row) == {"t", "shop", "number", "wait_ms"} for row in driver.output("odd"))
    assert {row["wait_ms"] for row in driver.output("kept") if row["number"] % 5 == 0} <= {-1}


def test_rows_that_were_rescued_are_counted_and_told_of() -> None:
    driver = Driver(PLAN, events=Detail.EVERY)
    me = new_execution()
    driver.publish("shops", [{"shop": "a", "rate": 1}])
    driver.run()
    driver.publish("in", [{"t": 1_000, "shop": "a", "number": number, "wait_ms": 0} for number in (5, 13, 7, 6)])
    driver.publish("in", [{"t": 1_000, "shop": "a", "number": 13, "wait_ms": 0}], correlation=me)
    driver.run()
    counts = {name: each for task in driver.tasks() for name, each in task.counters.by_node().items()}
    assert (counts["share"].rows_in, counts["share"].rows_out, counts["share.failed"].rows_out) == (5, 4, 1)
    assert (counts["few"].rows_in, counts["few"].rows_out, counts["few.failed"].rows_out) == (5, 3, 1)
    assert (counts["half"].rows_in, counts["half.failed"].rows_in, counts["half.failed"].rows_out) == (3, 2, 2)
    assert sum(each.dead for each in counts.values()) == 0
    table = ExecutionTable()
    for record in driver.records(EVENTS):
        table.add(orjson.loads(record.value or b""))
    row = table.row(me)
    assert row is not None
    assert row["state"] == "completed"
    half = next(node for node in row["nodes"] if node["node"] == "half")
    assert (half["state"], half["recovered"]) == ("completed", "fallback_node")
    assert "unlucky" in half["error"]
    driver.close()


class Number(Row):
    """What the planted nodes take and give."""

    number: int


class Summing(Process):
    """Sums what came; refuses multiples of three after it has changed its state."""

    total = Value(int)

    def process(self, row: Number) -> Iterator[Number]:
        self.total.set((self.total.get() or 0) + row.number)
        if row.number % 3 == 0:
            raise ValueError("three")
        yield Number(self.total.get() or 0)


def plain(row: Number) -> Number:
    if row.number == 8:
        raise MemoryError
    if row.number % 2:
        raise ValueError("odd")
    return Number(row.number)


def small(nodes: str) -> Driver:
    head = "topology: t\nschemas: {N: {key: str, number: int, items: json?}}\nnodes:\n"
    head += "  s: {kind: source, topic: in, schema: N, key: key}\n"
    return Driver(make_plan(parse_topology(head + nodes)))


def test_a_node_with_states_gives_on_what_it_refused_and_keeps_its_states() -> None:
    driver = small(
        "  sums: {kind: process, input: s, call: tests.calls.test_rescue:Summing}\n"
        "  refused: {kind: sink, input: sums.failed, topic: refused}\n"
        "  out: {kind: sink, input: sums, topic: out}\n"
    )
    driver.publish("in", [{"key": "a", "number": number} for number in range(1, 8)])
    driver.run()
    assert [row["number"] for row in driver.output("out")] == [1, 3, 7, 12, 19]
    assert [row["number"] for row in driver.output("refused")] == [3, 6]


def test_lists_and_plain_functions() -> None:
    driver = small(
        "  flat: {kind: flat_map, input: s, list: items, fields: {number: int}, keep: [key]}\n"
        "  whole: {kind: sink, input: flat.failed, topic: whole}\n"
        "  some: {kind: python, input: flat, call: tests.calls.test_rescue:plain}\n"
        "  odd: {kind: sink, input: some.failed, topic: odd}\n"
        "  out: {kind: sink, input: some, topic: out}\n"
    )
    driver.publish("in", [{"key": "a", "number": 1, "items": [{"number": 1}, {"number": 2}]}])
    driver.publish("in", [{"key": "a", "number": 2, "items": [{"number": 4}, {"number": "x"}]}])
    driver.run()
    assert [row["number"] for row in driver.output("out")] == [2]
    assert [row["number"] for row in driver.output("odd")] == [1]
    assert [row["number"] for row in driver.output("whole")] == [2]
    driver.publish("in", [{"key": "a", "number": 3, "items": [{"number": 8}]}])
    with pytest.raises(MemoryError):
        driver.run()


@pytest.mark.parametrize("node", ["{kind: pass_through, input: s}", "{kind: key_by, input: s, key: number}"])
def test_what_cannot_fail_or_go_on_is_told(node: str) -> None:
    with pytest.raises(TopologyError, match="cannot go on elsewhere"):
        small(f"  a: {node}\n  b: {{kind: sink, input: a.failed, topic: b}}\n  c: {{kind: sink, input: a, topic: c}}\n")
    with pytest.raises(TopologyError, match="cannot go on elsewhere"):
        small("  b: {kind: sink, input: s.failed, topic: b}\n")
