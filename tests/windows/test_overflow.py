"""Results beyond 64 bits leave for the dead letters; the windows beside them, and the keys, are not touched."""

import json
from typing import Any

import pytest

from streamflow.bus.detail import Detail
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {{A: {{t: timestamp, k: str, v: {type}}}}}
nodes:
  s: {{kind: source, topic: in, schema: A, event_time: t, key: k}}
  w: {{kind: window, input: s, window: {{type: {window}}}, aggregate: {{n: count(), total: {aggregate}(v)}}}}
  o: {{kind: sink, input: w, topic: out}}
"""


@pytest.mark.parametrize("window", ["tumbling, size: 10ms", "sliding, size: 10ms, slide: 5ms", "session, gap: 5ms"])
@pytest.mark.parametrize("chunk_size", [1, 100])
@pytest.mark.parametrize(
    ("kind", "aggregate", "value"),
    [("float", "sum", 1e308), ("float", "sum", -1e308), ("float", "average", 1e308), ("int", "sum", 2**62)],
)
def test_a_result_that_overflows_is_put_aside(
    window: str, chunk_size: int, kind: str, aggregate: str, value: float
) -> None:
    text = _TOPOLOGY.format(type=kind, window=window, aggregate=aggregate)
    driver = Driver(make_plan(parse_topology(text)), chunk_size=chunk_size, events=Detail.LIFECYCLE)
    events: list[dict[str, Any]] = [{"t": 1, "k": "big", "v": value} for _ in range(2)]
    events += [{"t": 1, "k": "small", "v": 3}, {"t": 50, "k": "big", "v": 4}, {"t": 99, "k": "end", "v": 0}]
    driver.publish("in", events)
    driver.run()
    found = {(row["k"], row["start"]): row["total"] for row in driver.output("out")}
    assert all(total is not None for total in found.values())
    assert {key: total for (key, _), total in found.items()} == {"small": 3, "big": 4}
    letters = driver.records("t.dead_letters")
    assert {(json.loads(each.value or b"")["k"], dict(each.headers)["sf-reason"]) for each in letters} == {
        ("big", b"overflow")
    }
    assert {json.loads(each.value or b"")["n"] for each in letters} == {2}
    told = [json.loads(each.value or b"") for each in driver.records(EVENTS)]
    dead = [each["data"] for each in told if each["type"] == "DEAD_LETTER_ADDED"]
    assert {(each["reason"], each["attempts"]) for each in dead} == {("overflow", 1)}
    assert sum(each["count"] for each in dead) == len(letters)


def test_the_largest_number_still_leaves() -> None:
    text = _TOPOLOGY.format(type="int", window="tumbling, size: 10ms", aggregate="sum")
    driver = Driver(make_plan(parse_topology(text)))
    driver.publish("in", [{"t": 1, "k": "a", "v": 2**63 - 2}, {"t": 1, "k": "a", "v": 1}, {"t": 50, "k": "b", "v": 0}])
    driver.run()
    assert [row["total"] for row in driver.output("out")] == [2**63 - 1]
