"""What a topology's workers may do in Kafka: no more than they need, and nothing that creates or changes topics.

Kafka's rules: Read and Write imply Describe of a topic, Read that of a group; an idempotent producer needs Write on
some topic, no right on the cluster.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streamflow.bus.topics import with_bus
from streamflow.plan.plan import Plan, TopicRole
from streamflow.settings.settings import Settings

_READ_AND_WRITE = ("Read", "Write", "DescribeConfigs")
#: Sources and global tables are written by publishing over HTTP, the bus and dead letters are read over HTTP.
OPERATIONS: Mapping[TopicRole, tuple[str, ...]] = {
    role: ("Write", "DescribeConfigs") if role is TopicRole.SINK else _READ_AND_WRITE for role in TopicRole
}


@dataclass(frozen=True, slots=True)
class Acl:
    """Operations on what has this name, or a name that begins so. kind: as Kafka's tools write it."""

    kind: str
    name: str
    operations: tuple[str, ...]
    prefixed: bool = False


def acls_of(plan: Plan, settings: Settings, *, creates: bool = False) -> tuple[Acl, ...]:
    """The rules of a plan's workers. creates: also of whoever makes its topics (`streamflow topics`)."""
    more = ("Create",) if creates else ()
    found = [Acl("topic", topic.name, (*OPERATIONS[topic.role], *more)) for topic in with_bus(plan, settings).topics]
    name = f"{settings.application}.{plan.identity}"
    found.append(Acl("group", name, ("Read",)))
    if settings.audit_key and settings.events_detail != "off":
        found.append(Acl("group", f"{settings.namespace}.bus-sealer", ("Read",)))
    if settings.alerts and settings.events_detail != "off":
        found.append(Acl("group", f"{settings.namespace}.alerts", ("Read",)))
        found.append(Acl("transactional-id", f"sf.{settings.namespace}.alerts", ("Write", "Describe")))
    # Of tasks, decisions about dead letters, and publishes with a key: these belong to the sources, also in a run.
    shared = [f"{settings.application}.{plan.topology}.publish-keys"] if plan.run else []
    for each in (name, *shared):
        found.append(Acl("transactional-id", f"sf.{each}.", ("Write", "Describe"), prefixed=True))
    return tuple(found)


def commands(acls: Iterable[Acl], principal: str, brokers: str) -> list[str]:
    """kafka-acls commands, rules of the same operations in one."""
    alike: dict[tuple[str, tuple[str, ...], bool], list[str]] = {}
    for each in acls:
        alike.setdefault((each.kind, each.operations, each.prefixed), []).append(each.name)
    start = ["kafka-acls", "--bootstrap-server", brokers, "--add", "--allow-principal", principal]
    made = []
    for (kind, operations, prefixed), names in alike.items():
        words = [*start, *(word for operation in operations for word in ("--operation", operation))]
        words += ["--resource-pattern-type", "prefixed"] if prefixed else []
        made.append(shlex.join(words + [word for name in names for word in (f"--{kind}", name)]))
    return made


def strimzi_user(acls: Iterable[Acl], name: str, cluster: str, settings: Settings) -> dict[str, Any]:
    """A KafkaUser of Strimzi with the rules. How it says who it is follows from the settings."""
    kinds = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}
    rules = [
        {
            "resource": {
                "type": kinds[each.kind],
                "name": each.name,
                "patternType": "prefix" if each.prefixed else "literal",
            },
            "operations": list(each.operations),
        }
        for each in acls
    ]
    spec: dict[str, Any] = {"authorization": {"type": "simple", "acls": rules}}
    if settings.kafka_sasl == "scram-sha-512" or settings.kafka_cert_file is not None:
        spec["authentication"] = {"type": "tls" if settings.kafka_sasl == "none" else "scram-sha-512"}
    metadata = {"name": name, "labels": {"strimzi.io/cluster": cluster}}
    return {"apiVersion": "kafka.strimzi.io/v1beta2", "kind": "KafkaUser", "metadata": metadata, "spec": spec}
