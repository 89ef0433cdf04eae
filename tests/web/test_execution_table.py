"""Executions over HTTP: what real tasks say on the bus, in pages of it, filtered and read on."""

import asyncio
from typing import Any

import httpx
import orjson
from typer.testing import CliRunner

from streamflow.bus.detail import Detail
from streamflow.bus.executions import ExecutionTable
from streamflow.bus.log import QueuedEvents
from streamflow.cli.main import app
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import EVENTS, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.web.event_feed import PARTITIONS, MemoryFeed
from tests.web.workers import LocalControls, workers

_PLAN = make_plan(
    parse_topology(
        """
        topology: shop
        schemas: {Sale: {time: timestamp, id: str, shop: str, amount: int}}
        nodes:
          sales: {kind: source, topic: in, schema: Sale, event_time: time, key: shop, execution_id: id}
          share: {kind: map, input: sales, set: {part: 100 / amount}}
          out:   {kind: sink, input: share, topic: out}
        """
    )
)


def _told(numbers: range) -> list[dict[str, Any]]:
    """Events of executions `a/0`, `a/1`, …; every third of them fails. Shops are s0 and s1."""
    driver = Driver(_PLAN, events=Detail.LIFECYCLE)
    sales = [{"time": n, "id": f"a/{n}", "shop": f"s{n % 2}", "amount": n % 3} for n in numbers]
    driver.publish("in", sales)
    driver.run()
    return [orjson.loads(record.value or b"") for record in driver.records(EVENTS)]


def _add(feed: MemoryFeed, events: list[dict[str, Any]]) -> None:
    for event in events:
        partition = len(event["partitionkey"]) % PARTITIONS
        second = event["data"].get("execution", "/0").partition("/")[2]
        feed.add(0, partition, **{**event, "time": f"2026-01-01T00:{int(second) // 60:02}:{int(second) % 60:02}.000Z"})


def test_they_are_listed_newest_first_filtered_in_pages_and_read_on() -> None:
    asyncio.run(_look())


async def _look() -> None:
    async with workers(1) as (worker,), httpx.AsyncClient(base_url=worker.url, timeout=60) as client:
        feed = worker.feed
        assert isinstance(feed, MemoryFeed)
        _add(feed, _told(range(90)))
        whole = ExecutionTable()
        for log in feed.logs.values():
            for event in log:
                whole.add(event)

        async def ids(**parameters: Any) -> list[str]:
            found, cursor = [], None
            while True:
                more: dict[str, Any] = {"cursor": cursor} if cursor else {}
                answer = (await client.get("/v1/executions", params={**parameters, **more})).json()
                found += [row["id"] for row in answer["executions"]]
                cursor = answer["cursor"]
                if cursor is None:
                    return found

        newest = [f"a/{n}" for n in reversed(range(90))]
        assert await ids() == await ids(limit=7) == newest
        assert await ids(state="failed") == newest[2::3]
        assert await ids(key="s1", topology="shop", limit=20) == newest[::2]
        assert await ids(topology="other") == await ids(state="paused") == []
        span = {"since": "2026-01-01T00:00:10Z", "until": "2026-01-01T00:00:13"}
        assert await ids(**span) == ["a/12", "a/11", "a/10"]
        for name in ("a/3", "a/4"):
            answer = await client.get(f"/v1/executions/{name}")
            assert answer.json() == orjson.loads(whole.encode())["rows"][name]
        _add(feed, _told(range(90, 92)))
        assert (await ids(limit=2))[:2] == ["a/91", "a/90"]
        missing = await client.get("/v1/executions/a/1000")
        assert (missing.status_code, missing.json()["title"]) == (404, "unknown_execution")
        early = await client.get("/v1/executions", params={"since": "0001-01-01T00:00:00+14:00"})
        assert (early.status_code, early.json()["title"]) == (422, "bad_parameter")


def test_one_that_runs_is_cancelled_once_and_one_that_ended_is_left() -> None:
    asyncio.run(_cancel())


async def _cancel() -> None:
    async with workers(1, plan=_PLAN) as (worker,), httpx.AsyncClient(base_url=worker.url, timeout=60) as client:
        feed, controls = worker.feed, worker.controls
        assert isinstance(feed, MemoryFeed)
        assert isinstance(controls, LocalControls)
        told = _told(range(3))
        _add(feed, [event for event in told if event["data"].get("execution") == "a/1"])
        _add(feed, [e for e in told if e["data"].get("execution") == "a/2" and e["type"] == "EXECUTION_STARTED"])
        ended = await client.post("/v1/executions/a/1/cancel")
        assert (ended.status_code, ended.json()["state"]) == (200, "completed")
        assert not controls.cancelled
        for _ in range(2):
            asked = await client.post("/v1/executions/a/2/cancel", json={"actor": "ann", "reason": "twice"})
            assert (asked.status_code, asked.json()) == (202, {"id": "a/2", "state": "running"})
        assert controls.cancelled.reason_of(b"a/2") == "twice"
        command = ["executions", "cancel", "a/2", "--actor", "ann", "--reason", "twice", "--wait-s", "0"]
        typed = await asyncio.to_thread(CliRunner().invoke, app, [*command, "--url", worker.url])
        assert (typed.exit_code, typed.stdout.strip()) == (0, "a/2 is running")
        said = [event for event in worker.events.take(10) if event.type == "EXECUTION_CANCELLED"]  # type: ignore[attr-defined]
        assert {(event.actor, event.data["reason"]) for event in said} == {("ann", "twice")}
        assert (await client.post("/v1/executions/none/cancel")).status_code == 404
        worker.events = QueuedEvents("w", max_events=0)  # who did it would not be in the log
        untold = await client.post("/v1/executions/a/2/cancel")
        assert (untold.status_code, untold.json()["title"]) == (503, "busy")


def test_one_of_another_topology_is_not_cancelled_here() -> None:
    asyncio.run(_cancel_elsewhere())


async def _cancel_elsewhere() -> None:
    """The bus is that of all topologies, the orders are of one."""
    async with workers(1) as (worker,), httpx.AsyncClient(base_url=worker.url, timeout=60) as client:
        feed, controls = worker.feed, worker.controls
        assert isinstance(feed, MemoryFeed)
        assert isinstance(controls, LocalControls)
        _add(feed, [event for event in _told(range(3)) if event["type"] == "EXECUTION_STARTED"])
        refused = await client.post("/v1/executions/a/2/cancel")
        assert (refused.status_code, refused.json()["title"]) == (409, "other_topology")
        assert "'shop'" in refused.json()["detail"]
        assert not controls.cancelled
