"""Refused requests are on the bus: who, what, how often; a flood makes few events."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamflow.bus.log import QueuedEvents
from streamflow.web.limits import PublishLimits
from streamflow.web.refused_requests import MAX_KINDS, RefusedRequests
from tests.web.test_access import Keys
from tests.web.workers import StoredWorker, workers


def _refusals(log: object) -> list[dict[str, Any]]:
    assert isinstance(log, QueuedEvents)
    return [event.data for event in log.take(10_000) if event.type == "REQUEST_REFUSED"]


def test_too_many_publishes_are_told_of_once_and_then_summed_up() -> None:
    async def act(one: StoredWorker) -> None:
        sales = ",".join(['{"time": 1, "shop": "a", "amount": 1}'] * 900)
        answers = [(await one.post(f"[{sales}]")).status_code for _ in range(5)]
        assert answers == [200, 429, 429, 429, 429]
        refused = {"worker": one.url, "status": 429, "operation": "publish", "client": "127.0.0.1"}
        assert _refusals(one.events) == [{**refused, "count": 1}]
        one.app.state.refused.flush()
        assert _refusals(one.events) == [{**refused, "count": 3}]

    async def main() -> None:
        async with workers(1, PublishLimits(events_per_s=1)) as (one,):
            await act(one)

    asyncio.run(main())


def test_clients_beyond_the_bound_are_told_as_one() -> None:
    async def main() -> None:
        log = QueuedEvents("w")
        refused = RefusedRequests(log, "t", "w")
        for number in range(MAX_KINDS + 500):
            refused.add(401, "publish", f"client-{number}")
        refused.flush()
        told = _refusals(log)
        assert len(told) == MAX_KINDS + 1
        assert sum(each["count"] for each in told) == MAX_KINDS + 500
        refused.flush()
        assert _refusals(log) == []

    asyncio.run(main())


def test_handshakes_are_told_too_and_nothing_that_a_stranger_makes_up(tmp_path: Path) -> None:
    keys = Keys(tmp_path, viewer="viewer")

    async def main() -> None:
        async with workers(1, access=keys.access) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            with pytest.raises(InvalidStatus):
                await connect(one.url.replace("http", "ws") + "/v1/ws")
            for method, status in (("GET", 401), ("PROPFIND", 401), ("FORGED", 400), ("X" * 5_000, 400)):
                assert (await client.request(method, "/v1/topologies")).status_code == status
            told = [(each["operation"], each["status"]) for each in _refusals(one.events)]
            assert told == [("WEBSOCKET", 401), ("GET", 401), ("other", 401)]

    asyncio.run(main())
