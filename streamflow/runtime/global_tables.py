"""Follows the topics of global tables into the memory of this worker.

    catch_up()   everything up to the ends that the topics have then: the gate, before the worker joins the group
    follow()     what comes afterwards, for as long as the worker lives

One consumer for all tables, with manual assignment and outside of the group: every worker reads every partition, from
its start, in read_committed. Nothing is kept on disk. Records are applied between slices of the stream, on one loop.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streamflow.engine.global_table import FollowedTable, GlobalTable
from streamflow.errors import BrokerUnavailable
from streamflow.plan.plan import Plan
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks import drain
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.recovery import STALL_S
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Records applied before the loop gets a turn: some 5 ms.
SLICE = 4_000
_WAIT_S = 0.5


class GlobalTables:
    """The global tables of a worker. `tables` by name; complete once `caught_up`."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        drain.install()
        self.tables = {each.name: GlobalTable(each) for each in plan.global_tables}
        self.caught_up = not self.tables
        self._settings = settings
        self._by_topic = {table.plan.topic: table for table in self.tables.values()}
        self._consumer: AIOKafkaConsumer | None = None
        self._first: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    async def catch_up(self, partition_counts: Mapping[str, int], stop: asyncio.Event) -> None:
        """Read up to the ends of now, or until `stop`. Raises BrokerUnavailable, TableTooLarge."""
        if self.caught_up:
            return
        started = moved = time.monotonic()
        try:
            consumer = await self._start(partition_counts)
            while any(position < self._ends[tp] for tp, position in self._positions.items()):
                if stop.is_set():
                    return
                if await self._take(consumer):
                    moved = time.monotonic()
                elif time.monotonic() - moved > STALL_S:
                    raise BrokerUnavailable(f"nothing came from the global tables for {STALL_S:.0f} s")
        except KafkaError as error:
            raise BrokerUnavailable(f"the global tables cannot be read: {error!r}") from error
        self.caught_up = True
        for name, table in self.tables.items():
            took_s = time.monotonic() - started
            said = "global table %s: %s rows, %s bytes, %.1f s"
            log.info(said, name, len(table.rows), table.size_bytes, took_s, extra={"table": name})

    async def _start(self, partition_counts: Mapping[str, int]) -> AIOKafkaConsumer:
        self._consumer = consumer = AIOKafkaConsumer(
            **connection(self._settings),
            client_rack=self._settings.client_rack or None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=500,
        )
        await consumer.start()
        tps = [TopicPartition(topic, p) for topic in self._by_topic for p in range(partition_counts[topic])]
        consumer.assign(tps)
        self._first = await consumer.beginning_offsets(tps)
        self._ends = await consumer.end_offsets(tps)
        for tp, offset in self._first.items():
            consumer.seek(tp, offset)
        self._positions = dict(self._first)
        return consumer

    async def follow(self) -> None:
        """Apply what comes. Raises BrokerUnavailable, TableTooLarge; returns at once without tables."""
        if self._consumer is None:
            return
        try:
            while True:
                await self._take(self._consumer)
        except KafkaError as error:
            raise BrokerUnavailable(f"the global tables cannot be read: {error!r}") from error

    async def _take(self, consumer: AIOKafkaConsumer) -> bool:
        """Apply what was fetched, waiting a little for it; whether anything was."""
        found = await drain.next_pairs(consumer, _WAIT_S)
        for tp, (pairs, position) in found.items():
            table = self._by_topic[tp.topic]
            bad_before = table.bad_count
            for start in range(0, len(pairs), SLICE):
                table.apply(pairs[start : start + SLICE])
                await asyncio.sleep(0)  # HTTP, heartbeats and tasks get a turn
            self._positions[tp] = position
            if table.bad_count > bad_before:
                count, until = table.bad_count - bad_before, f"{tp.topic}/{tp.partition} before offset {position}"
                name = table.plan.name
                log.warning("global table %s: %s bad records in %s", name, count, until, extra={"table": name})
        return bool(found)

    async def stop(self) -> None:
        """Disconnect."""
        await disconnect(self._consumer)

    def view(self, name: str) -> FollowedTable:
        """A table and how far it is. KeyError when there is none of that name."""
        table = self.tables[name]
        mine = {tp: position for tp, position in self._positions.items() if tp.topic == table.plan.topic}
        lag = sum(max(0, self._end(tp) - position) for tp, position in mine.items())
        done = sum(min(position, self._ends[tp]) - self._first[tp] for tp, position in mine.items())
        total = sum(self._ends[tp] - self._first[tp] for tp in mine)
        ratio = float(self.caught_up) if total == 0 else done / total
        return FollowedTable(table, {tp.partition: position for tp, position in mine.items()}, lag, ratio)

    def _end(self, tp: TopicPartition) -> int:
        """End of a partition as far as it is known."""
        assert self._consumer is not None
        return max(self._ends[tp], self._consumer.last_stable_offset(tp) or 0)
