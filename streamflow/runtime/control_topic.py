"""The control topic of a topology: read whole before a worker joins the group, followed afterwards, and written to.

    start()      everything up to the end that the topic has then: the gate
    follow()     what comes afterwards, for as long as the worker lives
    caught_up()  waits for what is written by now: a task that moves here must not run on an order that is outdated
    order()      appends an order that follows from the one before it
    cancel()     appends that an execution is cancelled
    obey()       appends a task's word that it has obeyed

Orders have one writer at a time, in whatever process: a transactional producer of one id. Initialising it fences all
others, then the topic is read to its end, then the order is appended. Whoever was faster has fenced us, or has written
before we read, so no order is ever based on an outdated one. The topic tells whether an order whose commit failed was
written. Words of tasks have a key of their own and need no fence.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.bus.cancellations import Cancellation, Cancellations
from streamflow.bus.control import ORDER_KEY, Control, Obeyed, Order, Wish, task_key
from streamflow.bus.event_types import EventType
from streamflow.bus.log import NO_EVENTS, EventLog
from streamflow.bus.states import State, way
from streamflow.errors import BrokerUnavailable
from streamflow.plan.plan import Plan, Stage
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks import drain
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.recovery import STALL_S
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

_WAIT_S = 0.5
#: Attempts at an order, and the pause after the first: others may be giving some at the same time.
_ATTEMPTS, _BACKOFF_S = 6, 0.2

Place = tuple[str, int]


class ControlTopic:
    """One per worker. `control` is the topic's content; listeners are called after it has changed."""

    def __init__(self, plan: Plan, settings: Settings, worker: str, events: EventLog = NO_EVENTS) -> None:
        drain.install()
        self.control = Control(plan.identity, {})
        self.cancelled = Cancellations()
        self.listeners: list[Callable[[], None]] = []
        self._plan, self._settings, self._worker, self._events = plan, settings, worker, events
        self._is_live = False
        self._place = TopicPartition(plan.control_topic, 0)
        self._consumer: AIOKafkaConsumer | None = None
        self._words: AIOKafkaProducer | None = None
        self._position = 0
        self._moved = asyncio.Condition()
        self._ordering, self._speaking = asyncio.Lock(), asyncio.Lock()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def start(self, partition_counts: Mapping[str, int]) -> None:
        """Read up to the end of now. Raises BrokerUnavailable."""
        tasks = {stage.name: partition_counts[stage.input_topics[0]] for stage in self._plan.stages}
        self.control = Control(self._plan.identity, tasks)
        self._consumer = consumer = AIOKafkaConsumer(
            **connection(self._settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
        )
        try:
            await consumer.start()
            consumer.assign([self._place])
            self._position = (await consumer.beginning_offsets([self._place]))[self._place]
            consumer.seek(self._place, self._position)
            end = (await consumer.end_offsets([self._place]))[self._place]
            moved = time.monotonic()
            while self._position < end:
                if await self._take(consumer):
                    moved = time.monotonic()
                elif time.monotonic() - moved > STALL_S:
                    raise BrokerUnavailable(f"nothing came from {self._place.topic} for {STALL_S:.0f} s")
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} cannot be read: {error!r}") from error

    async def follow(self) -> None:
        """Apply what comes. Raises BrokerUnavailable."""
        assert self._consumer is not None
        self._is_live = True
        try:
            while True:
                await self._take(self._consumer)
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} cannot be read: {error!r}") from error

    async def _take(self, consumer: AIOKafkaConsumer) -> bool:
        found = await drain.next_pairs(consumer, _WAIT_S)
        for pairs, position in found.values():
            for key, value in pairs:
                if self.cancelled.apply(key, value):
                    continue
                before, stages = self.control.state, self.control.stage_states()
                if not self.control.apply(key, value):
                    log.warning("%s before offset %s: a record of somebody else", self._place.topic, position)
                elif self._is_live and self.control.author(key) == self._worker:
                    self._tell(before, stages)
            self._position = position
        if found:
            async with self._moved:
                self._moved.notify_all()
            for listener in self.listeners:
                listener()
        return bool(found)

    def _tell(self, before: State, stages: Mapping[str, State]) -> None:
        """Say on the bus what nodes and topology became: whoever wrote the record that made it so."""
        order, now, topology = self.control.order, self.control.stage_states(), self._plan.topology
        for stage in self._plan.stages:
            old, new = stages[stage.name], now[stage.name]
            if old is new:
                continue
            for node in (*stage.sources, *_names(stage)):
                said = {"old": "" if old.is_final else old, "new": new, "reason": order.reason, "stage": stage.name}
                moves = {"path": list(way(f"node {node}", old, new)), "worker": self._worker}
                self._events.emit(
                    EventType.NODE_STATE_CHANGED, f"{topology}/{node}", {**said, **moves}, actor=order.actor
                )
        if self.control.state is not before:
            changed = {"old": before, "new": self.control.state, "reason": order.reason}
            self._events.emit(EventType.TOPOLOGY_STATE_CHANGED, topology, changed, actor=order.actor)

    async def caught_up(self) -> None:
        """Wait until everything that is written by now is applied. Raises BrokerUnavailable."""
        assert self._consumer is not None
        try:
            end = (await self._consumer.end_offsets([self._place]))[self._place]
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} cannot be read: {error!r}") from error
        await self._until(lambda: self._position >= end)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with self._moved:
            await self._moved.wait_for(condition)

    async def obeyed(self, version: int, timeout_s: float) -> bool:
        """Wait until every task has obeyed an order, or a later one has come; whether that was so in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(lambda: self.control.order.version != version or not self.control.waiting_for())
        except TimeoutError:
            return False
        return True

    async def ends(self, places: list[Place], *, committed: bool = True) -> dict[Place, int]:
        """Ends of partitions; not committed: of all records, also of open transactions. Raises BrokerUnavailable."""
        assert self._consumer is not None
        consumer = self._consumer
        try:
            if not committed:
                consumer = AIOKafkaConsumer(**connection(self._settings))
                await consumer.start()
            found = await consumer.end_offsets([TopicPartition(*place) for place in places])
        except KafkaError as error:
            raise BrokerUnavailable(f"the ends of inputs cannot be read: {error!r}") from error
        finally:
            if consumer is not self._consumer:
                await disconnect(consumer)
        return {(tp.topic, tp.partition): end for tp, end in found.items()}

    # -- writing ------------------------------------------------------------------------------------------------------

    async def order(self, wish: Wish, actor: str, reason: str, version: int | None = None) -> Order:
        """Append the order, if it is not given already; the order that holds then. Everything is read up to it.

        version: that of the order it is based on, if that matters. Raises IllegalMove, BrokerUnavailable.
        """
        tried: list[Order] = []
        async with self._ordering:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return await self._order(wish, actor, reason, version, tried)
                except KafkaError as error:  # fenced, or the outcome is unknown: the topic tells
                    log.info("order to %s, attempt %s: %r", self._plan.identity, attempt, error)
                    if attempt == _ATTEMPTS:
                        raise BrokerUnavailable(f"{self._place.topic} does not take the order: {error!r}") from error
                    await asyncio.sleep(_BACKOFF_S * attempt)
        raise AssertionError("unreachable")

    async def _order(self, wish: Wish, actor: str, reason: str, version: int | None, tried: list[Order]) -> Order:
        """One attempt; `tried` has what earlier ones may have written."""
        producer = AIOKafkaProducer(
            **connection(self._settings),
            transactional_id=f"sf.{self._settings.application}.{self._plan.identity}.control",
            transaction_timeout_ms=10_000,
            retry_backoff_ms=10,
        )
        try:
            await producer.start()
            await self.caught_up()
            if self.control.order in tried:
                return self.control.order
            order = self.control.next_order(wish, actor, reason, int(time.time() * 1_000), version, self._worker)
            if order is None:
                return self.control.order
            tried.append(order)
            await producer.begin_transaction()
            # The send is awaited: aiokafka commits without a record that could not be sent.
            await producer.send_and_wait(self._place.topic, msgspec.json.encode(order), key=ORDER_KEY, partition=0)
            await producer.commit_transaction()
        finally:
            await disconnect(producer)
        await self.caught_up()
        log.info("order %s: %s by %s: %s", order.version, order.wish, order.actor or "unknown", order.reason)
        return order

    async def cancel(self, execution: bytes, actor: str, reason: str) -> None:
        """Cancel one execution; all workers hear of it. Twice does no harm. Raises BrokerUnavailable."""
        cancelled = Cancellation(actor, reason, int(time.time() * 1_000))
        try:
            words = await self._producer_of_words()
            for key, value in self.cancelled.records(execution, cancelled):
                await words.send_and_wait(self._place.topic, value, key=key, partition=0)
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} does not take the order: {error!r}") from error

    async def obey(self, stage: str, partition: int, version: int, committed: str) -> None:
        """Append a task's word. committed: digest of what it has committed. Raises BrokerUnavailable."""
        try:
            words = await self._producer_of_words()
            word = Obeyed(version, self._worker, int(time.time() * 1_000), committed)
            await words.send_and_wait(
                self._place.topic, msgspec.json.encode(word), key=task_key(stage, partition), partition=0
            )
        except KafkaError as error:
            raise BrokerUnavailable(f"{self._place.topic} does not take words: {error!r}") from error

    async def _producer_of_words(self) -> AIOKafkaProducer:
        """Connected when the first word is given: most workers never get an order."""
        async with self._speaking:
            if self._words is None:
                words = AIOKafkaProducer(**connection(self._settings), enable_idempotence=True, acks="all")
                await words.start()
                self._words = words
            return self._words

    async def stop(self) -> None:
        """Disconnect."""
        await disconnect(self._words, self._consumer)


def _names(stage: Stage) -> tuple[str, ...]:
    return tuple(node.name for node in stage.nodes)
