"""What a consumer group has committed. Stable for a task's partitions once its producer is initialised: whatever
transaction was open is then ended."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings


async def committed_offsets(
    settings: Settings, group: str, partitions: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offset and metadata of each partition that has any. Raises KafkaError."""
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        found = await admin.list_consumer_group_offsets(group, partitions=partitions)
    finally:
        await disconnect(admin)
    return {tp: each for tp, each in found.items() if each.offset >= 0}
