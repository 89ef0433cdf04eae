"""What a preflight finds, and the commands of Kafka that mend it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from streamflow.plan.cluster import TopicFacts


class Weight(StrEnum):
    """Whether it would break the topology, or may hurt it some day."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend. `check`: a stable word for programs; `command`: a line of shell, or what to set."""

    weight: Weight
    check: str
    place: str
    message: str
    command: str


@dataclass(frozen=True, slots=True)
class KafkaCommands:
    """Command lines of Apache Kafka's own tools for one cluster."""

    brokers: str

    def configure(self, topic: str, config: Mapping[str, str]) -> str:
        """Change a topic's configuration; lists go in brackets."""
        pairs = ",".join(f"{name}=[{value}]" if "," in value else f"{name}={value}" for name, value in config.items())
        return f"kafka-configs {self._where} --alter --entity-type topics --entity-name {topic} --add-config '{pairs}'"

    def configure_brokers(self, config: Mapping[str, str]) -> str:
        """Change the configuration of all brokers while they run."""
        pairs = ",".join(f"{name}={value}" for name, value in config.items())
        return f"kafka-configs {self._where} --alter --entity-type brokers --entity-default --add-config '{pairs}'"

    def partitions(self, topic: str, count: int) -> str:
        """Add partitions to a topic."""
        return f"kafka-topics {self._where} --alter --topic {topic} --partitions {count}"

    def delete(self, topic: str) -> str:
        """Delete a topic."""
        return f"kafka-topics {self._where} --delete --topic {topic}"

    def replicate(self, topic: str, facts: TopicFacts, brokers: tuple[int, ...], count: int) -> str:
        """Give every partition `count` replicas: those it has stay, others go round the brokers."""
        moves = []
        for partition, has in enumerate(facts.replicas):
            others = [broker for broker in brokers if broker not in has]
            start = partition % len(others) if others else 0
            wanted = [*has, *others[start:], *others[:start]][: max(count, len(has))]
            moves.append({"topic": topic, "partition": partition, "replicas": wanted})
        plan = json.dumps({"version": 1, "partitions": moves}, separators=(",", ":"))
        return (
            f"echo '{plan}' > replicas.json && kafka-reassign-partitions {self._where} "
            f"--reassignment-json-file replicas.json --execute"
        )

    @property
    def _where(self) -> str:
        return f"--bootstrap-server {self.brokers}"
