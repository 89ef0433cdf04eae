"""rate_limit equals a model of buckets that are never forgotten, in fractions instead of whole parts."""

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.engine import bucket_table
from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

DELAY = 10
Event = dict[str, Any]
_TOPOLOGY = """
topology: t
schemas: {{Call: {{t: timestamp, k: str, n: int}}}}
nodes:
  s: {{kind: source, topic: in, schema: Call, event_time: t, watermark_delay: 10ms, key: k}}
  r: {{kind: rate_limit, input: s, {config}, excess: excess}}
  o: {{kind: sink, input: r, topic: out}}
  e: {{kind: echo, input: r.excess, table: counted}}
  x: {{kind: sink, input: e, topic: aside}}
"""


class Model:
    """One partition."""

    def __init__(self, rate: int, per: int, burst: int) -> None:
        self.passed: list[Event] = []
        self.excess: list[Event] = []
        self._speed, self._burst = Fraction(rate, per), burst
        self._buckets: dict[str, tuple[Fraction, int]] = {}
        self._watermark = -(10**18)

    def event(self, event: Event) -> None:
        self._watermark = max(self._watermark, event["t"] - DELAY)
        tokens, at = self._buckets.get(event["k"], (Fraction(self._burst), event["t"]))
        now = max(at, event["t"], self._watermark)
        tokens = min(Fraction(self._burst), tokens + (now - at) * self._speed)
        (self.passed if tokens >= 1 else self.excess).append(event)
        self._buckets[event["k"]] = (tokens - 1 if tokens >= 1 else tokens, now)


@pytest.fixture(autouse=True, params=[1_000_000, 1])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for all buckets, and for one, so that the store is asked."""
    monkeypatch.setattr(bucket_table, "MAX_LIVE", request.param)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(1, 10, 1), (1, 10, 3), (3, 7, 2), (5, 100, 5), (2, 1, 1), (1, 500, 4)]),
    st.integers(1, 4),
    st.sampled_from([1, 3, 17, 500]),
    st.booleans(),
    st.integers(1, 4),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=5),
)
def test_any_shape_equals_the_model(
    seed: int,
    limit: tuple[int, int, int],
    partitions: int,
    chunk_size: int,
    fused: bool,
    every: int,
    crashes: dict[int, CrashPoint],
) -> None:
    rate, per, burst = limit
    plan = make_plan(parse_topology(_TOPOLOGY.format(config=f"rate: {rate}, per: {per}ms, burst: {burst}")))
    driver = Driver(plan, partitions=partitions, chunk_size=chunk_size, fused=fused, checkpoint_every=every)
    driver.crash_at = dict(crashes)
    chance, time, events = random.Random(seed), 1_000, []
    for number in range(150):
        time += chance.choice([0, 0, 1, 3, chance.choice([0, 20, 300])])
        late = chance.choice([0, 0, chance.randrange(50)])
        event: Event = {"t": time - late, "k": chance.choice("abc"), "n": number}
        events.append(event)
    models = [Model(rate, per, burst) for _ in range(partitions)]
    for start in range(0, len(events), 30):
        driver.publish("in", events[start : start + 30])
        driver.run()
    for event in events:
        models[partition_of(event["k"].encode(), partitions)].event(event)
    assert driver.output("out") == [row for model in models for row in model.passed]
    excess = [row for model in models for row in model.excess]
    assert driver.output("excess") == excess
    assert [row["n"] for row in driver.output("aside")] == [row["n"] for row in excess]
    counts = {key: sum(row["k"] == key for row in excess) for key in {row["k"] for row in excess}}
    assert driver.table("counted") == counts


def test_full_buckets_are_forgotten() -> None:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(config="rate: 2, per: 1s"))))
    driver.publish("in", [{"t": i, "k": "a", "n": i} for i in range(3)])
    driver.run()
    assert driver.table("r") == {"a": {"tokens": 0.004, "at": 2}}
    driver.publish("in", [{"t": 5_000, "k": "b", "n": 3}])
    driver.run()
    assert driver.table("r") == {"b": {"tokens": 1.0, "at": 5_000}}
    assert [row["n"] for row in driver.output("out")] == [0, 1, 3]
    assert [row["n"] for row in driver.output("excess")] == [2]


def test_the_excess_can_wait() -> None:
    """In a topic of its own, which no bucket is full for; both go on to one place."""
    more = "  later: {kind: delay, input: r.excess, by: 1m}\n  again: {kind: sink, input: later, topic: out}\n"
    driver = Driver(make_plan(parse_topology(_TOPOLOGY.format(config="rate: 2, per: 1s") + more)))
    driver.publish("in", [{"t": i, "k": "a", "n": i} for i in range(5)])
    driver.run()
    assert [row["n"] for row in driver.output("out")] == [0, 1, 2, 3, 4]
    counts = driver.tasks()[0].counters.by_node()
    assert {name: (counts[name].rows_in, counts[name].rows_out) for name in ("r", "r.excess", "o")} == {
        "r": (5, 2),
        "r.excess": (3, 3),
        "o": (2, 2),
    }


@pytest.mark.parametrize("fused", [True, False])
def test_what_fails_among_the_readers_of_the_excess_is_in_its_topic_too(fused: bool) -> None:
    text = _TOPOLOGY.format(config="rate: 1, per: 1h").replace("kind: echo,", "kind: map,")
    plan = make_plan(parse_topology(text.replace("table: counted", 'set: {n: "10 // n"}')))
    driver = Driver(plan, fused=fused)
    driver.publish("in", [{"t": t, "k": "a", "n": n} for t, n in enumerate((1, 2, 0, 5))])
    driver.run()
    assert [row["n"] for row in driver.output("excess")] == [2, 0, 5]
    assert [row["n"] for row in driver.output("aside")] == [5, 2]
    assert [letter["sf-node"] for letter in driver.dead_letters()] == ["e"]
