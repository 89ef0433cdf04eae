"""Follows a topic from outside of the group: committed records, for people to look at."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streamflow.model.chunk import Record
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings


async def follow(settings: Settings, topic: str, beginning: bool) -> AsyncIterator[Record]:
    """Records of all partitions as they come. Raises KafkaRefusal, BrokerUnavailable."""
    consumer = AIOKafkaConsumer(
        topic,
        **connection(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest" if beginning else "latest",
    )
    try:
        await consumer.start()
        async for record in consumer:
            yield Record(record.offset, record.key, record.value, record.timestamp, tuple(record.headers))
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(consumer)
