"""Reads the metrics topic for one report; nothing is kept in between."""

import asyncio
from collections.abc import Collection

from streamflow.alerts.series import History
from streamflow.bus.topics import metrics_topic
from streamflow.runtime.committed_log import CommittedLog
from streamflow.runtime.sample_stream import points_in
from streamflow.settings.settings import Settings

#: Samples that are decoded at once, in a thread: some 0.3 ms each.
_TOGETHER = 50


class SampleHistory:
    """Of one namespace. interval_ms: between two samples of a worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.interval_ms = settings, settings.alerts_interval_ms

    async def read(self, metrics: Collection[str], since_ms: int, now_ms: int) -> History:
        """Series of these metrics from a time on. Raises BrokerUnavailable."""
        history = History(metrics, now_ms - since_ms)

        def take(values: list[bytes | None]) -> None:
            for value in values:
                for at_ms, metric, labels, number in points_in(value, now_ms):
                    history.add(at_ms, metric, labels, number)

        waiting: list[bytes | None] = []
        async with CommittedLog(self._settings, metrics_topic(self._settings)) as log:
            async for record in log.records(await log.offset_at(since_ms)):
                waiting.append(record.value)
                if len(waiting) == _TOGETHER:
                    await asyncio.to_thread(take, waiting)
                    waiting = []
        await asyncio.to_thread(take, waiting)
        return history
