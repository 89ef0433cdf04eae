"""Sends what a process has to say to the bus: an idempotent producer of its own, beside the tasks' transactions.

Events leave in the order they came, in one batch per partition of what has gathered. While Kafka does not answer they
wait in the bounded queue (`bus/log.py`); a batch whose outcome is not known is sent again by a new producer, so that an
event may come twice, with the same id. What Kafka refuses is tried some times more, too large batches in halves, then
it is lost: said in the log, and counted by EVENTS_LOST as soon as Kafka takes that.
"""

import asyncio
import logging
import time

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from streamflow.bus.event import HEADERS, BusEvent
from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.log import QueuedEvents
from streamflow.bus.topics import EVENT_MAX_BYTES, events_topic
from streamflow.model.partitioner import partition_of
from streamflow.runtime.connection import connection, denied
from streamflow.runtime.hooks.ending import END_S, disconnect, end
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

_BATCH_EVENTS = 1_000
_BACKOFF_S = 0.2
_BACKOFF_MAX_S = 5.0
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
#: What another attempt does not change, unless somebody changes Kafka meanwhile.
REFUSALS = (
    *_TOO_LARGE,
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
#: Attempts at what is refused: 6 s, since permissions take a moment to be known to all brokers.
REFUSED_ATTEMPTS = 6
#: How long a stop waits for events that are on their way.
FLUSH_S = 5.0


class KafkaEventLog(QueuedEvents):
    """The EventLog of one process. Events that are emitted before `start` wait for it."""

    def __init__(
        self, settings: Settings, source: str, actor: str = "", secret_fields: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(source, actor, wake=self._call, secret_fields=secret_fields)
        self._settings, self._topic = settings, events_topic(settings)
        self._producer: AIOKafkaProducer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._called = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None
        self._backoff_s = _BACKOFF_S

    async def start(self) -> None:
        """Begin to send. Waits for nothing: Kafka may come later."""
        self._loop = asyncio.get_running_loop()
        self._sender = asyncio.create_task(self._send_all(), name="events")
        self._call()

    async def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything that was emitted has been acknowledged; False when the time was too short."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.waiting_count or not self._idle.is_set():
                    self._idle.clear()
                    self._called.set()
                    await self._idle.wait()
        except TimeoutError:
            log.error("%s events were not sent within %.0f s and are lost", self.waiting_count, timeout_s)
            return False
        return True

    async def stop(self) -> None:
        """Send what waits (5 s at most) and close."""
        if self._sender is None:
            return
        flushed = await self.flush()
        await end(self._sender)
        await self._close(END_S if flushed else 0.0)

    def _call(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._called.set)

    async def _send_all(self) -> None:
        while True:
            await self._called.wait()
            self._called.clear()
            self._idle.clear()
            while events := self.take(_BATCH_EVENTS):
                await self._until_sent(events)
            self._idle.set()

    async def _until_sent(self, events: list[BusEvent]) -> None:
        refusals = 0
        while (error := await self._attempt(events)) is not None:
            await self._close()
            if isinstance(error, REFUSALS):
                refusals += 1
                if isinstance(error, _TOO_LARGE) and len(events) > 1:
                    middle = len(events) // 2
                    await self._until_sent(events[:middle])
                    await self._until_sent(events[middle:])
                    return
                if refusals == REFUSED_ATTEMPTS or isinstance(error, _TOO_LARGE):
                    log.error("%s events are lost, Kafka refuses them: %s", len(events), denied(error) or repr(error))
                    self.lose(events)
                    await self._pause()  # the event that counts them comes next, and may be refused, too
                    return
            log.warning("%s events wait for Kafka: %r", len(events) + self.waiting_count, error)
            await self._pause()
        self._backoff_s = _BACKOFF_S

    async def _pause(self) -> None:
        """Longer each time until something is sent."""
        await asyncio.sleep(self._backoff_s)
        self._backoff_s = min(_BACKOFF_MAX_S, self._backoff_s * 2)

    async def _attempt(self, events: list[BusEvent]) -> Exception | None:
        """Why not all of them are acknowledged."""
        try:
            await self._send(events)
        except (KafkaError, OSError) as error:
            return error
        return None

    async def _send(self, events: list[BusEvent]) -> None:
        producer = await self._running()
        count = len(await producer.partitions_for(self._topic))
        sends = []
        for event in events:
            key = (event.partitionkey or event.subject).encode()
            value = encoded(event)
            # The producer gathers what waits for one partition into one batch.
            sends.append(
                await producer.send(
                    self._topic,
                    value,
                    key,
                    partition=partition_of(key, count),
                    timestamp_ms=int(time.time() * 1_000),
                    headers=list(HEADERS),
                )
            )
        for result in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _running(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **connection(self._settings),
                enable_idempotence=True,
                acks="all",
                max_request_size=2 * EVENT_MAX_BYTES,
                retry_backoff_ms=20,
                request_timeout_ms=10_000,
            )
            try:
                await producer.start()
            except BaseException:
                await disconnect(producer)
                raise
            self._producer = producer
        return self._producer

    async def _close(self, within_s: float = END_S) -> None:
        producer, self._producer = self._producer, None
        await disconnect(producer, within_s=within_s)


def encoded(event: BusEvent) -> bytes:
    """The event; that it was lost, where it is too large, or is nothing that JSON can say: the others must go on."""
    try:
        value = event.encode()
    except (TypeError, ValueError) as error:
        log.error("an event %s is lost, it is no JSON: %s", event.type, error)
        return _lost(event).encode()
    return value if len(value) <= EVENT_MAX_BYTES - 1_024 else _lost(event).encode()


def _lost(event: BusEvent) -> BusEvent:
    """What stays of an event that no topic takes: that it happened."""
    lost = {"counts": {event.type: 1}}
    return event.model_copy(
        update={
            "type": EventType.EVENTS_LOST.value,
            "severity": Severity.ERROR,
            "dataschema": "urn:streamflow:event:EVENTS_LOST:1",
            "data": lost,
        }
    )
