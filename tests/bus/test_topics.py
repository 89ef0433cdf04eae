"""Which topics there are for the bus."""

from pathlib import Path

from streamflow.bus.detail import Detail
from streamflow.bus.topics import bus_topics, data_path_bus, with_bus
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def test_off_makes_no_topic_and_no_work(root: Path) -> None:
    settings = load_settings(events_detail="off")
    plan = make_plan(load_topology(root / "topologies" / "flights"))
    assert with_bus(plan, settings) is plan
    assert data_path_bus(settings) is None


def test_events_are_only_deleted_never_compacted() -> None:
    settings = load_settings(namespace="acme", audit_key="env:KEY", events_retention_ms=5, events_partitions=3)
    events, seals = bus_topics(settings)
    assert (events.name, events.partitions, seals.name, seals.partitions_like) == (
        "acme.events",
        3,
        "acme.seals",
        "acme.events",
    )
    for topic in (events, seals):
        assert dict(topic.config)["cleanup.policy"] == "delete"
        assert dict(topic.config)["retention.ms"] == "5"
    assert [topic.name for topic in bus_topics(load_settings())] == ["streamflow.events"]
    bus = data_path_bus(settings)
    assert bus is not None
    assert (bus.topic, bus.detail) == ("acme.events", Detail.LIFECYCLE)
