"""Clients of live tables while workers are killed, on a real Kafka."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.system.test_worker import Product
from tests.web.live.mirror import DEADLINE_S, FROM_SERVER, Mirror, following, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str, amount: int}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, key: shop, partitions: 3, idle_after: 60s}}
  by_city: {{kind: key_by, input: sales, key: city}}
  totals:  {{kind: window, input: by_city, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count(), total: sum(amount)}}}}
  visits:  {{kind: window, input: by_city, window: {{type: session, gap: 700ms}}, aggregate: {{n: count()}}}}
  hops:    {{kind: window, input: by_city, window: {{type: sliding, size: 2s}}, aggregate: {{n: count()}}}}
  seen:    {{kind: echo, input: sales, table: seen}}
"""
_TABLES = ("totals", "visits", "seen")
_CITIES = 40


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str) -> Iterator[Product]:
    made = Product(kafka, tmp_path, unique, _TOPOLOGY)
    yield made
    made.kill()


def _sales(first: int, count: int) -> list[dict[str, Any]]:
    """Numbered events; every city has some in every second."""
    return [
        {"time": 10_000 + n * 10, "shop": f"s{n % 7}", "city": f"c{n % _CITIES}", "amount": n}
        for n in range(first, first + count)
    ]


class _Watch:
    """A client of every table, connected to one worker at a time; it takes its tokens along."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self.mirrors = {table: Mirror() for table in _TABLES}
        self._tokens = dict.fromkeys(_TABLES, "")

    async def on(self, number: int, ends: asyncio.Event) -> None:
        """Follow all tables at a worker until its connections end, or `ends` is set."""
        await asyncio.gather(*(self._follow(table, number, ends) for table in _TABLES))

    async def _follow(self, table: str, number: int, ends: asyncio.Event) -> None:
        url, path = (
            f"http://127.0.0.1:{self._product.ports[number]}",
            f"/v1/topologies/{self._product.name}/tables/{table}/live",
        )
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    async with following(url, path, self.mirrors[table], self._tokens[table]) as client:
                        waits = [asyncio.create_task(each.wait()) for each in (ends, client.ended)]
                        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                        for each in waits:
                            each.cancel()
                        self._tokens[table] = client.token or self._tokens[table]
                        return
                except AssertionError:  # 503 while partitions are on their way
                    await asyncio.sleep(0.2)

    async def until_it_is_the_table(self, number: int, token: str) -> None:
        """Until every client has exactly what queries answer that reflect a publish."""
        for table in _TABLES:
            wanted = await asyncio.to_thread(self._rows, table, number, token)
            async with asyncio.timeout(DEADLINE_S):
                while _ordered(self.mirrors[table].rows()) != wanted:
                    await asyncio.sleep(0.1)
                    wanted = await asyncio.to_thread(self._rows, table, number, token)

    def _rows(self, table: str, number: int, token: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            answer = self._product.query(table, number, after=token, limit=1_000, **cursor)
            if answer.status_code == 200:
                rows += answer.json()["rows"]
                if answer.json()["cursor"] is None:
                    return _ordered(rows)
                cursor = {"cursor": answer.json()["cursor"]}


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row.get("start", 0), row["key"]))


class _Socket:
    """A client of a table and the bus over a WebSocket, at one worker at a time; it takes its tokens along."""

    def __init__(self, product: Product, table: str) -> None:
        self._product, self.tokens = product, dict[str, str]()
        self._asked: dict[str, dict[str, Any]] = {
            "a": {"type": "subscribe", "id": "a", "table": table, "window": 2},
            "bus": {"type": "subscribe_events", "id": "bus", "topology": product.name},
        }
        self.mirror, self.events = Mirror(), set[str]()

    async def on(self, number: int) -> None:
        """Follow both at a worker until that ends the connection, in order or not."""
        url = f"ws://127.0.0.1:{self._product.ports[number]}/v1/ws"
        with suppress(ConnectionClosedError):  # 1012, or it was killed: come back, to another worker
            async with connect(url, max_size=None) as socket:
                for name in self._asked:
                    await self._ask(socket, name)
                async for text in socket:
                    await self._take(socket, json.loads(text))

    async def _ask(self, socket: ClientConnection, name: str) -> None:
        resume = {"resume": self.tokens[name]} if name in self.tokens else {}
        await socket.send(json.dumps({**self._asked[name], **resume}))

    async def _take(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        FROM_SERVER.check(message)
        if "token" in message:
            self.tokens[message["id"]] = message["token"]
        if message["type"] in ("snapshot", "delta"):
            self.mirror.apply(message)
            await socket.send(json.dumps({"type": "ack", "id": "a", "number": message["number"]}))
        elif message["type"] == "events":
            self.events.update(event["type"] for event in message["events"])
        elif message["type"] in ("error", "bye"):
            assert message.get("status", 503) == 503, message
            await asyncio.sleep(0.2)  # partitions are on their way
            await self._ask(socket, message["id"])


def _check_refusals(product: Product) -> None:
    path = f"/v1/topologies/{product.name}/tables"
    sliding = product.client().get(f"{path}/hops/live")
    assert (sliding.status_code, sliding.json()["title"]) == (422, "not_live")
    times = product.client().get(f"{path}/visits/live", params={"from": "0"})
    assert (times.status_code, times.json()["title"]) == (422, "bad_parameter")


def test_clients_have_the_table_after_workers_were_killed(product: Product) -> None:
    """One client stays at worker 0, which loses its neighbour; one is at worker 1, which is killed, and goes to worker 0.
    A WebSocket each does the same."""
    product.launch(1)
    product.start(0)
    product.wait_ready(1)
    _check_refusals(product)
    token = product.publish(_sales(0, 400))["token"]

    async def main() -> None:
        stays, moves, ends, never = _Watch(product), _Watch(product), asyncio.Event(), asyncio.Event()
        beside, goes = _Socket(product, "totals"), _Socket(product, "totals")
        socket, going = asyncio.create_task(beside.on(0)), asyncio.create_task(goes.on(1))
        staying, moving = asyncio.create_task(stays.on(0, ends)), asyncio.create_task(moves.on(1, never))
        for watch, number in ((stays, 0), (moves, 1)):
            await watch.until_it_is_the_table(number, token)
        await until(lambda: _ordered(goes.mirror.rows()) == _ordered(stays.mirrors["totals"].rows()))
        metrics = (await asyncio.to_thread(product.client(0).get, "/metrics")).text
        assert f'streamflow_live_clients{{topology="{product.name}"}} 4.0' in metrics
        before = [await asyncio.to_thread(product.publish, _sales(first, 50)) for first in range(400, 800, 50)]
        await asyncio.to_thread(product.stop, 1, signal.SIGKILL)
        await asyncio.gather(moving, going)
        assert "a" in goes.tokens
        after = [await asyncio.to_thread(product.publish, _sales(first, 50)) for first in range(800, 1_200, 50)]
        moving, going = asyncio.create_task(moves.on(0, ends)), asyncio.create_task(goes.on(0))
        assert sum(each["accepted"] for each in [*before, *after]) == 800
        for watch in (stays, moves):
            await watch.until_it_is_the_table(0, after[-1]["token"])
            counts = [row["value"]["n"] for row in watch.mirrors["totals"].rows()]
            assert sum(counts) == 1_200, "every event once"
        await until(lambda: "PARTITION_ASSIGNED" in beside.events)  # those of the worker that was killed
        await until(lambda: _ordered(beside.mirror.rows()) == _ordered(stays.mirrors["totals"].rows()))
        await until(lambda: _ordered(goes.mirror.rows()) == _ordered(stays.mirrors["totals"].rows()))
        resets = {table: mirror.reset_count for table, mirror in stays.mirrors.items()}
        assert all(3 <= count <= 6 for count in resets.values()), f"what worker 0 has was never read anew: {resets}"
        await asyncio.to_thread(product.stop, 0)  # ends every stream in order
        await asyncio.gather(staying, moving, socket, going)

    asyncio.run(main())
