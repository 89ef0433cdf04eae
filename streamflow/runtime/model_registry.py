"""Reads and writes the registry of models, a compacted topic, for the command line."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.engine.global_table import GlobalTable
from streamflow.errors import BrokerUnavailable, ModelError
from streamflow.inference.card import (
    REGISTRY_MAX_BYTES,
    REGISTRY_MAX_ROWS,
    REGISTRY_SCHEMA,
    ModelCard,
    card_of,
)
from streamflow.plan.cluster import replica_count
from streamflow.plan.plan import GlobalTablePlan
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

_READ_MS = 1_000


async def read_cards(settings: Settings, topic: str) -> list[ModelCard]:
    """Every card, by name and version as text; none when there is no topic. Raises BrokerUnavailable, ModelError."""
    table = GlobalTable(GlobalTablePlan(topic, topic, REGISTRY_SCHEMA, "id", REGISTRY_MAX_ROWS, REGISTRY_MAX_BYTES))
    kafka = connection(settings)
    admin = AIOKafkaAdminClient(**kafka)
    consumer = AIOKafkaConsumer(
        **kafka,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await admin.start()
        if topic in await admin.list_topics():
            (described,) = await admin.describe_topics([topic])
            await consumer.start()
            places = [TopicPartition(topic, each["partition"]) for each in described["partitions"]]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                found = await consumer.getmany(timeout_ms=_READ_MS)
                table.apply([(record.key, record.value) for records in found.values() for record in records])
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.brokers} does not answer: {error!r}") from error
    finally:
        await disconnect(consumer, admin)
    return [card_of(table.rows[key]) for key in sorted(table.rows)]


async def add_card(settings: Settings, topic: str, card: ModelCard) -> None:
    """Put a card into the registry, which is created when it is not there.

    Raises ModelError when the version is there with another file or task, BrokerUnavailable.
    """
    for known in await read_cards(settings, topic):
        if known.id == card.id and (known.digest, known.task) != (card.digest, card.task):
            raise ModelError(f"{card.id} is there with another file or task; versions never change, give it a new one")
    await _create(settings, topic)
    producer = AIOKafkaProducer(**connection(settings), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        key, value = card.record()
        await producer.send_and_wait(topic, value, key=key)
    except KafkaError as error:
        raise BrokerUnavailable(f"the card cannot be written to {topic}: {error!r}") from error
    finally:
        await disconnect(producer)


async def _create(settings: Settings, topic: str) -> None:
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        config = {"cleanup.policy": "compact"}
        replicas = replica_count(settings.replication_factor, len((await admin.describe_cluster())["brokers"]))
        await admin.create_topics([NewTopic(topic, 1, replicas, topic_configs=config)])
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {settings.brokers} does not answer: {error!r}") from error
    finally:
        await disconnect(admin)
