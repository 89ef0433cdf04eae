"""Stages are cut where the key changes before a stateful node, and nowhere else."""

from streamflow.plan.describe import describe, mermaid
from streamflow.plan.plan import EntryKind, Plan
from streamflow.plan.planner import check_partitions, make_plan
from streamflow.topology.load import load_topology
from streamflow.topology.yaml_file import parse_topology

_HEAD = "topology: t\nschemas: {A: {t: timestamp, a: str, b: str, v: float}}\nnodes:\n"
_SOURCE = "  s: {kind: source, topic: in, schema: A, event_time: t, key: a, idle_after: 7s}\n"
_WINDOW = "window: {type: tumbling, size: 1s}, aggregate: {n: count()}"


def _plan(nodes: str) -> Plan:
    return make_plan(parse_topology(_HEAD + nodes))


def test_a_keyed_source_needs_no_repartition() -> None:
    plan = _plan(_SOURCE + f"  w: {{kind: window, input: s, {_WINDOW}}}\n")
    assert [stage.name for stage in plan.stages] == ["s"]


def test_a_key_by_before_a_window_cuts_and_one_before_a_sink_does_not() -> None:
    nodes = _SOURCE + "  k: {kind: key_by, input: s, key: b}\n"
    cut = _plan(nodes + f"  f: {{kind: filter, input: k, where: v > 1}}\n  w: {{kind: window, input: f, {_WINDOW}}}\n")
    assert [stage.name for stage in cut.stages] == ["s", "k"]
    entry = cut.stages[1].entries[0]
    assert (entry.kind, entry.topic, entry.producer_stage) == (EntryKind.REPARTITION, "t.k.repartition", "s")
    assert entry.idle_after_ms == 7_000
    assert [node.name for node in cut.stages[1].nodes] == ["f", "w"]
    assert len(_plan(nodes + "  o: {kind: sink, input: k, topic: out}\n").stages) == 1


def test_one_repartition_serves_all_stateful_nodes_behind_it() -> None:
    plan = _plan(
        _SOURCE
        + "  k: {kind: key_by, input: s, key: b}\n"
        + f"  w: {{kind: window, input: k, {_WINDOW}}}\n  e: {{kind: echo, input: k}}\n"
        + "  o: {kind: sink, input: e, topic: out}\n"
    )
    assert [stage.name for stage in plan.stages] == ["s", "k"]
    assert [table.name for table in plan.stages[1].tables] == ["w", "e"]


def test_windows_of_windows_and_second_key_bys_compose() -> None:
    plan = _plan(
        _SOURCE
        + f"  w: {{kind: window, input: s, {_WINDOW}}}\n"
        + "  k: {kind: key_by, input: w, key: str(n)}\n"
        + f"  w2: {{kind: window, input: k, {_WINDOW}}}\n"
    )
    assert [stage.name for stage in plan.stages] == ["s", "k"]
    assert plan.stages[1].nodes[0].schema.names == ("key", "start", "end", "n")


def test_merged_sources_are_one_stage_and_must_have_equally_many_partitions() -> None:
    plan = _plan(
        _SOURCE
        + "  s2: {kind: source, topic: in2, schema: A, event_time: t, key: a}\n"
        + f"  w: {{kind: window, inputs: [s, s2], {_WINDOW}}}\n"
    )
    assert [stage.name for stage in plan.stages] == ["s+s2"]
    assert check_partitions(plan, {"in": 4, "in2": 4}) == []
    assert "in has 4, in2 has 3" in str(check_partitions(plan, {"in": 4, "in2": 3})[0])


def test_branches_that_meet_behind_a_key_by_share_the_stage_of_the_window() -> None:
    plan = _plan(
        _SOURCE
        + "  left: {kind: filter, input: s, where: v > 1}\n  right: {kind: filter, input: s, where: v <= 1}\n"
        + "  k: {kind: key_by, inputs: [left, right], key: b}\n"
        + f"  w: {{kind: window, input: k, {_WINDOW}}}\n"
    )
    assert [[node.name for node in stage.nodes] for stage in plan.stages] == [["left", "right", "k"], ["w"]]


def test_topics_say_how_they_must_be() -> None:
    topics = {topic.name: topic for topic in make_plan(load_topology("topologies/flights")).topics}
    changelog = dict(topics["flights.hourly_delays.changelog"].config)
    assert changelog["cleanup.policy"] == "compact,delete"
    assert int(changelog["retention.ms"]) > 400 * 86_400_000
    assert topics["flights.by_carrier.repartition"].partitions_like == "flights.departures"
    assert topics["flights.departures"].partitions == 4
    assert not topics["flights.departures"].owned


def test_the_layout_changes_with_what_the_bytes_mean() -> None:
    def layout(aggregate: str) -> str:
        nodes = (
            _SOURCE + f"  w: {{kind: window, input: s, window: {{type: tumbling, size: 1s}}, aggregate: {aggregate}}}\n"
        )
        return _plan(nodes).stages[0].tables[0].layout

    assert layout("{n: count()}") == layout("{n: count()}")
    assert len({layout("{n: count()}"), layout("{n: sum(v)}"), layout("{m: count()}"), layout("{n: sum(v + 1)}")}) == 4


def test_a_plan_can_be_shown() -> None:
    plan = make_plan(load_topology("topologies/flights"))
    assert describe(plan)["stages"][1]["tables"] == [{"name": "hourly_delays", "windowed": True}]
    picture = mermaid(plan)
    assert picture.startswith("flowchart LR")
    assert "s0_by_carrier --> topic_flights_by_carrier_repartition" in picture
