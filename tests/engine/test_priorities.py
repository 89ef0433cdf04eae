"""Levels of a source: who goes first, that none waits for ever, and that time and results are those of one topic."""

import random
import re
from collections import Counter, defaultdict
from typing import Any

import pytest

from streamflow.checkpoint.progress import NO_TIME, ProducerMark, Progress
from streamflow.engine.levels import PIECE, Levels
from streamflow.engine.watermarks import resume_clocks
from streamflow.errors import TopologyError
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.describe import mermaid
from streamflow.plan.notes import notes
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded, into_run
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {Order: {time: timestamp, shop: str, city: str, number: int}}
nodes:
  orders:
    {kind: source, topic: orders, schema: Order, event_time: time, key: shop, priorities: {urgent: 8, high: 3}}
  valid: {kind: filter, input: orders, where: number >= 0}
  out: {kind: sink, input: valid, topic: out}
  asked: {kind: python, input: valid, call: "tests.calls.functions:placed", concurrency: 5}
  by_city: {kind: key_by, input: asked, key: city}
  totals:
    kind: window
    input: by_city
    window: {type: tumbling, size: 1s}
    aggregate: {n: count(), total: sum(number)}
    late: late
  sums: {kind: sink, input: totals, topic: sums}
"""
_LEVELS = {"": "orders", "urgent": "orders.urgent", "high": "orders.high"}
PLAN = make_plan(parse_topology(_TOPOLOGY))


def _order(number: int, time_ms: int) -> dict[str, Any]:
    return {"time": time_ms, "shop": f"s{number % 7}", "city": f"c{number % 3}", "number": number}


def test_an_urgent_event_overtakes_a_backlog_of_10000_on_its_whole_way() -> None:
    driver = Driver(PLAN, chunk_size=5_000)
    driver.publish("orders", [_order(number, 1_000) for number in range(10_000)])
    driver.publish("orders.urgent", [_order(99_999, 1_000)])
    driver.run()
    numbers = [row["number"] for row in driver.output("out")]
    assert len(numbers) == 10_001
    assert numbers.index(99_999) <= PIECE
    assert [number for number in numbers if number != 99_999] == list(range(10_000))
    for topic in ("t.asked.queue.urgent", "t.by_city.repartition.urgent"):
        rows = [record for record in driver.records(topic) if record.value and record.value.startswith(b"[")]
        assert len(rows) == 1, topic
    driver.close()


@pytest.mark.parametrize("shape", range(6))
def test_results_are_those_of_one_topic_in_any_shape(shape: int) -> None:
    """Of what is late by no level's own order nothing is: an urgent event does not carry time past those that wait."""
    choose = random.Random(shape)
    events = [(choose.choice([*_LEVELS] + [""] * 3), _order(n, 1_000 + n * 5)) for n in range(1_500)]
    plan = bounded(into_run(PLAN, "r"))
    crashes = choose.sample(range(1, 30), 4) if shape % 2 else []
    driver = Driver(
        plan, partitions=1 + shape % 3, chunk_size=choose.choice([7, 100, 1_000]), fused=shape % 4 < 2,
        overlap=shape >= 3,
    )  # fmt: skip
    driver.crash_at = {at: choose.choice(list(CrashPoint)) for at in crashes}
    for level, topic in _LEVELS.items():
        driver.publish(topic, [event for name, event in events if name == level])
    driver.finish()
    model: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for _, event in events:
        cell = model[event["city"], event["time"] // 1_000 * 1_000]
        cell[0] += 1
        cell[1] += event["number"]
    sums = {(row["city"], row["start"]): [row["n"], row["total"]] for row in driver.output("sums.r")}
    assert sums == model
    assert driver.output("late.r") == []
    assert driver.dead_letters() == []
    rows = driver.output("out.r")
    assert Counter(row["number"] for row in rows) == Counter(range(1_500))
    level_of = {event["number"]: level for level, event in events}
    for level in _LEVELS:
        for shop in {row["shop"] for row in rows}:
            found = [row["number"] for row in rows if row["shop"] == shop and level_of[row["number"]] == level]
            assert found == sorted(found), "the order of a key within a level"
    assert {node: count.rows_in for task in driver.tasks() for node, count in task.counters.by_node().items()}
    driver.close()


def test_the_counts_of_a_source_are_those_of_all_its_levels() -> None:
    driver = Driver(PLAN)
    for topic, count in (("orders", 5), ("orders.urgent", 3), ("orders.high", 2)):
        driver.publish(topic, [_order(number, 1_000) for number in range(count)])
    driver.run()
    counts = [task.counters.by_node() for task in driver.tasks()]
    assert [each["orders"].rows_in for each in counts if "orders" in each] == [10]
    assert [each["asked.queue"].rows_in for each in counts if "out" in each] == [10]
    assert [each["asked"].rows_out for each in counts if "asked" in each] == [10]
    driver.close()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("key", ["city", "number", "zone"])
def test_rows_go_on_by_the_levels_that_a_node_knows_and_others_in_the_ordinary_topic(key: str, fused: bool) -> None:
    """What `once` has kept something of is of no event alone; its rows meet others that have a level."""
    plan = make_plan(parse_topology(f"""
topology: t
schemas: {{Order: {{time: timestamp, shop: str, city: str, number: int, zone: str?}}}}
nodes:
  a: {{kind: source, topic: a, schema: Order, event_time: time, key: shop, priorities: {{urgent: 8}}}}
  b: {{kind: source, topic: b, schema: Order, event_time: time, key: shop, priorities: {{vip: 3}}}}
  once: {{kind: rate_limit, input: a, rate: 1, per: 1s}}
  both: {{kind: filter, inputs: [once, b], where: number >= 0}}
  by: {{kind: key_by, input: both, key: {key}}}
  counted: {{kind: echo, input: by, table: counts}}
  out: {{kind: sink, input: counted, topic: out}}
  rest: {{kind: key_by, inputs: [once.excess, b], key: {key}}}
  counted_rest: {{kind: echo, input: rest, table: counts_of_rest}}
  aside: {{kind: sink, input: counted_rest, topic: aside}}
"""))  # fmt: skip
    driver = Driver(plan, fused=fused, partitions=2)
    for number, topic in enumerate(("a", "a.urgent", "b", "b.vip")):
        more = {"zone": "z"} | {"shop": topic, "city": f"ключ {number}"}
        driver.publish(topic, [_order(10 * number + place, 1_000) | more for place in range(2)], key="shop")
    driver.run()
    assert driver.dead_letters() == []
    assert sorted(row["number"] for row in driver.output("out")) == [0, 10, 20, 21, 30, 31]
    assert sorted(row["number"] for row in driver.output("aside")) == [1, 11, 20, 21, 30, 31]
    for node in ("by", "rest"):
        values = [record.value or b"" for record in driver.records(f"t.{node}.repartition.vip")]
        assert len([value for value in values if value.startswith(b"[")]) == 2
    for topic in ("out", "aside"):
        keys = [(record.key or b"").decode() for record in driver.records(topic)]
        assert keys == [str(row[key]) for row in driver.output(topic)]


def test_a_level_that_is_added_takes_no_progress_of_others() -> None:
    """Nor does one that is taken away leave it to others, or a new order."""
    before, counts = PLAN, dict.fromkeys((topic.name for topic in PLAN.topics), 1)
    clocks = resume_clocks(before, before.stages[1], Progress(), counts, 0)
    for number, clock in enumerate(clocks):
        clock.hear(0, ProducerMark(number))
        clock.overtaken.add(100 + number)
    text = Progress(0, tuple(clock.progress() for clock in clocks)).encode()
    known = {clock.entry.topic: clock.progress() for clock in clocks}
    assert len(known) == 3
    for levels in ("vip: 9, high: 3, urgent: 8", "high: 3", "vip: 2, high: 3"):
        after = make_plan(parse_topology(_TOPOLOGY.replace("urgent: 8, high: 3", levels)))
        counts = dict.fromkeys((topic.name for topic in after.topics), 1)
        resumed = resume_clocks(after, after.stages[1], Progress.decode(text), counts, 0)
        found = {clock.entry.topic: clock.progress() for clock in resumed}
        assert found.keys() & known.keys() == known.keys() - (
            {"t.asked.queue.urgent"} if "urgent" not in levels else set()
        )
        for topic, progress in found.items():
            assert progress.overtaken == (known[topic].overtaken if topic in known else frozenset()), topic
            assert progress.marks == (known[topic].marks if topic in known else (ProducerMark(NO_TIME),)), topic


def test_the_picture_has_the_topics_of_all_levels_and_what_is_noted_is_noted_once() -> None:
    picture = mermaid(PLAN)
    topics = {name: place for place, name in re.findall(r'(topic\d+)\[\("(.+)"\)', picture)}
    edges = set(re.findall(r"^  (\w+) --> (\w+)$", picture, re.MULTILINE))
    for level in ("", ".urgent", ".high"):
        queue = topics["t.asked.queue" + level]
        assert {(topics["orders" + level], "s0_valid"), ("s0_asked__queue", queue), (queue, "s1_asked")} <= edges
    timeless = notes(make_plan(parse_topology(_TOPOLOGY.replace("event_time: time, ", ""))))
    assert len(timeless) == len(set(timeless))
    assert "orders: event time is the time that Kafka has for the record" in timeless


def _chunk(topic: str, start: int, count: int) -> Chunk:
    return Chunk(topic, 0, [b"x"] * count, [Run(0, start, 0)], start + count)


def test_levels_share_the_work_while_both_wait_and_none_saves_a_claim() -> None:
    levels = Levels(PLAN.stages[0], lambda topic: 0)
    levels.offer(_chunk("orders", 0, 40_000))
    assert levels.first() is not None
    for _ in range(20):  # alone, it has all
        _, chunk, start = levels.first() or (0, _chunk("", 0, 0), 0)
        levels.done(chunk, start + PIECE, whole=False)
    levels.offer(_chunk("orders.urgent", 0, 40_000))
    taken = []
    for _ in range(45):
        _, chunk, start = levels.first() or (0, _chunk("", 0, 0), 0)
        levels.done(chunk, start + PIECE, whole=False)
        taken.append(chunk.topic)
    assert taken[0] == "orders.urgent"
    assert Counter(taken) == {"orders.urgent": 40, "orders": 5}
    assert all(window.count("orders") == 1 for window in (taken[i : i + 9] for i in range(0, 45, 9)))


def test_work_of_quiet_times_is_not_held_against_a_level() -> None:
    levels = Levels(PLAN.stages[0], lambda topic: 0)
    levels.offer(_chunk("orders", 0, 40_000))
    while (found := levels.first()) is not None:
        levels.done(found[1], found[2] + PIECE, whole=found[2] + PIECE >= 40_000)
    levels.offer(_chunk("orders.urgent", 0, 40_000))  # first, while nothing else waits
    levels.offer(_chunk("orders", 40_000, 40_000))
    taken = []
    for _ in range(45):
        _, chunk, start = levels.first() or (0, _chunk("", 0, 0), 0)
        levels.done(chunk, start + PIECE, whole=False)
        taken.append(chunk.topic)
    assert Counter(taken) == {"orders.urgent": 40, "orders": 5}


def test_what_was_forgotten_is_offered_again_and_what_is_known_is_not() -> None:
    levels = Levels(PLAN.stages[0], lambda topic: 0)
    levels.offer(_chunk("orders", 0, 100))
    levels.offer(_chunk("orders", 50, 100))
    assert levels.is_full("orders")
    assert levels.next_offset("orders") == 150
    _, chunk, start = levels.first() or (0, _chunk("", 0, 0), 0)
    levels.done(chunk, 100, whole=True)
    _, chunk, start = levels.first() or (0, _chunk("", 0, 0), 0)
    assert (chunk.offset_at(start), levels.is_full("orders")) == (100, False)
    levels.forget(["orders"], lambda topic: 100)
    assert (levels.holds("orders"), levels.next_offset("orders")) == (False, 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("priorities: {urgent: 8, high: 3}", "priorities: {urgent: 1}"), "nodes.orders.priorities"),
        (("priorities: {urgent: 8, high: 3}", "priorities: {Urgent!: 8}"), "nodes.orders.priorities"),
        (("topic: out}", "topic: orders.high}"), "events would go round"),
        (("topology: t", "topology: t\nparking: {orders: {}}"), "a key has no one order"),
    ],
)
def test_what_cannot_be_is_refused(change: tuple[str, str], said: str) -> None:
    with pytest.raises(TopologyError) as error:
        make_plan(parse_topology(_TOPOLOGY.replace(*change)))
    assert said in str(error.value)
