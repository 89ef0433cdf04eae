"""Publishes records for HTTP: acknowledged by all in-sync replicas, in one batch per partition and round trip."""

import asyncio
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streamflow.errors import BrokerUnavailable
from streamflow.model.outcome import CORRELATION, Headers
from streamflow.model.partitioner import partition_of
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect
from streamflow.runtime.lane import Lane, Pair, Record
from streamflow.settings.settings import Settings

#: Requests that may be on their way at once; more are refused as busy.
MAX_IN_FLIGHT = 256


class Publisher:
    """One idempotent producer per worker process."""

    def __init__(self, settings: Settings) -> None:
        self._producer = AIOKafkaProducer(
            **connection(settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=1 << 20,
            max_request_size=8 << 20,
            retry_backoff_ms=20,
        )
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._in_flight = 0
        self._turn = 0

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable."""
        try:
            await self._producer.start()
        except KafkaError as error:
            raise BrokerUnavailable(f"the publisher cannot connect: {error!r}") from error

    async def stop(self) -> None:
        """Send what waits and close."""
        await disconnect(self._producer)

    @property
    def is_busy(self) -> bool:
        """Whether a further request should come back later."""
        return self._in_flight >= MAX_IN_FLIGHT

    async def publish(
        self,
        topic: str,
        records: Sequence[Pair],
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        each: Sequence[Headers] = (),
    ) -> dict[int, int]:
        """Append (key, value) records, each with the headers; gives the next offset per partition once all replicas
        have them. each: further headers of each record. Records that belong to an execution go in a batch each.

        Records go to the partition that is named, else to that of their key; those without one to one partition per
        call, in turn. Raises BrokerUnavailable.
        """
        self._in_flight += 1
        try:
            partitions = await self._producer.partitions_for(topic)
            own = [[*headers, *more] for more in each] if each else [list(headers)] * len(records)
            told = [(*record, more) for record, more in zip(records, own, strict=True)]
            return await self._send(
                topic,
                told,
                len(partitions),
                partition,
                alone=bool(each) or any(name == CORRELATION for name, _ in headers),
            )
        except KafkaError as error:
            raise BrokerUnavailable(f"{topic} does not take records: {error!r}") from error
        finally:
            self._in_flight -= 1

    async def _send(
        self, topic: str, records: list[Record], count: int, named: int | None, *, alone: bool
    ) -> dict[int, int]:
        self._turn = (self._turn + 1) % count
        groups: dict[int, list[Record]] = {}
        for record in records:
            of_key = self._turn if record[0] is None else partition_of(record[0], count)
            partition = of_key if named is None else named
            groups.setdefault(partition, []).append(record)
        now_ms = int(time.time() * 1_000)
        appends = [self._lane(topic, each).append(now_ms, group, alone=alone) for each, group in groups.items()]
        ends = await asyncio.gather(*appends, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return dict(zip(groups, ends, strict=True))  # type: ignore[arg-type]

    def _lane(self, topic: str, partition: int) -> Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(self._producer, topic, partition)
        return lane
