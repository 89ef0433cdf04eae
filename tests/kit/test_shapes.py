"""Nodes with states and timers equal the model in every shape, and their rows come in its order."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.kit.model import Event, Partition

DELAY = 10
TOPOLOGY = """
topology: t
schemas: {Order: {t: timestamp, k: str, op: str, a: int, b: int, id: int}}
nodes:
  s: {kind: source, topic: in, schema: Order, event_time: t, watermark_delay: 10ms, key: k}
  p: {kind: process, input: s, call: "tests.kit.nodes:Scripted"}
  o: {kind: sink, input: p, topic: out}
  q: {kind: process, input: p, call: "tests.kit.nodes:Behind"}
  r: {kind: sink, input: q, topic: again}
"""
PLAN = make_plan(parse_topology(TOPOLOGY))
OPS = ["add", "note", "tag", "tag", "untag", "timer", "timer", "untimer", "chain", "clear", "fail"]


def make_events(seed: int, count: int = 120) -> list[Event]:
    """Disorder beyond the delay, jumps and silences; timers set before and behind the watermark."""
    chance, time, events = random.Random(seed), 1_000, []
    for number in range(count):
        time += chance.choice([0, 0, 1, 1, 2, 3, chance.choice([0, 0, 20, 90])])
        behind = chance.choice([0, 0, 0, chance.randrange(12), chance.randrange(60)])
        event = {"t": time - behind, "k": chance.choice("abc"), "op": chance.choice(OPS), "id": number}
        events.append(event | {"a": chance.randrange(-30, 60), "b": chance.randrange(10)})
    return events


def run(events: list[Event], crashes: dict[int, CrashPoint], **shape: Any) -> Driver:
    driver = Driver(PLAN, **shape)
    driver.crash_at = dict(crashes)
    for start in range(0, len(events), 30):
        driver.publish("in", events[start : start + 30])
        driver.run()
    return driver


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.sampled_from([1, 3, 17, 500]),
    st.booleans(),
    st.integers(1, 4),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=5),
)
def test_any_shape_equals_the_model(
    seed: int, partitions: int, chunk_size: int, fused: bool, every: int, crashes: dict[int, CrashPoint]
) -> None:
    events = make_events(seed)
    driver = run(events, crashes, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=every)
    models = [Partition(DELAY) for _ in range(partitions)]
    for event in events:
        models[partition_of(event["k"].encode(), partitions)].event(event)
    assert driver.output("out") == [row for model in models for row in model.out]
    assert driver.output("again") == [row for model in models for row in model.again]
    assert len(driver.dead_letters()) == sum(model.first.dead for model in models)
    shown = {
        key: {"total": s["total"], "notes": s["notes"], "tags": {str(k): v for k, v in s["tags"].items()}}
        for model in models
        for key, s in model.first.keys.items()
    }
    table = {key: {name: row[name] for name in ("total", "notes", "tags")} for key, row in driver.table("p").items()}
    empty: dict[str, Any] = {"total": None, "notes": [], "tags": {}}
    assert {key: row for key, row in table.items() if row != empty} == {
        key: row for key, row in shown.items() if row != empty
    }
