"""Runs of their own: everything that is written gets another name, everything that is read keeps it."""

import pytest

from streamflow.errors import UserError
from streamflow.plan.plan import Plan, TopicRole
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import into_run
from streamflow.topology.yaml_file import parse_topology

_TOPOLOGY = """
topology: t
schemas: {{R: {{time: timestamp, k: str, room: str}}}}
nodes:
  rs: {{kind: source, topic: t.in, schema: R, event_time: time, key: k}}
  by_room: {{kind: key_by, input: rs, key: room}}
  w: {{kind: window, input: by_room, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}, late: t.late}}
  out: {{kind: sink, input: w, topic: {sink}}}
"""


def _plan(sink: str = "t.out") -> Plan:
    return make_plan(parse_topology(_TOPOLOGY.format(sink=sink)))


def test_a_run_writes_under_its_own_name_and_reads_the_same() -> None:
    plan = into_run(_plan(), "r-1")
    assert plan.identity == "t.r-1"
    assert {topic.name for topic in plan.topics if topic.role is TopicRole.SOURCE} == {"t.in"}
    shared = (TopicRole.SOURCE, TopicRole.PUBLISH_KEYS)  # keys of publishes belong to the sources
    written = {topic.name for topic in plan.topics if topic.role not in shared}
    letters = ("dead_letters", "dead_letters.decisions")
    names = ("by_room.repartition", "w.changelog", "late", "out", "outcomes", "control", *letters)
    assert written == {f"t.{name}.r-1" for name in names}
    first, second = plan.stages
    used = {entry.topic for stage in plan.stages for entry in stage.entries}
    used |= {node.repartition_topic for node in first.nodes if node.repartition_topic}
    used |= {table.changelog_topic for table in second.tables} | {plan.dead_letter_topic, plan.outcome_topic}
    used |= {plan.letter_decision_topic, plan.control_topic}
    for node in second.nodes:
        used |= {getattr(node.operator, name) for name in ("topic", "late_topic") if hasattr(node.operator, name)}
    assert used == written | {"t.in"}
    assert _plan().identity == "t"


@pytest.mark.parametrize("name", ["", "A", "-a", "a.b", "a/b", "a" * 41, "a#run"])
def test_a_name_that_cannot_be_part_of_a_topic_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="not allowed"):
        into_run(_plan(), name)
