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
