"""How large a record each topic takes, and when a record is too large for good.

A limit (max.message.bytes) may change while the worker runs, by hand or by mistake, perhaps for a moment only. A result
is put aside as `too_large` only by a limit that was read twice, ten seconds apart, and was the same: until then its
checkpoint waits. So a limit that is lowered and soon raised again costs time, never results.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from streamflow.plan.topics import RECORD_MAX_BYTES

#: How long a limit must have stood before a record becomes a dead letter by it, and how long that holds.
STOOD_S = 10.0
_LOOK_S = 0.5
#: Room for the framing of records and batches.
FRAMING_BYTES = 512
BATCH_MAX_BYTES = 1 << 20


class RecordLimits:
    """Limits of the topics of a plan, shared by all tasks of a worker.

    read: max.message.bytes per topic, as Kafka says now; raises BrokerUnavailable.
    """

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, int]]], stood_s: float = STOOD_S) -> None:
        self._read, self._stood_s = read, stood_s
        self._limits: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}

    async def read(self) -> None:
        """Ask Kafka. A limit that has changed begins to stand anew."""
        now = time.monotonic()
        for topic, limit in (await self._read()).items():
            if self._limits.get(topic) != limit:
                self._limits[topic], self._since[topic] = limit, now
                self._confirmed.pop(topic, None)

    def bytes_for(self, topic: str) -> int:
        """Largest key, value and headers of a record together."""
        return self._limits.get(topic, RECORD_MAX_BYTES) - FRAMING_BYTES

    @property
    def batch_bytes(self) -> int:
        """Largest batch that every topic takes, at least 1: a batch always holds its first record."""
        return max(1, min([BATCH_MAX_BYTES, *self._limits.values()]) - FRAMING_BYTES)

    def is_final(self, topic: str) -> bool:
        """Whether what exceeds the topic's limit now is too large for good."""
        confirmed = self._confirmed.get(topic)
        return confirmed is not None and time.monotonic() - confirmed < self._stood_s

    async def settle(self, topic: str, size_bytes: int) -> None:
        """Wait until the topic takes a record of this size, or its limit is final: 10 s after its last change."""
        while True:
            await self.read()
            if size_bytes <= self.bytes_for(topic):
                return
            if time.monotonic() - self._since.get(topic, 0.0) >= self._stood_s:
                self._confirmed[topic] = time.monotonic()
                return
            await asyncio.sleep(_LOOK_S)
