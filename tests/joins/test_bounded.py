"""A run that ends: what still waits for partners, versions or branches leaves before the end."""

from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {E: {t: timestamp, k: str, id: int}}
nodes:
  a: {kind: source, topic: a, schema: E, event_time: t, key: k}
  b: {kind: source, topic: b, schema: E, event_time: t, key: k}
  versions: {kind: table, input: b}
  j: {kind: join, inputs: [a, b], within: 1h, type: full, fields: {k: a.k, a: a.id, b: b.id}}
  c: {kind: combine, inputs: [a, b], timeout: 1h, fields: {k: a.k, a: a.id, b: b.id}}
  v: {kind: table_join, inputs: [a, versions], type: left, fields: {k: a.k, a: a.id, b: versions.id}}
  jo: {kind: sink, input: j, topic: joined}
  co: {kind: sink, input: c, topic: combined}
  vo: {kind: sink, input: v, topic: versioned}
"""


def test_everything_that_waits_leaves_before_the_end() -> None:
    driver = Driver(bounded(make_plan(parse_topology(_TOPOLOGY))), partitions=2)
    driver.publish("a", [{"t": 1_000, "k": key, "id": 1} for key in "xyz"])
    driver.publish("b", [{"t": 1_000, "k": key, "id": 2} for key in "yzw"])
    driver.finish()
    whole = [("w", None, 2), ("x", 1, None), ("y", 1, 2), ("z", 1, 2)]
    for topic in ("joined", "combined"):
        assert sorted((row["k"], row["a"], row["b"]) for row in driver.output(topic)) == whole
    versioned = sorted((row["k"], row["a"], row["b"]) for row in driver.output("versioned"))
    assert versioned == [("x", 1, None), ("y", 1, 2), ("z", 1, 2)]
