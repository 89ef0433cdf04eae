"""Publishes with an idempotency key: each key once within a time, across requests, workers and crashes.

    key ─► shard (partition of the topic of keys) ─► one transaction for all requests that wait there:
           their events, and per key what was answered. See docs/decisions/0027-idempotent-publish.md.

Whoever has a shard has fenced all others and read its keys since, so what it does not know was not published. A shard
is opened by its first request here and kept; one that was fenced is opened anew by the next.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from streamflow.errors import BrokerUnavailable, Fenced, StreamflowError
from streamflow.model.keyed_publish import Kept, KeyReused, Published, TooManyKeys
from streamflow.model.outcome import CORRELATION
from streamflow.model.partitioner import partition_of
from streamflow.plan.plan import Plan
from streamflow.runtime import faults
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.fenced_producer import FencedProducer, Headers, Send, Sendable
from streamflow.runtime.hooks.ending import END_S, end
from streamflow.runtime.record_limits import RecordLimits
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Keys of a shard within the time, some 300 bytes of memory each.
KEYS_MAX = 100_000
#: Requests of one transaction, and requests that may wait; more are refused as busy.
TOGETHER_MAX, WAITING_MAX = 64, 1_000

Pair = tuple[bytes | None, bytes | None]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


@dataclass(slots=True, eq=False)
class _Request:
    key: bytes
    digest: bytes
    topic: str
    groups: dict[int, list[Pair]]
    headers: Headers
    answer: "asyncio.Future[Published]"


class KeyedPublisher:
    """Of one topology. partition_counts: of its topics, filled before the first call."""

    def __init__(
        self, plan: Plan, settings: Settings, partition_counts: Mapping[str, int], limits: RecordLimits
    ) -> None:
        self._plan, self._settings, self._counts, self._limits = plan, settings, partition_counts, limits
        self._shards: dict[int, _Shard] = {}
        self._turn = self._waiting_count = 0

    @property
    def is_busy(self) -> bool:
        """Whether a further request should come back later."""
        return self._waiting_count >= WAITING_MAX

    def shard_of(self, key: str) -> int:
        """The partition of the topic of keys that decides about a key."""
        return partition_of(key.encode(), self._counts[self._plan.publish_key_topic])

    async def publish(
        self, topic: str, key: str, digest: bytes, records: Sequence[Pair], headers: Headers = ()
    ) -> Published:
        """Append records, each with the headers, unless that was done under the key before.

        digest: of the request, 16 bytes. Raises KeyReused, TooManyKeys; BrokerUnavailable when the outcome is unknown,
        or others want the shard: the same request may come again.
        """
        limit = self._limits.bytes_for(topic)
        if any(len(name or b"") + len(value or b"") > limit for name, value in records):
            raise BrokerUnavailable(f"{topic} takes records of at most {limit} bytes")
        count = self._counts[topic]
        self._turn = (self._turn + 1) % count
        groups: dict[int, list[Pair]] = {}
        for record in records:
            partition = self._turn if record[0] is None else partition_of(record[0], count)
            groups.setdefault(partition, []).append(record)
        number = self.shard_of(key)
        if number not in self._shards:
            self._shards[number] = _Shard(self._plan, self._settings, number)
        answer: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self._shards[number].ask(_Request(key.encode(), digest, topic, groups, headers, answer))
        self._waiting_count += 1
        answer.add_done_callback(self._forget)
        return await answer

    def _forget(self, _answer: "asyncio.Future[Published]") -> None:
        self._waiting_count -= 1

    async def stop(self) -> None:
        """Finish what is on its way (5 s at most), and disconnect."""
        await asyncio.gather(*(shard.stop() for shard in self._shards.values()))


@dataclass
class _Shard:
    plan: Plan
    settings: Settings
    number: int
    _producer: FencedProducer | None = None
    #: Key to (time, answer), oldest first.
    _known: OrderedDict[bytes, tuple[int, bytes]] = field(default_factory=OrderedDict)
    _waiting: list[_Request] = field(default_factory=list)
    _working: "asyncio.Task[None] | None" = None

    def ask(self, request: _Request) -> None:
        self._waiting.append(request)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name=f"publish keys {self.number}")

    async def stop(self) -> None:
        if self._working is not None:
            await asyncio.wait([self._working], timeout=END_S)
            await end(self._working)
        await self._close()

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            try:
                try:
                    await self._decide(taken)
                except Fenced:  # another worker had it meanwhile; what that one did is known once it is opened anew
                    await self._decide(taken)
            except Fenced:
                moved = BrokerUnavailable("other workers decide about this key at this moment: send the request again")
                await self._fail(taken, moved)
            except StreamflowError as error:
                await self._fail(taken, error)
            except BaseException:
                await self._fail(taken, BrokerUnavailable("the publish was interrupted: send the request again"))
                raise

    async def _decide(self, requests: list[_Request]) -> None:
        if self._producer is None or self._producer.is_spent:
            await self._open()
        fresh = self._answer_known(requests)
        if fresh:
            await self._commit(fresh)

    async def _fail(self, requests: list[_Request], error: StreamflowError) -> None:
        for request in requests:
            _refuse(request, error)
        await self._close()

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _open(self) -> None:
        """Fence every other worker, then read what was published within the time."""
        await self._close()
        # No stage is called so, and the ids of tasks are made of its name: see model/names.py.
        shard = f"publish-keys.{self.number}"
        transactional_id = f"sf.{self.settings.application}.{self.plan.topology}.{shard}"
        self._producer = producer = FencedProducer(self.settings, transactional_id)
        await producer.start()
        faults.reach("decision_made")
        self._known.clear()
        since_ms = _now_ms() - self.settings.idempotency_window_ms
        async with CommittedLog(self.settings, self.plan.publish_key_topic, self.number) as kept:
            async for record in kept.records(await kept.offset_at(since_ms)):
                if record.key is not None and record.value is not None:
                    self._keep(record.key, record.timestamp_ms, record.value)
        log.info("keys of publishes, shard %s: %s are known", self.number, len(self._known))

    def _keep(self, key: bytes, time_ms: int, value: bytes) -> None:
        self._known.pop(key, None)
        self._known[key] = time_ms, value

    def _answer_known(self, requests: list[_Request]) -> list[_Request]:
        """Answer what was published before; the others, each key once. A second of one key waits for the first."""
        since_ms = _now_ms() - self.settings.idempotency_window_ms
        while self._known and next(iter(self._known.values()))[0] < since_ms:
            self._known.popitem(last=False)
        fresh: dict[bytes, _Request] = {}
        for request in requests:
            if request.answer.done():
                continue
            known = self._known.get(request.key)
            if known is not None:
                kept = _decode(known[1])
                if kept.digest == request.digest:
                    _tell(request, Published(kept.ends, kept.count, replayed=True, execution=kept.execution))
                else:
                    _refuse(request, KeyReused())
            elif request.key in fresh:
                self._waiting.append(request)
            elif len(self._known) + len(fresh) >= KEYS_MAX:
                _refuse(request, TooManyKeys(KEYS_MAX))
            else:
                fresh[request.key] = request
        return list(fresh.values())

    async def _commit(self, requests: list[_Request]) -> None:
        assert self._producer is not None
        now_ms = _now_ms()
        kept = await self._producer.transact(lambda send: self._fill(send, requests, now_ms))
        for request, each in zip(requests, kept, strict=True):
            self._keep(request.key, now_ms, _encode(each))
            _tell(request, Published(each.ends, each.count, execution=each.execution))

    async def _fill(self, send: Send, requests: list[_Request], now_ms: int) -> list[Kept]:
        sent: list[dict[int, Callable[[], Awaitable[int]]]] = []
        for request in requests:
            ends = {}
            for partition, group in request.groups.items():
                ends[partition] = await send(
                    request.topic, partition, [(*pair, request.headers, now_ms) for pair in group]
                )
            sent.append(ends)
        kept = []
        for request, pending in zip(requests, sent, strict=True):
            count = sum(map(len, request.groups.values()))
            execution = dict(request.headers).get(CORRELATION, b"").decode()
            kept.append(Kept(request.digest, {p: await end() for p, end in pending.items()}, count, execution))
        records: list[Sendable] = [
            (request.key, _encode(each), (), now_ms) for request, each in zip(requests, kept, strict=True)
        ]
        await send(self.plan.publish_key_topic, self.number, records)
        return kept


def _tell(request: _Request, published: Published) -> None:
    if not request.answer.done():  # who asked may have gone
        request.answer.set_result(published)


def _refuse(request: _Request, error: StreamflowError) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _now_ms() -> int:
    return int(time.time() * 1_000)
