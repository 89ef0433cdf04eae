"""Assignment: everything exactly once, balanced, sticky, co-partitioned; and everybody learns where everybody is."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.plan.planner import make_plan
from streamflow.runtime.assignor import Member, StageAssignor, decide, decide_among
from streamflow.topology.document import spec_of
from streamflow.topology.load import load_topology

_TASKS = st.dictionaries(st.sampled_from("abc"), st.integers(1, 12), min_size=1)
_MEMBERS = st.integers(1, 7)


def _every(tasks: dict[str, int]) -> set[tuple[str, int]]:
    return {(stage, partition) for stage, count in tasks.items() for partition in range(count)}


@given(_TASKS, _MEMBERS)
def test_every_task_has_one_owner_and_loads_differ_by_one(tasks: dict[str, int], count: int) -> None:
    given = decide(tasks, {f"m{i}": Member(f"u{i}") for i in range(count)})
    owned = [task for mine in given.values() for task in mine]
    assert sorted(owned) == sorted(_every(tasks))
    assert _is_even(tasks, given)


def _is_even(tasks: dict[str, int], given: dict[str, set[tuple[str, int]]]) -> bool:
    """Numbers differ by one at most, in all and per stage."""
    for chosen in (*({stage} for stage in tasks), set(tasks)):
        sizes = [sum(stage in chosen for stage, _ in mine) for mine in given.values()]
        if max(sizes) - min(sizes) > 1:
            return False
    return True


@given(_TASKS, st.lists(_MEMBERS, min_size=1, max_size=6))
def test_through_any_joins_and_leaves_every_stage_is_even(tasks: dict[str, int], sizes: list[int]) -> None:
    given: dict[str, set[tuple[str, int]]] = {}
    for generation, size in enumerate(sizes):
        names = [f"m{i}" for i in range(size)]
        members = {name: Member(name, frozenset(given.get(name, ())), generation) for name in names}
        given = decide(tasks, members)
        assert sorted(task for mine in given.values() for task in mine) == sorted(_every(tasks))
        assert _is_even(tasks, given)


@given(_TASKS, st.integers(1, 6))
def test_a_join_moves_what_the_new_worker_gets_and_little_else(tasks: dict[str, int], count: int) -> None:
    first = decide(tasks, {f"m{i}": Member(f"u{i}") for i in range(count)})
    members = {name: Member(name, frozenset(mine), 1) for name, mine in first.items()}
    second = decide(tasks, members | {"new": Member("new")})
    moved = sum(len(second[name] - first[name]) for name in first)
    assert moved <= len(tasks), "at most one of a stage changes hands among the old"


@given(_TASKS, _MEMBERS, _MEMBERS)
def test_after_a_change_of_members_only_what_must_moves(tasks: dict[str, int], before: int, after: int) -> None:
    first = decide(tasks, {f"m{i}": Member(f"u{i}") for i in range(before)})
    members = {f"m{i}": Member(f"u{i}", frozenset(first.get(f"m{i}", set())), 1) for i in range(after)}
    second = decide(tasks, members)
    assert _is_even(tasks, second)
    if before == after:
        assert second == first


@given(_TASKS, st.integers(2, 6), st.data())
def test_a_worker_that_was_away_returns_to_what_is_on_its_disk(
    tasks: dict[str, int], count: int, data: st.DataObject
) -> None:
    """Of what others have to give up, also when they have older stores of the same tasks."""
    first = decide(tasks, {f"m{i}": Member(f"u{i}") for i in range(count)})
    gone = data.draw(st.sampled_from(sorted(first)))
    others = {name: Member(name, frozenset(mine), 1) for name, mine in first.items() if name != gone}
    meanwhile = decide(tasks, others)
    old = dict.fromkeys(_every(tasks), 5)
    members = {name: Member(name, frozenset(mine), 2, old) for name, mine in meanwhile.items()}
    back = decide(tasks, members | {gone: Member(gone, kept=old | dict.fromkeys(first[gone], 9))})
    assert _is_even(tasks, back)
    assert sorted(task for mine in back.values() for task in mine) == sorted(_every(tasks))
    for stage in tasks:
        for mine, still in ((mine, back[name]) for name, mine in meanwhile.items()):
            lost, warm = ({task for task in each if task[0] == stage} for each in (mine - still, mine & first[gone]))
            assert lost <= warm or warm <= lost
        free = {task for name, mine in meanwhile.items() for task in mine - back[name] if task[0] == stage}
        taken = {task for task in back[gone] if task[0] == stage}
        assert free & first[gone] <= taken or taken <= first[gone]


@given(_TASKS)
def test_of_two_claims_the_newer_generation_wins(tasks: dict[str, int]) -> None:
    mine = frozenset(_every(tasks))
    given = decide(tasks, {"old": Member("a", mine, 3), "new": Member("b", mine, 4)})
    kept = given["new"] & mine
    assert len(kept) == len(given["new"])


_HAS = st.frozensets(st.sampled_from(["gpu", "avx512"]))


@given(_TASKS, st.lists(_HAS, max_size=6), st.dictionaries(st.sampled_from("abc"), _HAS))
def test_tasks_go_to_members_that_have_what_their_stage_requires_or_to_nobody(
    tasks: dict[str, int], have: list[frozenset[str]], requires: dict[str, frozenset[str]]
) -> None:
    members = {f"m{i}": Member(f"u{i}", has=has) for i, has in enumerate(have)}
    given = decide_among(tasks, members, requires)
    able = {
        stage: [name for name, each in members.items() if requires.get(stage, set()) <= each.has] for stage in tasks
    }
    assert all(name in able[stage] for name, mine in given.items() for stage, _ in mine)
    assert sorted(task for mine in given.values() for task in mine) == [
        task for task in sorted(_every(tasks)) if able[task[0]]
    ]
    for stage, names in able.items():
        sizes = [sum(each == stage for each, _ in given[name]) for name in names]
        assert not sizes or max(sizes) - min(sizes) <= 1
    if not requires:
        assert given == decide(tasks, members)
    held = {name: Member(each.url, frozenset(given[name]), 1, has=each.has) for name, each in members.items()}
    assert decide_among(tasks, held, requires) == given, "who has everything keeps it"


@dataclass
class _Cluster:
    counts: dict[str, int]

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self.counts[topic]))


def test_the_adapter_speaks_kafkas_group_protocol() -> None:
    plan = make_plan(load_topology("topologies/flights"))
    one, two = StageAssignor(plan, "http://one"), StageAssignor(plan, "http://two")
    topics = [topic for stage in plan.stages for topic in stage.input_topics]
    cluster = _Cluster(dict.fromkeys(topics, 4))
    metadata = {"m1": one.metadata(topics), "m2": two.metadata(topics)}
    decided = one.assign(cluster, metadata)
    partitions = sorted((topic, p) for a in decided.values() for topic, ps in a.assignment for p in ps)
    assert partitions == sorted((topic, p) for topic in topics for p in range(4))
    two.on_assignment(decided["m2"])
    assert len(two.owners) == 4 * len(plan.stages)
    assert set(two.owners.values()) == {"http://one", "http://two"}
    assert (one.scaled, two.workers) == (None, 2), "nobody knows what was before"
    one.on_assignment(decided["m1"])
    one.assign(cluster, metadata)
    assert one.scaled is None
    one.assign(cluster, {"m1": metadata["m1"]})
    assert one.scaled == (2, 1)


def test_a_node_that_requires_a_gpu_goes_to_the_worker_that_has_one(caplog: pytest.LogCaptureFixture) -> None:
    heavy = {
        "kind": "model",
        "input": "events",
        "model": "m",
        "task": "regression",
        "features": ["n"],
        "requires": "gpu",
    }
    nodes = {
        "events": {"kind": "source", "topic": "in", "schema": "E"},
        "heavy": heavy,
        "out": {"kind": "sink", "input": "heavy", "topic": "out"},
    }
    plan = make_plan(spec_of({"topology": "t", "schemas": {"E": {"n": "int"}}, "nodes": nodes}))
    topics = [topic for stage in plan.stages for topic in stage.input_topics]
    cluster = _Cluster(dict.fromkeys(topics, 6))
    plain, able = StageAssignor(plan, "http://plain"), StageAssignor(plan, "http://able", has=frozenset({"gpu"}))
    decided = plain.assign(cluster, {"m1": plain.metadata(topics), "m2": able.metadata(topics)})
    for each, member in ((plain, "m1"), (able, "m2")):
        each.on_assignment(decided[member])
        assert {url for (stage, _), url in each.owners.items() if stage == "heavy.queue"} == {"http://able"}
        assert {url for (stage, _), url in each.owners.items() if stage == "events"} == {"http://able", "http://plain"}
        assert each.having == {"http://able": ["gpu"], "http://plain": []}
    assert not caplog.records
    alone = plain.assign(cluster, {"m1": plain.metadata(topics)})
    plain.on_assignment(alone["m1"])
    assert {stage for stage, _ in plain.owners} == {"events"}
    assert "stage heavy.queue waits: heavy requires gpu; gpu is not here, and no other worker is known" in caplog.text
    assert "STREAMFLOW_CAPABILITIES" in caplog.text
