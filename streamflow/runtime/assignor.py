"""Assignment of partitions to workers: co-partitioned, sticky, balanced, and it tells everybody where everybody is.

Partition p of all inputs of a stage goes to one worker, because it is one task. The decision is a pure function of the
members and what they owned; the class below adapts it to aiokafka's group protocol:

    member  ──JoinGroup user data──►  {"url": own address, "owned": {stage: [p, …]}, "generation": g,
                                       "kept": {stage: {p: second in which its store was written last}},
                                       "has": [what nodes may require, …]}
    leader  ──SyncGroup user data──►  {"owners": {stage: {url: [p, …]}}, "workers": n,
                                       "having": {url: [what it has, …]}}       the same to every member

A stage that requires what no member has is nobody's; its rows wait in Kafka until one joins that has it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from streamflow.plan.placement import Where, placed
from streamflow.plan.plan import Plan

log = logging.getLogger(__name__)

#: A task: (stage, partition).
TaskId = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as the leader sees it: its address, the tasks it says it owned, at which generation, of which others
    it has a store, written when, s, and what it has that nodes may require."""

    url: str
    owned: frozenset[TaskId] = frozenset()
    generation: int = -1
    kept: Mapping[TaskId, int] = field(default_factory=dict)
    has: frozenset[str] = frozenset()


def decide_among(
    tasks: Mapping[str, int], members: Mapping[str, Member], requires: Mapping[str, frozenset[str]]
) -> dict[str, set[TaskId]]:
    """Tasks per member, each with one that has what its stage requires; see `decide`.

    Stages that the same members can run are shared out together. requires: by stage.
    """
    given: dict[str, set[TaskId]] = {member: set() for member in members}
    groups: dict[frozenset[str], dict[str, int]] = {}
    for stage, count in tasks.items():
        wanted = requires.get(stage, frozenset())
        able = frozenset(name for name, member in members.items() if wanted <= member.has)
        groups.setdefault(able, {})[stage] = count
    for able, stages in groups.items():
        for name, mine in decide(stages, {name: members[name] for name in able}).items():
            given[name] |= mine
    return given


def decide(tasks: Mapping[str, int], members: Mapping[str, Member]) -> dict[str, set[TaskId]]:
    """Tasks per member: in all and of every stage, two members' numbers differ by at most one, and few tasks move.

    tasks: partitions per stage. Of two members that claim a task, the one with the newer generation keeps it. Who has
    to give tasks up gives those that somebody who gets some has a store of, who gets them: a worker that was away for
    long returns to its own.
    """
    given: dict[str, set[TaskId]] = {member: set() for member in members}
    if not members:
        return given
    owner = _claims(tasks, members)
    held = Counter((member, stage) for (stage, _), member in owner.items())
    more = _one_more(tasks, sorted(members), held)
    for stage, count in sorted(tasks.items()):
        quota = {member: count // len(members) + (member in more[stage]) for member in sorted(members)}
        takers = [members[member].kept for member in members if held[member, stage] < quota[member]]
        newest = {p: max((kept.get((stage, p), -1) for kept in takers), default=-1) for p in range(count)}
        free = []
        for task in ((stage, partition) for partition in sorted(range(count), key=lambda p: (newest[p], p))):
            keeper = owner.get(task)
            if keeper is not None and quota[keeper] > 0:
                quota[keeper] -= 1
                given[keeper].add(task)
            else:
                free.append(task)
        _hand_out(free, quota, members, given)
    return given


def _hand_out(
    free: list[TaskId], quota: dict[str, int], members: Mapping[str, Member], given: dict[str, set[TaskId]]
) -> None:
    """Free tasks to whom has the newest store of them, the others to whom there is room."""
    kept = [(written, task, member) for member in sorted(members) for task, written in members[member].kept.items()]
    left = set(free)
    for _, task, member in sorted(kept, reverse=True):
        if task in left and quota[member] > 0:
            quota[member] -= 1
            left.remove(task)
            given[member].add(task)
    places = (member for member, room in quota.items() for _ in range(room))
    for task, member in zip(sorted(left), places, strict=True):
        given[member].add(task)


def _claims(tasks: Mapping[str, int], members: Mapping[str, Member]) -> dict[TaskId, str]:
    owner: dict[TaskId, str] = {}
    for member in sorted(members, key=lambda m: (members[m].generation, m)):
        for stage, partition in members[member].owned:
            if partition < tasks.get(stage, 0):
                owner[stage, partition] = member
    return owner


def _one_more(tasks: Mapping[str, int], members: list[str], held: Mapping[tuple[str, str], int]) -> dict[str, set[str]]:
    """Per stage the members that get one task more than the others: who holds it now where possible, evenly in all."""
    least = {stage: count // len(members) for stage, count in tasks.items()}
    more: dict[str, set[str]] = {stage: set() for stage in sorted(tasks)}
    extras = Counter(dict.fromkeys(members, 0))

    def holds(member: str, stage: str) -> bool:
        return held.get((member, stage), 0) > least[stage]

    for stage, chosen in more.items():
        ranked = sorted(members, key=lambda m: (not holds(m, stage), extras[m], m))
        chosen.update(ranked[: tasks[stage] % len(members)])
        extras.update(chosen)
    while True:
        full = max(members, key=lambda m: (extras[m], m))
        poor = min(members, key=lambda m: (extras[m], m))
        if extras[full] - extras[poor] <= 1:
            return more
        # There is one: the fuller member has more of them than the other.
        stages = [stage for stage, chosen in more.items() if full in chosen and poor not in chosen]
        stage = min(stages, key=lambda s: (holds(full, s), not holds(poor, s), s))
        more[stage] ^= {full, poor}
        extras[full] -= 1
        extras[poor] += 1


@dataclass
class StageAssignor(AbstractPartitionAssignor):
    """aiokafka's face of `decide`. One instance per worker; called on the consumer's thread."""

    plan: Plan
    url: str
    #: Tasks whose stores are on the disk, and when they were written last, s.
    kept: Callable[[], Mapping[TaskId, int]] = dict
    owned: frozenset[TaskId] = frozenset()
    generation: int = -1
    #: Address per task, as the leader said last.
    owners: dict[TaskId, str] = field(default_factory=dict)
    #: How many the group has, 0 before anybody said so; and, of who led a change, the number before and after it.
    workers: int = 0
    scaled: tuple[int, int] | None = None
    #: What this worker has that nodes may require; what every member has, by address, as the leader said last.
    has: frozenset[str] = frozenset()
    having: dict[str, list[str]] = field(default_factory=dict)

    name = "streamflow"

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this worker tells the leader."""
        owned: dict[str, list[int]] = {}
        for stage, partition in sorted(self.owned):
            owned.setdefault(stage, []).append(partition)
        kept: dict[str, dict[str, int]] = {}
        for (stage, partition), written in self.kept().items():
            if (stage, partition) not in self.owned:
                kept.setdefault(stage, {})[str(partition)] = written
        told = {"url": self.url, "owned": owned, "generation": self.generation, "kept": kept, "has": sorted(self.has)}
        data = orjson.dumps(told)
        return ConsumerProtocolMemberMetadata(0, sorted(topics), data)

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """The leader's decision for every member."""
        tasks = {stage.name: self._partitions(cluster, stage.input_topics) for stage in self.plan.stages}
        known = {member: _member(metadata.user_data) for member, metadata in members.items()}
        given = decide_among(tasks, known, {stage.name: stage.capabilities for stage in self.plan.stages})
        owners: dict[str, dict[str, list[int]]] = {}
        for member, mine in given.items():
            for stage, partition in sorted(mine):
                owners.setdefault(stage, {}).setdefault(known[member].url, []).append(partition)
        self.scaled = (self.workers, len(members)) if self.workers not in (0, len(members)) else None
        having = {each.url: sorted(each.has) for each in known.values()}
        data = orjson.dumps({"owners": owners, "workers": len(members), "having": having})
        return {member: self._assignment(mine, data) for member, mine in given.items()}

    @staticmethod
    def _partitions(cluster: ClusterMetadata, topics: tuple[str, ...]) -> int:
        return min(len(cluster.partitions_for_topic(topic) or ()) for topic in topics)

    def _assignment(self, tasks: set[TaskId], data: bytes) -> ConsumerProtocolMemberAssignment:
        topics: dict[str, list[int]] = {}
        for stage, partition in sorted(tasks):
            for topic in self.plan.stage(stage).input_topics:
                topics.setdefault(topic, []).append(partition)
        return ConsumerProtocolMemberAssignment(0, sorted(topics.items()), data)

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Remember where everybody is."""
        body = orjson.loads(assignment.user_data or b"{}")
        self.workers = body.get("workers", 0)
        self.owners = {
            (stage, partition): url
            for stage, urls in body.get("owners", {}).items()
            for url, partitions in urls.items()
            for partition in partitions
        }
        self.having = body.get("having", {})
        others = {url: has for url, has in self.having.items() if url != self.url}
        for each in placed(self.plan, self.has, others):
            if each.where is Where.NOBODY:
                log.error("stage %s waits: %s: %s", each.stage.name, each.reason, each.remedy)


def _member(data: bytes) -> Member:
    body: dict[str, Any] = orjson.loads(data or b"{}")
    owned = frozenset((stage, p) for stage, partitions in body.get("owned", {}).items() for p in partitions)
    kept = {(stage, int(p)): at for stage, stores in body.get("kept", {}).items() for p, at in stores.items()}
    return Member(body.get("url", ""), owned, body.get("generation", -1), kept, frozenset(body.get("has", ())))
