"""Snapshots over HTTP: what is answered, and what is refused."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from streamflow.bus.control import Wish
from streamflow.cli.main import app
from tests.web.workers import KeptStates, LocalControls, StoredWorker, workers

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
                (f"{_PATH}/%2E%2E/restore", {"into": "s"}, 422),
                (f"{_PATH}/a%00/restore", {"into": "s"}, 422),
                (f"{_PATH}/0/restore", {"into": "R R"}, 422),
                (f"{_PATH}/0/restore", {}, 422),
                (_PATH.replace("/t/", "/other/"), None, 404),
            ):
                assert (await _post(worker, path, body)).status_code == status, path

    asyncio.run(act())


@pytest.mark.parametrize("wish", ["run", "pause"])
@pytest.mark.parametrize("stands", [True, False])
def test_a_topology_that_was_paused_for_a_snapshot_goes_on_and_no_other(wish: str, stands: bool) -> None:
    """Also when none could be taken; and nothing but the snapshot is told to programs."""

    async def act() -> None:
        async with workers(1) as (worker,):
            controls = worker.controls
            assert isinstance(controls, LocalControls)
            assert isinstance(worker.snapshots, KeptStates)
            worker.snapshots.stands = stands
            await controls.order(Wish(wish), "somebody", "", None)
            obeying = asyncio.create_task(_obey(controls))
            done = await asyncio.to_thread(
                CliRunner().invoke, app, ["snapshots", "take", "t", "--pause", "--json", "--url", worker.url]
            )
            obeying.cancel()
            assert (done.exit_code == 0) is stands, done.output
            if stands:
                assert json.loads(done.stdout)["id"] == "0"
            standing = controls.standing()
            assert (standing["wish"], standing["version"]) == ((wish, 2) if wish == "run" else (wish, 1))

    asyncio.run(act())


async def _obey(controls: LocalControls) -> None:
    while True:
        await asyncio.sleep(0.01)
        controls.obey()
