"""A plan for people and programs."""

import json
import re
from pathlib import Path

import pytest

from streamflow.plan.describe import describe, mermaid
from streamflow.plan.notes import notes
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import parse_topology

GOOD = sorted((Path(__file__).parent.parent / "topology" / "good").glob("*.yaml"))
every_plan = pytest.mark.parametrize(
    "plan", [make_plan(load_topology(path)) for path in GOOD], ids=[p.stem for p in GOOD]
)


@every_plan
def test_a_description_is_plain_data(plan: Plan) -> None:
    """It survives JSON, and names every stage, node, table and topic."""
    data = describe(plan)
    assert json.loads(json.dumps(data)) == data
    assert [stage["name"] for stage in data["stages"]] == [stage.name for stage in plan.stages]
    nodes = [node["name"] for stage in data["stages"] for node in stage["nodes"]]
    assert nodes == [node.name for stage in plan.stages for node in stage.nodes]
    tables = [table["changelog"] for stage in data["stages"] for table in stage["tables"]]
    assert set(tables) <= {topic["name"] for topic in data["topics"]}


@every_plan
def test_a_picture_draws_every_edge_between_things_it_declares(plan: Plan) -> None:
    """Stages as subgraphs that are closed, no identifier twice, no edge to something undeclared."""
    text = mermaid(plan)
    declared = re.findall(r"^ +(\w+)\[", text, re.MULTILINE)
    assert len(set(declared)) == len(declared)
    edges = re.findall(r"^  (\w+) (?:-->|-\.-) (\w+)$", text, re.MULTILINE)
    assert {name for edge in edges for name in edge} == set(declared)
    assert text.count("subgraph ") == text.count("  end\n") == len(plan.stages)
    inputs = sum(len(node.inputs) for stage in plan.stages for node in stage.nodes)
    written = sum(1 for topic in describe(plan)["stages"] for node in topic["nodes"] if node["writes"])
    tables = sum(len(stage.tables) for stage in plan.stages)
    lookups = sum(node.kind == "lookup" for stage in plan.stages for node in stage.nodes)
    decided = sum(bool(entry.decides) for stage in plan.stages for entry in stage.entries)
    assert len(edges) == inputs + written + tables + lookups + decided + len(plan.global_tables)


def test_topics_that_differ_in_a_dot_only_are_two_in_the_picture() -> None:
    """Identifiers of Mermaid take neither dots nor dashes."""
    text = """
        topology: t
        schemas: {Reading: {value: float}}
        nodes:
          dotted: {kind: source, topic: a.b, schema: Reading}
          out: {kind: sink, input: dotted, topic: a_b}
          more: {kind: sink, input: dotted, topic: a-b}
        """
    picture = mermaid(make_plan(parse_topology(text)))
    assert len(set(re.findall(r"(topic\d+)\[\(", picture))) == 3


def test_notes_tell_what_does_not_go_without_saying() -> None:
    """Null keys, tables without an end, repeated results, missing keys, event time and its delay."""
    text = """
        topology: t
        schemas: {Reading: {time: timestamp, sensor: str?, room: str?}}
        nodes:
          plain: {kind: source, topic: t.plain, schema: Reading}
          keyed: {kind: source, topic: t.keyed, schema: Reading, key: sensor, event_time: time}
          patient: {kind: source, topic: t.patient, schema: Reading, key: sensor, event_time: time, watermark_delay: 1s}
          copied: {kind: sink, input: plain, topic: t.copied}
          hourly:
            kind: window
            input: keyed
            window: {type: tumbling, size: 1h}
            aggregate: {n: count()}
            emit: update
          by_room: {kind: key_by, input: patient, key: room}
          seen: {kind: echo, input: by_room}
        """
    assert notes(make_plan(parse_topology(text))) == [
        "plain: event time is the time that Kafka has for the record",
        "copied: rows have no key, so they are spread over t.copied by the partition they came from",
        "keyed: events whose sensor is null become dead letters (null_key)",
        "keyed: watermark_delay is 0: an event is late as soon as a later one closed its window",
        "hourly: table hourly keeps a window for 1d of event time after its end",
        "hourly: gives a result again whenever it changes; the last one of a key and start is right",
        "by_room: rows whose room is null become dead letters (null_key)",
        "seen: table seen keeps one row per key for ever",
    ]
