"""Names of the topics that a topology has for itself, and of nodes that are put in."""

from collections.abc import Container, Iterable

from streamflow.topology.kinds import rekeys
from streamflow.topology.spec import TopologySpec


def repartition_topic(topology: str, node: str) -> str:
    """Topic that carries the rows of a key_by to the tasks of their keys; that of a queue is called like the queue."""
    return f"{topology}.{node}" if "." in node else f"{topology}.{node}.repartition"


def level_topic(topic: str, level: str) -> str:
    """Topic of the rows that go before those of another one."""
    return f"{topic}.{level}"


#: No name that people give has a dot.
_PARKED = ".parked"


def parked_table(node: str) -> str:
    """Table of the keys that are parked at a source or key_by, and what waits there."""
    return f"{node}{_PARKED}"


def is_parked_table(table: str) -> bool:
    """Whether a table is such a one."""
    return table.endswith(_PARKED)


def changelog_topic(topology: str, table: str) -> str:
    """Topic that holds every change of a table."""
    return f"{topology}.{table}.changelog"


def feed_topic(topology: str, sink: str) -> str:
    """Topic from which a sink outside of Kafka takes its rows."""
    return f"{topology}.{sink}.feed"


def dead_letter_topic(topology: str) -> str:
    """Topic of events that could not be used."""
    return f"{topology}.dead_letters"


def letter_decision_topic(topology: str) -> str:
    """Topic of what people decided about dead letters."""
    return f"{topology}.dead_letters.decisions"


def publish_key_topic(topology: str) -> str:
    """Topic of the idempotency keys of publishes."""
    return f"{topology}.publish_keys"


def outcome_topic(topology: str) -> str:
    """Topic of what became of events that somebody waits for."""
    return f"{topology}.outcomes"


def decisions_topic(topology: str, node: str) -> str:
    """Topic of what people decided about rows that a node has parked."""
    return f"{topology}.{node}.approvals"


def releases_topic(topology: str, node: str) -> str:
    """Topic of parked keys that may go on without the letter they wait behind."""
    return f"{topology}.{node}.releases"


def kept_results_topic(topology: str) -> str:
    """Topic of results of calls that workers tell one another."""
    return f"{topology}.kept_results"


def control_topic(topology: str) -> str:
    """Topic of what was ordered of a topology, and which tasks have obeyed."""
    return f"{topology}.control"


def free_name(name: str, taken: Container[str]) -> str:
    """The name, or with the first number behind it that nobody has taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def internal_topics(spec: TopologySpec, tables: Iterable[str]) -> frozenset[str]:
    """Every topic of its own that the topology may have."""
    key_bys = (node.name for node in spec.nodes if rekeys(node) or node.queue_of)
    approvals = (node.name for node in spec.nodes if node.kind == "approval")
    return frozenset(
        [
            dead_letter_topic(spec.topology),
            letter_decision_topic(spec.topology),
            publish_key_topic(spec.topology),
            outcome_topic(spec.topology),
            control_topic(spec.topology),
            kept_results_topic(spec.topology),
            *(decisions_topic(spec.topology, name) for name in approvals),
            *(releases_topic(spec.topology, name) for name in spec.parking),
            *(changelog_topic(spec.topology, parked_table(name)) for name in spec.parking),
            *(repartition_topic(spec.topology, name) for name in key_bys),
            *(changelog_topic(spec.topology, name) for name in tables),
            *(feed_topic(spec.topology, node.name) for node in spec.nodes if node.kind in ("file_sink", "sql_sink")),
        ]
    )
