"""Follows a topic from outside of the group: committed records, for people to look at."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streamflow.errors import BrokerUnavailable
from streamflow.model.chunk import Record


async def follow(brokers: str, topic: str, beginning: bool) -> AsyncIterator[Record]:
    """Records of all partitions as they come. Raises BrokerUnavailable."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=brokers.split(","),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest" if beginning else "latest",
    )
    try:
        await consumer.start()
        async for record in consumer:
            yield Record(record.offset, record.key, record.value, record.timestamp, tuple(record.headers))
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {brokers} does not answer: {error!r}") from error
    finally:
        await consumer.stop()
