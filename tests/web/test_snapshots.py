"""Snapshots over HTTP: what is answered, and what is refused."""

import asyncio
from typing import Any

import httpx

from tests.web.workers import KeptStates, StoredWorker, workers

_PATH = "/v1/topologies/t/snapshots"


async def _post(worker: StoredWorker, path: str, body: Any = None) -> httpx.Response:
    async with httpx.AsyncClient(base_url=worker.url, timeout=20) as client:
        return await client.post(path, json=body)


def test_snapshots_are_taken_listed_and_restored() -> None:
    async def act() -> None:
        async with workers(1) as (worker,):
            kept = worker.snapshots
            assert isinstance(kept, KeptStates)
            early = await _post(worker, _PATH)
            assert (early.status_code, early.json()["title"]) == (409, "illegal_move")
            kept.stands = True
            assert (await _post(worker, _PATH)).status_code == 201
            assert [each["id"] for each in (await worker.get(_PATH)).json()["snapshots"]] == ["0"]
            again = await _post(worker, f"{_PATH}/0/restore", {"into": "r"})
            assert (again.status_code, again.json()["run"]) == (201, "r")
            for path, body, status in (
                (f"{_PATH}/0/restore", {"into": "r"}, 409),
                (f"{_PATH}/1/restore", {"into": "s"}, 409),
                (f"{_PATH}/0/restore", {"into": "R R"}, 422),
                (f"{_PATH}/0/restore", {}, 422),
                (_PATH.replace("/t/", "/other/"), None, 404),
            ):
                assert (await _post(worker, path, body)).status_code == status, path

    asyncio.run(act())
