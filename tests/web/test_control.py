"""Orders over HTTP: what is answered while tasks obey, what is refused, and what a client may say."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from streamflow.web.limits import PublishLimits
from tests.web.workers import LocalControls, StoredWorker, workers

_STATE = "/v1/topologies/t/state"


async def _order(worker: StoredWorker, verb: str, body: Any = None, topology: str = "t") -> httpx.Response:
    async with httpx.AsyncClient(base_url=worker.url, timeout=20) as client:
        return await client.post(f"/v1/topologies/{topology}/{verb}", json=body)


def test_an_order_is_answered_with_who_has_not_obeyed_it() -> None:
    async def act() -> None:
        async with workers(1) as (worker,):
            controls = worker.controls
            assert isinstance(controls, LocalControls)
            asked = await _order(worker, "pause", {"actor": "ann", "reason": "repair"})
            body = asked.json()
            assert (asked.status_code, body["state"], len(body["waiting_for"])) == (202, "running", 4)
            controls.obey()
            again = await _order(worker, "pause", {"actor": "bob"})
            assert (again.status_code, again.json()["version"], again.json()["actor"]) == (200, 1, "ann")
            shown = (await worker.get(_STATE)).json()
            assert (shown["state"], shown["wish"], shown["reason"]) == ("paused", "pause", "repair")
            stale = await _order(worker, "resume", {"version": 0})
            assert (stale.status_code, stale.json()["title"], stale.json()["version"]) == (409, "illegal_move", 1)
            assert (await _order(worker, "resume", {"version": 1})).status_code == 200
            assert (await _order(worker, "stop")).status_code == 202
            controls.obey()
            over = await _order(worker, "pause")
            assert over.status_code == 409
            assert "completed" in over.json()["detail"]
            assert (await _order(worker, "resume")).json()["run"] == 2

    asyncio.run(act())


def test_what_is_no_order_is_refused() -> None:
    async def act() -> None:
        async with workers(1) as (worker,):
            assert (await _order(worker, "pause", topology="nope")).status_code == 404
            for body in (
                {"actor": "x" * 201},
                {"reason": "x" * 2_001},
                {"why": "?"},
                {"actor": "ann\n2026-01-01 INFO forged"},
                {"reason": "\x1b[2J"},
                {"version": "1"},
                {"version": -1},
            ):
                assert (await _order(worker, "pause", body)).status_code == 422, body
            assert (await worker.get(_STATE)).json()["version"] == 0

    asyncio.run(act())


@pytest.mark.parametrize("path", ["/v1/topologies/t/pause", "/v1/topologies/t/approvals/1/decide"])
def test_bodies_that_the_framework_reads_are_bounded_too(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(pause_s: float) -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536
            await asyncio.sleep(pause_s)

    async def main() -> None:
        limits = PublishLimits(body_bytes=1 << 20)
        async with workers(1, limits) as (one,), httpx.AsyncClient(base_url=one.url, timeout=60) as client:
            headers = {"content-type": "application/json"}
            for body in (b" " * (limits.body_bytes + 1), endless(0)):
                large = await client.post(path, content=body, headers=headers)
                assert (large.status_code, large.json()["title"]) == (413, "too_large")
            monkeypatch.setattr("streamflow.web.bodies.BODY_S", 0.2)
            slow = await client.post(path, content=endless(0.1), headers=headers)
            assert (slow.status_code, slow.json()["title"]) == (408, "slow")
            assert slow.headers["content-type"] == "application/problem+json"

    asyncio.run(main())
