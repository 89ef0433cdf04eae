"""/v1/performance: how the workers have been doing, from the metrics stream, read anew for each question."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import Query, Response

from streamflow.alerts.report import COMBINED, STALE_INTERVALS, report, summary
from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.nodes.kind import DurationMs
from streamflow.web.event_status import FollowedStatus
from streamflow.web.events import feed_of
from streamflow.web.ports import SampleReader, Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable
from streamflow.web.routes import Routes

#: How long a question waits for its turn and for the samples.
WAIT_S = 30.0
_MINUTE_MS, _WINDOW_MAX_MS = 60_000, 3_600_000
_Window = Annotated[DurationMs, Query(ge=_MINUTE_MS, le=_WINDOW_MAX_MS, description="how far back, 1h at most")]
_Topology = Annotated[str | None, Query(max_length=64, description="of this topology; of all when left out")]


def performance_routes(service: Service, status: FollowedStatus) -> Routes:
    """Routes of the summary and the report."""
    router = Routes(tags=["look"])
    reading = asyncio.Lock()  # one report at a time: each takes memory for its window

    def reader() -> SampleReader:
        if service.samples is None:
            raise Refusal(404, "alerts_off", "nobody measures: set STREAMFLOW_ALERTS=true on the workers")
        return service.samples

    async def measured(window_ms: int, now_ms: int, topology: str | None) -> tuple[dict[str, Any], bool]:
        """The summary, and whether anybody measures still."""
        samples, labels = reader(), {} if topology is None else {"topology": topology}
        stale_ms = STALE_INTERVALS * samples.interval_ms
        try:
            async with asyncio.timeout(WAIT_S), reading:
                known = await samples.read(COMBINED, now_ms - window_ms - stale_ms, now_ms)
                # in a thread: an hour of 20 workers takes 20 ms and more, in which no event would be worked on
                found = await asyncio.to_thread(summary, known, now_ms, window_ms, samples.interval_ms, labels)
        except TimeoutError as error:
            detail = f"{WAIT_S:.0f} s were not enough for the samples of {window_ms} ms: ask for less, or later"
            raise Refusal(503, "reading", detail, retry_after_s=1) from error
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        return found, known.last_ms > now_ms - stale_ms

    @router.get("/v1/performance", operation_id="summarize_performance")
    async def summarize_performance(window: _Window = 10 * _MINUTE_MS, topology: _Topology = None) -> Response:
        """avg, min, max, current, data_points and trend of what is computed of all workers (docs/alerts.md)."""
        now_ms = int(time.time() * 1_000)
        found, _ = await measured(window, now_ms, topology)
        return JsonResponse({"window_ms": window, "metrics": found})

    @router.get("/v1/performance/report", operation_id="report_performance")
    async def report_performance(window: _Window = 30 * _MINUTE_MS, topology: _Topology = None) -> Response:
        """The summary with the alerts of that time, and what to do about it."""
        now_ms = int(time.time() * 1_000)
        found, is_active = await measured(window, now_ms, topology)
        try:
            alerts = (await status.table(feed_of(service))).alerts
        except (BrokerUnavailable, TopicError) as error:
            raise broker_unavailable(error) from error
        told = [each for group in (alerts.cleared, alerts.open) for each in group.values()]
        told = [each for each in told if topology in (None, each.topology)]
        return JsonResponse(report(found, is_active, told, now_ms, window))

    return router
