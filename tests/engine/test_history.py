"""What a task remembers of its closings is true, also behind a restart."""

from streamflow.plan.planner import make_plan
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  w: {kind: window, input: s, window: {type: tumbling, size: 10ms}, aggregate: {n: count()}}
  o: {kind: sink, input: w, topic: out}
"""


def test_what_closed_before_the_task_opened_was_not_closed_by_what_came_since() -> None:
    driver = Driver(make_plan(parse_topology(_TOPOLOGY)))
    driver.publish("in", [{"t": time, "k": "a"} for time in (1, 12, 25)])
    driver.run()
    closing = driver.tasks()[0].history.passed(10)
    assert closing is not None
    assert (closing.watermark_ms, closing.event_time_ms) == (12, 12)
    driver.crash()
    driver.publish("in", [{"t": 31, "k": "a"}])
    driver.run()
    history = driver.tasks()[0].history
    assert (history.passed(10), history.passed(20)) == (None, None)
    closing = history.passed(30)
    assert closing is not None
    assert (closing.watermark_ms, closing.last_offset) == (31, 3)
