"""Assignment of partitions to workers: co-partitioned, sticky, balanced, and it tells everybody where everybody is.

Partition p of all inputs of a stage goes to one worker, because it is one task. The decision is a pure function of the
members and what they owned; the class below adapts it to aiokafka's group protocol:

    member  ──JoinGroup user data──►  {"url": own address, "owned": {stage: [p, …]}, "generation": g}
    leader  ──SyncGroup user data──►  {"owners": {stage: {url: [p, …]}}}       the same map to every member
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from streamflow.plan.plan import Plan

#: A task: (stage, partition).
TaskId = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as the leader sees it: its address and the tasks it says it owned, at which generation."""

    url: str
    owned: frozenset[TaskId] = frozenset()
    generation: int = -1


def decide(tasks: Mapping[str, int], members: Mapping[str, Member]) -> dict[str, set[TaskId]]:
    """Tasks per member: sizes differ by at most one in all and per stage as far as possible, few tasks move.

    tasks: partitions per stage. Of two members that claim a task, the one with the newer generation keeps it.
    """
    every = [(stage, partition) for stage in sorted(tasks) for partition in range(tasks[stage])]
    given: dict[str, set[TaskId]] = {member: set() for member in members}
    if not members:
        return given
    low, extra = divmod(len(every), len(members))
    stage_most = {stage: -(-count // len(members)) for stage, count in tasks.items()}
    owner = _claims(set(every), members)
    room = extra
    for task in every:  # keep what may be kept
        member = owner.get(task)
        if member is None or _held(given[member], task[0]) >= stage_most[task[0]]:
            continue
        if len(given[member]) < low:
            given[member].add(task)
        elif len(given[member]) == low and room > 0:
            given[member].add(task)
            room -= 1
    kept = set().union(*given.values())
    for task in every:
        if task not in kept:
            # Who has too few comes first, then who has fewest of this stage; names break ties, so leaders decide alike.
            target = min(given, key=lambda m: _fullness(len(given[m]), low, _held(given[m], task[0]), m))
            given[target].add(task)
    return given


def _claims(every: set[TaskId], members: Mapping[str, Member]) -> dict[TaskId, str]:
    owner: dict[TaskId, str] = {}
    for member in sorted(members, key=lambda m: (members[m].generation, m)):
        for task in members[member].owned & every:
            owner[task] = member
    return owner


def _fullness(size: int, low: int, held: int, member: str) -> tuple[bool, bool, int, int, str]:
    return size >= low, size > low, held, size, member


def _held(tasks: set[TaskId], stage: str) -> int:
    return sum(1 for task in tasks if task[0] == stage)


@dataclass
class StageAssignor(AbstractPartitionAssignor):
    """aiokafka's face of `decide`. One instance per worker; called on the consumer's thread."""

    plan: Plan
    url: str
    owned: frozenset[TaskId] = frozenset()
    generation: int = -1
    #: Address per task, as the leader said last.
    owners: dict[TaskId, str] = field(default_factory=dict)

    name = "streamflow"

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this worker tells the leader."""
        owned: dict[str, list[int]] = {}
        for stage, partition in sorted(self.owned):
            owned.setdefault(stage, []).append(partition)
        data = orjson.dumps({"url": self.url, "owned": owned, "generation": self.generation})
        return ConsumerProtocolMemberMetadata(0, sorted(topics), data)

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """The leader's decision for every member."""
        tasks = {stage.name: self._partitions(cluster, stage.input_topics) for stage in self.plan.stages}
        known = {member: _member(metadata.user_data) for member, metadata in members.items()}
        given = decide(tasks, known)
        owners: dict[str, dict[str, list[int]]] = {}
        for member, mine in given.items():
            for stage, partition in sorted(mine):
                owners.setdefault(stage, {}).setdefault(known[member].url, []).append(partition)
        data = orjson.dumps({"owners": owners})
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
        self.owners = {
            (stage, partition): url
            for stage, urls in body.get("owners", {}).items()
            for url, partitions in urls.items()
            for partition in partitions
        }


def _member(data: bytes) -> Member:
    body: dict[str, Any] = orjson.loads(data or b"{}")
    owned = frozenset((stage, p) for stage, partitions in body.get("owned", {}).items() for p in partitions)
    return Member(body.get("url", ""), owned, body.get("generation", -1))
