"""Assignment: everything exactly once, balanced, sticky, co-partitioned; and everybody learns where everybody is."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from streamflow.plan.planner import make_plan
from streamflow.runtime.assignor import Member, StageAssignor, decide
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
