"""The plan of a topology: what the golden files of `topology/good` do not show."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streamflow.errors import TopologyError
from streamflow.plan.plan import Guarantee, Plan, TopicRole
from streamflow.plan.planner import check_partitions, make_plan
from streamflow.topology.load import load_topology
from streamflow.topology.spec import NodeSpec, TopologySpec
from streamflow.topology.yaml_file import parse_topology

GOOD = Path(__file__).parent.parent / "topology" / "good"
HOURLY = """
topology: t
schemas: {{Reading: {{time: timestamp, sensor: str, value: float, n: int}}}}
nodes:
  readings: {{kind: source, topic: t.readings, schema: Reading, event_time: time, key: {key}}}
  hourly:
    kind: window
    input: readings
    window: {{type: tumbling, size: {size}}}
    aggregate: {{{aggregate}}}
    retention: {retention}
    emit: {emit}
"""
DEFAULTS = {"key": "sensor", "size": "1h", "aggregate": "a: count(), b: max(value)", "retention": "2d", "emit": "close"}


def plan_of(name: str) -> Plan:
    """Plan of a good topology."""
    return make_plan(load_topology(GOOD / f"{name}.yaml"))


def hourly(**changes: str) -> Plan:
    """Plan of one window, with changes."""
    return make_plan(parse_topology(HOURLY.format(**(DEFAULTS | changes))))


def test_a_spec_that_was_never_loaded_is_checked_by_the_planner() -> None:
    """Specs may be made by hand; problems are all told."""
    nodes = (NodeSpec(name="a", kind="souce"), NodeSpec(name="a", kind="sink", config={"topic": "x y"}))
    with pytest.raises(TopologyError) as refused:
        make_plan(TopologySpec(topology="t", schemas={}, nodes=nodes))
    told = str(refused.value)
    for part in ("unknown kind 'souce'", "two nodes have this name", "topic name 'x y' is not allowed", "no source"):
        assert part in told


def test_sources_carry_their_settings_into_entries() -> None:
    """And repartition entries the longest idle time-out of the sources before them."""
    plan = plan_of("two_sources_meet_behind_key_bys")
    north, south, met = plan.stages
    entry = north.entries[0]
    assert (entry.event_time, entry.key and entry.key.source, entry.idle_after_ms) == ("time", "sensor", 10_000)
    assert [entry.idle_after_ms for entry in met.entries] == [10_000, 60_000]
    assert [entry.producer_stage for entry in met.entries] == [north.name, south.name]
    assert [entry.key and entry.key.source for entry in met.entries] == ["room", "room"]


def test_the_guarantee_is_exactly_once_unless_said_otherwise() -> None:
    """Per topology."""
    assert plan_of("chained_windows").guarantee is Guarantee.AT_LEAST_ONCE
    assert plan_of("branch_and_merge").guarantee is Guarantee.EXACTLY_ONCE


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "n"},
        {"size": "2h"},
        {"aggregate": "a: count()"},
        {"aggregate": "b: max(value), a: count()"},
        {"aggregate": "a: count(), b: min(value)"},
        {"aggregate": "a: count(), b: max(n)"},
        {"aggregate": "a: count(), c: max(value)"},
    ],
    ids=str,
)
def test_the_layout_digest_changes_with_the_meaning_of_the_bytes(changes: dict[str, str]) -> None:
    """Type of the key, size, and names, order and arguments of the aggregates."""
    assert hourly(**changes).stages[0].tables[0].layout != hourly().stages[0].tables[0].layout


@pytest.mark.parametrize(
    "changes", [{"retention": "9d"}, {"emit": "update"}, {"aggregate": "a: count(), b: max( value )"}]
)
def test_the_layout_digest_stays_with_the_meaning_of_the_bytes(changes: dict[str, str]) -> None:
    """State survives changes that do not touch it."""
    assert hourly(**changes).stages[0].tables[0].layout == hourly().stages[0].tables[0].layout


def test_the_layout_digest_of_this_release_is_known() -> None:
    """A change here makes every deployed state unreadable: raise a version and say so in the changelog."""
    assert hourly().stages[0].tables[0].layout == "cf13f07c088366dc"


def test_changelogs_outlive_what_the_store_keeps() -> None:
    """Retention of the topic: retention and size of the window and a day. Compacted only, where rows stay for ever."""
    changelog = next(topic for topic in hourly().topics if topic.role is TopicRole.CHANGELOG)
    config = dict(changelog.config)
    assert set(config["cleanup.policy"].split(",")) == {"compact", "delete"}
    assert int(config["retention.ms"]) == (2 * 24 + 1 + 24) * 3_600_000
    kept = {topic.name: dict(topic.config) for topic in plan_of("branch_and_merge").topics}["t.seen.changelog"]
    assert kept["cleanup.policy"] == "compact"
    assert "retention.ms" not in kept


def test_own_topics_are_owned_and_foreign_ones_are_not() -> None:
    """Sources and sinks are only created when missing."""
    plans = [plan_of(name) for name in ("branch_and_merge", "global_tables", "approvals")]
    topics = [topic for plan in plans for topic in plan.topics]
    foreign = {topic.role for topic in topics if not topic.owned}
    assert foreign == {TopicRole.SOURCE, TopicRole.SINK, TopicRole.GLOBAL_TABLE}
    rare = {TopicRole.EVENTS, TopicRole.KEPT_RESULTS}
    assert {topic.role for topic in topics if topic.owned} == set(TopicRole) - foreign - rare
    compacted = {topic.role for topic in topics if dict(topic.config).get("cleanup.policy") == "compact"}
    assert TopicRole.GLOBAL_TABLE in compacted


def test_real_partition_counts_are_compared_where_topics_meet() -> None:
    """Topics that do not exist yet are no problem."""
    plan = plan_of("a_source_meets_a_key_by")
    assert check_partitions(plan, {"t.first": 3, "t.second": 7}) == []
    assert check_partitions(plan, {"t.second": 7, "t.by_sensor.repartition": 7}) == []
    (problem,) = check_partitions(plan, {"t.first": 7, "t.second": 7, "t.by_sensor.repartition": 3})
    assert problem.place == "stage second+by_sensor"
    assert "t.by_sensor.repartition has 3, t.second has 7" in problem.message


def test_topics_that_differ_are_joined_when_their_real_partitions_are_declared() -> None:
    """As the problem says: what is declared decides on repartitions, not what a cluster happens to have."""
    text = """
topology: t
schemas: {{A: {{time: timestamp, k: str}}}}
nodes:
  a: {{kind: source, topic: t.a, schema: A, event_time: time, key: k{a}}}
  b: {{kind: source, topic: t.b, schema: A, event_time: time, key: k{b}}}
  j: {{kind: join, inputs: [a, b], within: 1s, prefix: {{b: b_}}}}
  o: {{kind: sink, input: j, topic: t.out}}
"""
    real = {"t.a": 2, "t.b": 3}
    (problem,) = check_partitions(make_plan(parse_topology(text.format(a="", b=""))), real)
    assert "declare what is real (a: partitions: 2, b: partitions: 3)" in problem.remedy
    mended = make_plan(parse_topology(text.format(a=", partitions: 2", b=", partitions: 3")))
    assert [note.partition(",")[0] for note in mended.repairs] == ["j: rows of a are repartitioned by k (j_a_key)"]
    assert check_partitions(mended, real) == []


@pytest.mark.parametrize("find", [Plan.stage, Plan.table])
def test_stages_and_tables_are_found_by_name(find: Callable[[Plan, str], object]) -> None:
    """A stage that is not there is a mistake of ours, a table one of the asker."""
    plan = plan_of("chained_windows")
    if find is Plan.stage:
        assert plan.stage("by_room").name == "by_room"
        with pytest.raises(KeyError):
            plan.stage("nowhere")
    else:
        found = plan.table("hours")
        assert found is not None
        assert (found[0].name, found[1].node) == ("by_room", "hours")
        assert plan.table("nothing") is None


def test_too_much_in_one_stage_is_refused_and_a_thousand_nodes_in_many_are_not() -> None:
    def declared(count: int, group: int, more: str = "") -> TopologySpec:
        calls = [
            f"  n{n}: {{kind: http_request, input: s, url: 'https://e.x/1', response: {{a: int}}{more}}}"
            for n in range(count)
        ]
        sinks = [
            f"  o{first}: {{kind: sink, inputs: [{', '.join(f'n{n}' for n in range(first, min(count, first + group)))}], topic: out}}"
            for first in range(0, count, group)
        ]
        head = "topology: t\nschemas: {Event: {id: int}}\nnodes:\n  s: {kind: source, topic: in, schema: Event}"
        return parse_topology("\n".join([head, *calls, *sinks]))

    plan = make_plan(declared(1_000, 20))
    assert len(plan.stages) == 51
    assert len({stage.name for stage in plan.stages}) == 51
    for spec, said in (
        (declared(201, 201), "201 topics and queues of async nodes meet in one stage, 200 may"),
        (declared(6, 6, ", order: unordered"), "6 unordered async nodes meet in one stage, 5 may"),
    ):
        with pytest.raises(TopologyError, match=said):
            make_plan(spec)


@pytest.mark.parametrize("chars", [50, 60, 61, 62])
def test_the_name_of_a_stage_with_a_partition_behind_it_can_be_a_folder(tmp_path: Path, chars: int) -> None:
    names = [f"s{number}".ljust(chars, "x") for number in range(4)]
    sources = [f"  {name}: {{kind: source, topic: in{name[:2]}, schema: Event}}" for name in names]
    sink = f"  o: {{kind: sink, inputs: [{', '.join(names)}], topic: out}}"
    head = "topology: t\nschemas: {Event: {id: int}}\nnodes:"
    (stage,) = make_plan(parse_topology("\n".join([head, *sources, sink]))).stages
    (tmp_path / f"{stage.name}.99999").mkdir()
