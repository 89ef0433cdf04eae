"""Orders over HTTP: what is answered while tasks obey, what is refused, and what a client may say."""

import asyncio
from typing import Any

import httpx

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
                {"version": "1"},
                {"version": -1},
            ):
                assert (await _order(worker, "pause", body)).status_code == 422, body
            assert (await worker.get(_STATE)).json()["version"] == 0

    asyncio.run(act())
