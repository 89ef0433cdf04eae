"""What a Kafka cluster has, as data: read by the runtime, judged by the preflight."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is. replicas: per partition the brokers that have it. config: with the defaults that apply."""

    replicas: tuple[tuple[int, ...], ...]
    config: Mapping[str, str]

    @property
    def partition_count(self) -> int:
        """Its partitions."""
        return len(self.replicas)

    @property
    def replica_count(self) -> int:
        """Copies of the partition that has fewest."""
        return min((len(brokers) for brokers in self.replicas), default=0)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """Brokers that answer, the configuration of one of them, and the topics of a plan that exist."""

    brokers: tuple[int, ...]
    config: Mapping[str, str]
    topics: Mapping[str, TopicFacts]


#: Replicas that a lost broker does not threaten, and how many of them must have a record before it counts as written.
REPLICAS, IN_SYNC = 3, 2


def replica_count(wanted: int, broker_count: int) -> int:
    """Replicas of a topic that is created: as wanted; of 0 three, or as many as there are brokers."""
    return wanted or min(REPLICAS, broker_count)
