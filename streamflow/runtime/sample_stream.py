"""Writes a worker's samples to the metrics topic: one record every interval, packed, and reads them for reports."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streamflow.bus.topics import EVENT_MAX_BYTES, metrics_topic
from streamflow.metrics.performance import Point
from streamflow.runtime.connection import connection
from streamflow.runtime.hooks.ending import disconnect, end
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

#: Points of one sample, and its bytes before it is packed, which is what the producer looks at; further points are left
#: out.
POINTS_MAX, SAMPLE_MAX_BYTES = 5_000, EVENT_MAX_BYTES - 1_024


class SampleStream:
    """A worker's companion. A Kafka that does not answer costs samples, nothing else."""

    def __init__(self, settings: Settings, worker: str, points: Callable[[], list[Point]]) -> None:
        self._settings, self._worker, self._points = settings, worker, points
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run(), name="samples")

    async def stop(self) -> None:
        """End."""
        await end(self._task)

    async def _run(self) -> None:
        interval_s = self._settings.alerts_interval_ms / 1_000
        while True:
            producer = AIOKafkaProducer(
                **connection(self._settings), compression_type="gzip", max_request_size=EVENT_MAX_BYTES
            )
            try:
                await producer.start()
                while True:
                    await producer.send_and_wait(metrics_topic(self._settings), self._sample(), partition=0)
                    await asyncio.sleep(interval_s)
            except (KafkaError, OSError) as error:
                log.warning("samples are not written at the moment: %r", error)
            except Exception:  # a fault of ours must not end the watch for the faults of others
                log.exception("samples are not written at the moment")
            finally:
                await disconnect(producer)
            await asyncio.sleep(interval_s)

    def _sample(self) -> bytes:
        points, at_ms = self._points(), int(time.time() * 1_000)
        # What is computed stands last and is never left out.
        kept = points[-POINTS_MAX:]
        while len(sample := orjson.dumps({"worker": self._worker, "at": at_ms, "points": kept})) > SAMPLE_MAX_BYTES:
            kept = kept[len(kept) // 8 + 1 :]
        if len(kept) < len(points):
            log.warning("a sample has %s points, %s of them are left out", len(points), len(points) - len(kept))
        return sample


def points_in(value: bytes | None, now_ms: int) -> Iterator[tuple[int, str, dict[str, str], float]]:
    """(time in ms, metric, labels with the worker, value) of a record; nothing of one that is no sample.

    A time ahead of the reader's clock is now: else a series would take nothing until then, when a clock was set back.
    """
    try:
        found: dict[str, Any] = orjson.loads(value or b"{}")
        for metric, labels, number in found.get("points", ()):
            if isinstance(number, int | float):
                yield (
                    min(int(found["at"]), now_ms),
                    str(metric),
                    {**labels, "worker": str(found["worker"])},
                    float(number),
                )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("a record of the metrics topic is no sample: %r", error)
