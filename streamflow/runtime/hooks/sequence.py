"""Private hook into aiokafka's producer: numbers of records that the broker refused are used again.

aiokafka numbers the records of a batch when it sends it, and a broker takes only the number that comes next. After a
batch that is refused, too large for its topic say, it would refuse every later one of the partition as out of order,
until the process ends. Right only while no other batch of the partition is on its way.

Pinned to aiokafka 0.14; tests/system/test_publisher.py fails when an upgrade changes what is used here.
"""

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition


def give_back(producer: AIOKafkaProducer, topic: str, partition: int, count: int) -> None:
    """The last `count` records that were sent to a partition are not there."""
    producer._txn_manager.increment_sequence_number(TopicPartition(topic, partition), -count)
