"""Topics at start: created as planned, verified when they exist, refused with every reason."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.plan.plan import Plan
from streamflow.plan.planner import make_plan
from streamflow.runtime import topics
from streamflow.settings.settings import load_settings
from streamflow.topology.yaml_file import parse_topology

pytestmark = pytest.mark.kafka


def _plan(name: str) -> Plan:
    return make_plan(
        parse_topology(f"""
topology: {name}
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  s: {{kind: source, topic: {name}.in, schema: A, event_time: t, key: k, partitions: 3}}
  w: {{kind: window, input: s, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}}}
""")
    )


async def _create(kafka: str, *new: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics(list(new))
    await admin.close()


def test_missing_topics_are_created_and_existing_ones_kept(kafka: str, unique: str) -> None:
    async def act() -> dict[str, int]:
        await _create(kafka, NewTopic(f"{unique}.in", 5, 1))
        settings = load_settings(brokers=kafka)
        first = await topics.ensure_topics(_plan(unique), settings)
        assert await topics.ensure_topics(_plan(unique), settings) == first
        return first

    counts = asyncio.run(act())
    letters = {f"{unique}.dead_letters": 1, f"{unique}.dead_letters.decisions": 1}
    ones = {f"{unique}.outcomes": 1, f"{unique}.control": 1, "streamflow.events": 1}
    fives = {f"{unique}.{name}": 5 for name in ("in", "w.changelog", "publish_keys")}
    assert counts == letters | ones | fives


def test_everything_that_does_not_fit_is_told_with_the_command(kafka: str, unique: str) -> None:
    async def act() -> None:
        changelog = NewTopic(f"{unique}.w.changelog", 2, 1, topic_configs={"cleanup.policy": "delete"})
        await _create(kafka, NewTopic(f"{unique}.in", 3, 1), changelog)
        await topics.ensure_topics(_plan(unique), load_settings(brokers=kafka))

    with pytest.raises(TopicError) as caught:
        asyncio.run(act())
    assert "has 2 partitions, the plan needs 3" in str(caught.value)
    assert "kafka-configs --alter" in str(caught.value)


def test_no_kafka_is_a_transient_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_ATTEMPTS", 2)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 does not answer"):
        asyncio.run(topics.ensure_topics(_plan("x"), load_settings(brokers="127.0.0.1:1")))


def test_processing_time_needs_the_brokers_clock(kafka: str, unique: str) -> None:
    """A topic that is made gets it; one with the producers' clocks is refused, with the command that changes it."""
    text = f"""
topology: {unique}
schemas: {{A: {{k: str}}}}
nodes:
  s: {{kind: source, topic: {unique}.NAME, schema: A, key: k, time: processing, partitions: 1}}
  w: {{kind: window, input: s, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}}}
"""

    async def act() -> None:
        settings = load_settings(brokers=kafka)
        made = make_plan(parse_topology(text.replace("NAME", "made")))
        await topics.ensure_topics(made, settings)
        await topics.ensure_topics(made, settings)
        await _create(kafka, NewTopic(f"{unique}.found", 1, 1))
        await topics.ensure_topics(make_plan(parse_topology(text.replace("NAME", "found"))), settings)

    with pytest.raises(TopicError) as caught:
        asyncio.run(act())
    assert f"{unique}.found has message.timestamp.type CreateTime, the plan needs LogAppendTime" in str(caught.value)
    assert "made" not in str(caught.value)
