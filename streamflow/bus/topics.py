"""The topics of the bus: one of events per namespace, and one of the seals over it."""

from dataclasses import replace

from streamflow.bus.detail import DataPathBus, Detail
from streamflow.plan.plan import Plan, TopicPlan, TopicRole
from streamflow.settings.settings import Settings

#: Bound of an event in bytes.
EVENT_MAX_BYTES = 1 << 20
#: How long samples are kept: as far back as a rule may look.
SAMPLES_KEPT_MS = 3 * 86_400_000


def events_topic(settings: Settings) -> str:
    """Name of the topic that is the bus and the audit log."""
    return f"{settings.namespace}.events"


def seals_topic(settings: Settings) -> str:
    """Name of the topic of seals, with as many partitions as that of events."""
    return f"{settings.namespace}.seals"


def metrics_topic(settings: Settings) -> str:
    """Name of the topic of samples that alerts are judged on; one partition: one worker judges."""
    return f"{settings.namespace}.metrics"


def bus_topics(settings: Settings) -> tuple[TopicPlan, ...]:
    """What must exist for the bus. Delete-only: compaction would take events out of the log. Partitions are taken as
    they are found, as several topologies share the topic."""
    config = (
        ("cleanup.policy", "delete"),
        ("retention.ms", str(settings.events_retention_ms)),
        ("max.message.bytes", str(EVENT_MAX_BYTES)),
    )
    events = TopicPlan(events_topic(settings), TopicRole.EVENTS, settings.events_partitions, None, config, False)
    seals = TopicPlan(seals_topic(settings), TopicRole.EVENTS, None, events.name, config, False)
    kept = (config[0], ("retention.ms", str(SAMPLES_KEPT_MS)), config[2])
    samples = TopicPlan(metrics_topic(settings), TopicRole.EVENTS, 1, None, kept, False)
    return (events, *([seals] if settings.audit_key else []), *([samples] if settings.alerts else []))


def with_bus(plan: Plan, settings: Settings) -> Plan:
    """The plan with the topics of the bus, where events are on."""
    return plan if settings.events_detail == "off" else replace(plan, topics=(*plan.topics, *bus_topics(settings)))


def data_path_bus(
    settings: Settings, worker: str = "", secret_fields: frozenset[str] = frozenset()
) -> DataPathBus | None:
    """Where tasks of a worker write events, None where they are off."""
    detail = Detail[settings.events_detail.upper()]
    return None if detail is Detail.OFF else DataPathBus(events_topic(settings), detail, worker, secret_fields)
