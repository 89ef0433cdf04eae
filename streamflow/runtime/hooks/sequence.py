"""Private hook into aiokafka's producer: a batch that failed does not spoil its partition.

aiokafka numbers the records of a batch when it sends it, and a broker takes only the number that comes next. After a
batch that is refused, too large for its topic say, it would refuse every later one of the partition as out of order,
until the process ends.

    refused, at its first attempt     its numbers are used again: nothing was appended
    any other failure                 nobody knows: all that is numbered from here on has a new producer id. A number
                                      that is used again would look like the same batch, and be acknowledged unwritten
    not numbered yet                  nothing

Right only while no other batch of the partition is on its way.

Pinned to aiokafka 0.14; tests/system/test_publisher.py fails when an upgrade changes what is used here.
"""

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    kafka_errors,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, PidAndEpoch
from aiokafka.structs import RecordMetadata, TopicPartition
from aiokafka.util import create_future


class InvalidRecordError(BrokerResponseError):
    """aiokafka knows no such error, and would call it an unknown one."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The topic takes no such record: one without a key, and it is compacted."


kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

#: What a batch holds is to blame.
OF_CONTENT = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError, InvalidTimestampError)
#: Judged before anything is appended, the last two by aiokafka itself: it has no leader to send to.
_REFUSALS = (*OF_CONTENT, TopicAuthorizationFailedError, NotLeaderForPartitionError, LeaderNotAvailableError)


async def send(producer: AIOKafkaProducer, batch: BatchBuilder, topic: str, partition: int) -> RecordMetadata:
    """Append a batch; where it is, once all replicas have it. Raises KafkaError."""
    place = TopicPartition(topic, partition)
    sent = await producer.send_batch(batch, topic, partition=partition)
    attempts = producer._message_accumulator._batches[place][-1]  # nothing else ran since it was put there
    try:
        metadata: RecordMetadata = await sent
    except KafkaError as error:
        if attempts.retry_count == 1 and isinstance(error, _REFUSALS):
            producer._txn_manager.increment_sequence_number(place, -batch.record_count())
        elif attempts.retry_count:
            _renew(producer)
        raise
    return metadata


def _renew(producer: AIOKafkaProducer) -> None:
    """Have the sender ask for another id before it numbers anything; batches that it sends again keep theirs."""
    manager = producer._txn_manager
    manager._pid_and_epoch = PidAndEpoch(NO_PRODUCER_ID, NO_PRODUCER_EPOCH)
    manager._pid_waiter = create_future()
    manager._sequence_numbers.clear()
