"""Results of calls told to the other workers of a topology, so that each finds what another has asked for.

    put ─► own disk ─► queue ─► topic `<topology>.kept_results` ─► every worker ─► its disk
                                                                   └ what it has already: nothing

    key       identity of the node (16 bytes), SHA-256 of the input
    value     when it was kept (8 bytes, ms of the wall clock), result

One producer and one consumer per worker, outside of the group and of transactions. Nothing waits for them but the
start, a little: what is late, lost or refused is asked for once more (decision 0074).
"""

import asyncio
import logging
import time
from collections import deque
from hashlib import sha256

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.calls.policy import CachePlan
from streamflow.calls.result_cache import Tier
from streamflow.errors import StoreFailed
from streamflow.plan.plan import Plan, TopicRole
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks import drain
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: A result beyond it is told to nobody: records of this size fit whatever the broker's defaults are.
RESULT_MAX_BYTES = 512 << 10
#: Results that wait to be sent; more are told to nobody.
QUEUE_MAX_BYTES = 16 << 20
#: How long a start waits for results of others, and a stop for its own to be sent.
CATCH_UP_S, FLUSH_S = 10.0, 1.0
_BATCH = 500
#: Records taken over before the loop gets a turn: some 5 ms.
_SLICE = 200
_WAIT_S, _BACKOFF_S = 0.5, 1.0
_IDENTITY_BYTES, _TIME_BYTES = 16, 8
_KEY_BYTES = _IDENTITY_BYTES + 32
#: What a result costs in the queue beside its value: key, tuple and objects.
_ENTRY_BYTES = 200


class SharedTier:
    """A node's results on disk, of which others hear: a Tier. told, heard: results sent and taken over."""

    def __init__(self, results: "SharedResults", inner: Tier, identity: bytes) -> None:
        self._results, self._inner, self._identity = results, inner, identity
        self.told = self.heard = 0

    def get(self, key: bytes) -> tuple[int, bytes] | None:
        """(when it was kept, the result), None when there is none. Raises StoreFailed."""
        return self._inner.get(sha256(key).digest())

    def put(self, key: bytes, kept_ms: int, value: bytes) -> None:
        """Keep a result, and tell the others. Raises StoreFailed."""
        digest = sha256(key).digest()
        self._inner.put(digest, kept_ms, value)
        self.told += self._results.tell(self._identity + digest, kept_ms.to_bytes(_TIME_BYTES) + value)

    def hear(self, digest: bytes, kept_ms: int, value: bytes) -> None:
        """Take over a result of somebody, unless it is here already. Raises StoreFailed."""
        found = self._inner.get(digest)
        if found is None or found[0] < kept_ms:
            self._inner.put(digest, kept_ms, value)
            self.heard += 1

    def view(self) -> dict[str, int]:
        """Entries and bytes, and how many came and went."""
        return self._inner.view() | {"told": self.told, "heard": self.heard}

    def close(self) -> None:
        """Let go of it."""
        self._results.forget(self._identity, self)
        self._inner.close()


class SharedResults:
    """Of one worker. Without a node that shares its results it does nothing."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        drain.install()
        topic = next((each.name for each in plan.topics if each.role is TopicRole.KEPT_RESULTS), None)
        self._place = None if topic is None else TopicPartition(topic, 0)
        self._settings = settings
        self._tiers: dict[bytes, list[SharedTier]] = {}
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._queued = asyncio.Event()
        self._queued_bytes = self._position = 0
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None

    # -- nodes --------------------------------------------------------------------------------------------------------

    def share(self, inner: Tier, plan: CachePlan) -> SharedTier:
        """A node's results on disk as those that others hear of."""
        made = SharedTier(self, inner, plan.identity)
        self._tiers.setdefault(plan.identity, []).append(made)
        return made

    def forget(self, identity: bytes, tier: SharedTier) -> None:
        """Take nothing over for it any more."""
        self._tiers[identity] = [each for each in self._tiers[identity] if each is not tier]

    def tell(self, key: bytes, value: bytes) -> bool:
        """Send a result soon; False when it is too large, or too many wait."""
        needed = len(value) + _ENTRY_BYTES
        if len(value) > RESULT_MAX_BYTES or self._queued_bytes + needed > QUEUE_MAX_BYTES:
            return False
        self._queue.append((key, value))
        self._queued_bytes += needed
        self._queued.set()
        return True

    # -- life ---------------------------------------------------------------------------------------------------------

    async def catch_up(self, stop: asyncio.Event) -> None:
        """Take over what others have kept by now, for CATCH_UP_S at most; what is missing then comes with `run`."""
        if self._place is None:
            return
        deadline = time.monotonic() + CATCH_UP_S
        try:
            async with asyncio.timeout(CATCH_UP_S):
                consumer = await self._connected(self._place)
                end = (await consumer.end_offsets([self._place]))[self._place]
            while self._position < end and not stop.is_set() and time.monotonic() < deadline:
                await self._take(consumer)
        except (KafkaError, TimeoutError) as error:
            log.warning("results of other workers cannot be read yet: %r", error)

    async def run(self) -> None:
        """Tell and hear for as long as the worker lives, whatever becomes of Kafka; returns at once without a node."""
        if self._place is not None:
            await asyncio.gather(self._follow(self._place), self._send())

    async def stop(self) -> None:
        """Send what waits, for FLUSH_S at most, and disconnect."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._send_queue()
        except TimeoutError:
            log.info("%s results were not told to the others", len(self._queue))
        await disconnect(self._producer, self._consumer)

    # -- hearing ------------------------------------------------------------------------------------------------------

    async def _follow(self, place: TopicPartition) -> None:
        while True:
            try:
                consumer = await self._connected(place)
                while True:
                    await self._take(consumer)
            except KafkaError as error:
                log.warning("results of other workers cannot be read: %r", error)
            await disconnect(self._consumer)
            self._consumer = None
            await asyncio.sleep(_BACKOFF_S)

    async def _connected(self, place: TopicPartition) -> AIOKafkaConsumer:
        if self._consumer is None:
            made = AIOKafkaConsumer(
                **connection(self._settings),
                client_rack=self._settings.client_rack or None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=500,
            )
            try:
                await made.start()
                made.assign([place])
                first = (await made.beginning_offsets([place]))[place]
            except BaseException:
                await disconnect(made)
                raise
            self._position = max(self._position, first)
            made.seek(place, self._position)
            self._consumer = made
        return self._consumer

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        """Take over what was fetched, waiting a little for it."""
        for pairs, position in (await drain.next_pairs(consumer, _WAIT_S)).values():
            for start in range(0, len(pairs), _SLICE):
                for key, value in pairs[start : start + _SLICE]:
                    if value is not None and len(key) == _KEY_BYTES:
                        self._hear(key, value)
                await asyncio.sleep(0)
            self._position = position

    def _hear(self, key: bytes, value: bytes) -> None:
        identity, digest = key[:_IDENTITY_BYTES], key[_IDENTITY_BYTES:]
        for tier in self._tiers.get(identity, ()):
            try:
                tier.hear(digest, int.from_bytes(value[:_TIME_BYTES]), value[_TIME_BYTES:])
            except StoreFailed as error:
                log.warning("results of other workers are not taken over any more: %s", error)
                self.forget(identity, tier)

    # -- telling ------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            await self._send_queue()

    async def _send_queue(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            self._queued_bytes -= sum(len(value) + _ENTRY_BYTES for _, value in batch)
            try:
                await self._send_batch(batch)
            except KafkaError as error:
                log.warning("%s results were not told to the other workers: %r", len(batch), error)

    async def _send_batch(self, batch: list[tuple[bytes, bytes]]) -> None:
        assert self._place is not None
        if self._producer is None:
            made = AIOKafkaProducer(**connection(self._settings), acks=1, linger_ms=20)
            try:
                await made.start()
            except BaseException:
                await disconnect(made)
                raise
            self._producer = made
        topic, partition = self._place
        sends = [await self._producer.send(topic, value, key, partition) for key, value in batch]
        await asyncio.gather(*sends)
