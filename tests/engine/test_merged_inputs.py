"""Nodes with several inputs: null keys are seen whichever input they come from."""

import pytest

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

TOPOLOGY = """
topology: t
schemas: {Reading: {time: timestamp, sensor: str?, value: float?}}
nodes:
  north: {kind: source, topic: t.north, schema: Reading, event_time: time, key: sensor}
  south: {kind: source, topic: t.south, schema: Reading, event_time: time, key: sensor}
  measured: {kind: filter, input: south, where: value is not None}
  hourly:
    kind: window
    inputs: [north, measured]
    window: {type: tumbling, size: 1h}
    aggregate: {n: count(), total: sum(value)}
"""


@pytest.mark.parametrize("fused", [True, False])
def test_a_null_key_becomes_a_dead_letter_also_where_inputs_merge(fused: bool) -> None:
    """The window has its own code there, which must know that the key of what comes in may be null."""
    driver = Driver(make_plan(parse_topology(TOPOLOGY)), partitions=1, fused=fused)
    driver.publish(
        "t.north", [{"time": 1, "value": 1.0}, {"time": 2, "sensor": "a"}, {"time": 3, "sensor": "a", "value": 2}]
    )
    driver.publish("t.south", [{"time": 4, "sensor": "a", "value": 4}, {"time": 5, "sensor": None, "value": 8}])
    driver.run()
    assert driver.table("hourly") == {("a", 0): {"n": 3, "total": 6.0}}
    assert [letter.get("sf-reason") for letter in driver.dead_letters()] == ["null_key", "null_key"]
