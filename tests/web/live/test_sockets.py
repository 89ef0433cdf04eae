"""The WebSocket with a real client: the same tables as over server-sent events, and its own manners."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamflow.bus.feed import encode_cursor
from streamflow.web.live import sockets
from streamflow.web.live.hub import LiveLimits
from tests.web.event_feed import MemoryFeed
from tests.web.live.mirror import DEADLINE_S, FROM_CLIENT, FROM_SERVER, Mirror, until
from tests.web.live.test_live import answered, is_at, sorted_rows
from tests.web.test_access import Keys
from tests.web.workers import PARTITIONS, StoredWorker, keys_of, workers


class Client:
    """Mirrors of its subscriptions by id; `said`: everything else that came."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.mirrors: dict[str, Mirror] = {}
        self.numbers: dict[str, list[int]] = {}
        self.tokens: dict[str, str] = {}
        self.events: list[str] = []
        self.said: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.is_understood = True
        self._moved = asyncio.Event()

    async def say(self, **message: Any) -> None:
        self.is_understood = FROM_CLIENT.takes(message)
        await self.socket.send(orjson.dumps(message).decode())

    async def read(self) -> None:
        try:
            async for text in self.socket:
                message = orjson.loads(text)
                FROM_SERVER.check(message)
                name = message.get("id", "")
                if message["type"] in ("snapshot", "delta"):
                    self.mirrors.setdefault(name, Mirror()).apply(message)
                elif message["type"] == "events":
                    self.events += [event["id"] for event in message["events"]]
                else:
                    self.said.append(message)
                    name = ""
                if name:
                    self.numbers.setdefault(name, []).append(message["number"])
                    self.tokens[name] = message.get("token") or self.tokens.get(name, "")
                self._moved.set()
        except ConnectionClosed:
            pass
        self.close_code = self.socket.close_code
        self._moved.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._moved.clear()
                await self._moved.wait()

    def has(self, **message: Any) -> Callable[[], bool]:
        """Whether something with these parts was said."""
        return lambda: any(message.items() <= each.items() for each in self.said)


@asynccontextmanager
async def connected(worker: StoredWorker, **headers: str) -> AsyncIterator[Client]:
    url = worker.url.replace("http", "ws") + "/v1/ws"
    async with connect(url, max_size=None, additional_headers=headers) as socket:
        client = Client(socket)
        reading = asyncio.create_task(client.read())
        try:
            yield client
        finally:
            reading.cancel()


def test_several_subscriptions_follow_come_and_go() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            mine, other = keys_of(0, 2), keys_of(1, 2)
            async with connected(one) as client:
                await client.say(type="subscribe", id="all", table="hourly")
                await client.say(type="subscribe", id="mine", table="hourly", key=mine[0])
                assert client.is_understood
                await client.until(lambda: bool(client.tokens.get("all")) and bool(client.tokens.get("mine")))
                assert client.has(type="subscribed", id="all")()
                one.commit(0, {(0, mine[0]): 1, (0, mine[1]): 2})
                two.commit(1, {(0, other[0]): 3})
                for key, n in ((mine[1], 2), (other[0], 3)):
                    await client.until(is_at(client.mirrors["all"], key, n))
                await client.until(is_at(client.mirrors["mine"], mine[0], 1))
                assert sorted_rows(client.mirrors["all"]) == await answered(one)
                assert [row["key"] for row in client.mirrors["mine"].rows()] == [mine[0]]
                await client.say(type="unsubscribe", id="mine")
                await client.until(client.has(type="unsubscribed", id="mine"))
                one.commit(0, {(0, mine[0]): 9})
                await client.until(is_at(client.mirrors["all"], mine[0], 9))
                assert is_at(client.mirrors["mine"], mine[0], 1)()
                await client.until(lambda: bool(client.tokens["all"]))
            assert client.numbers["all"] == list(range(1, len(client.numbers["all"]) + 1))
            one.commit(0, {(0, mine[0]): None})
            async with connected(two) as again:
                again.mirrors["back"] = client.mirrors["all"]
                await again.say(type="subscribe", id="back", table="hourly", resume=client.tokens["all"])
                await again.until(is_at(again.mirrors["back"], mine[0], None))
                await again.until(is_at(again.mirrors["back"], other[0], 3))
                assert sorted_rows(again.mirrors["back"]) == await answered(one)
                await again.say(type="ping")
                await again.until(again.has(type="pong"))
            await until(lambda: one.live.seats.taken_count == two.live.seats.taken_count == 0)

    asyncio.run(main())


def test_the_schema_is_published_with_its_version() -> None:
    """Every test here, and of server-sent events, holds what it receives against it."""

    async def main() -> None:
        async with workers(1) as (one,), connected(one) as client:
            published = (await one.get("/v1/ws/schema")).json()
            Draft202012Validator.check_schema(published)
            await client.say(type="subscribe", id="a", table="hourly")
            await client.until(client.has(type="subscribed", version=published["version"]))
            found = Draft202012Validator(published)
            for good in ({"type": "ping"}, {"type": "pong"}, {"type": "subscribed", "id": "a", "version": 1}):
                assert found.is_valid(good)
            for bad in (
                {"type": "shout"},
                {"type": "delta", "id": "a", "number": 1, "partitions": []},
                {"type": "delta", "id": "a", "number": 1, "partitions": [], "changes": [{"partition": 0, "id": "xy"}]},
                {"type": "subscribed", "id": "a", "version": published["version"] + 1},
            ):
                assert not found.is_valid(bad), bad

    asyncio.run(main())


def test_the_bus_goes_on_where_a_client_was() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            bus = one.feed
            assert isinstance(bus, MemoryFeed)
            bus.add(0)
            async with connected(one) as client:
                await client.say(type="subscribe_events", id="e", types=["SCALED"], topology="t", window=2)
                await client.until(lambda: bool(client.tokens.get("e")))  # from now on
                for number in range(1, 5):
                    bus.add(number, number % 2)
                    bus.add(100 + number, subject="other")
                await client.until(lambda: len(client.events) > 0)
                await client.say(type="ping")
                await client.until(client.has(type="pong"))
                assert len(client.numbers["e"]) == 2, "the window is full"
                await client.say(type="ack", id="e", number=2)
                await client.until(lambda: client.events == ["1", "2", "3", "4"])
                await client.until(lambda: client.tokens["e"] == encode_cursor({0: 7, 1: 2}))
                await client.say(type="subscribe_events", id="x", resume="junk")
                await client.until(client.has(type="error", id="x", status=422))
            bus.add(5)
            async with connected(one) as again:
                await again.say(type="subscribe_events", id="e", topology="t", resume=client.tokens["e"])
                await again.until(lambda: again.events == ["5"])
                bus.add(6)
                await again.until(lambda: again.events == ["5", "6"])
                await again.say(type="unsubscribe", id="e")
                await again.until(again.has(type="unsubscribed"))
                await until(lambda: not bus.listeners)
                one.feed = None
                await again.say(type="subscribe_events", id="e")
                await again.until(again.has(type="error", status=404))

    asyncio.run(main())


def test_without_acks_a_window_fills_and_then_the_latest_comes() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            key = keys_of(0, 1)[0]
            async with connected(one) as client:
                await client.say(type="subscribe", id="a", table="hourly", key=key, window=1)
                await client.until(lambda: client.numbers.get("a") == [1])
                for n in range(1, 50):
                    one.commit(0, {(0, key): n})
                    await asyncio.sleep(0.005)
                await client.say(type="ping")
                await client.until(client.has(type="pong"))
                assert client.numbers["a"] == [1]
                rounds = 0
                while not is_at(client.mirrors["a"], key, 49)():
                    rounds += 1
                    await client.say(type="ack", id="a", number=rounds)
                    await client.until(lambda seen=rounds: len(client.numbers["a"]) > seen)  # type: ignore[misc]
                assert rounds < 10, "49 changes of a key came as few"

    asyncio.run(main())


def test_what_is_refused_and_how_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SUBSCRIPTIONS_MAX", 2)

    async def main() -> None:
        async with workers(1, live=LiveLimits(client_count=1)) as (one,):
            async with connected(one) as client:
                for bad in (
                    {"type": "shout"},
                    {"type": "subscribe", "id": "x"},
                    {"type": "subscribe", "id": "x", "table": "hourly", "keys": "a"},
                    {"type": "subscribe", "id": "x", "table": "hourly", "key": ""},
                    {"type": "subscribe", "id": "x", "table": "hourly", "window": 0},
                    {"type": "subscribe", "id": "x", "table": "hourly", "every_ms": -1},
                ):
                    await client.say(**bad)
                    assert not client.is_understood
                    await client.until(client.has(title="bad_message"))
                    client.said.clear()
                for table in ("nope", "shops"):
                    await client.say(type="subscribe", id=table, table=table)
                    await client.until(client.has(type="error", id=table))
                for more in ({"from": "soon"}, {"resume": "junk!"}):
                    client.said.clear()
                    await client.say(type="subscribe", id="y", table="hourly", **more)
                    await client.until(client.has(type="error", id="y", status=422))
                await client.say(type="subscribe", id="a", table="hourly", **{"from": 0, "to": "2020-01-01T00:00:00Z"})
                await client.say(type="subscribe", id="a", table="hourly")
                await client.until(client.has(type="error", id="a", status=409))
                await client.say(type="subscribe", id="b", table="hourly")
                await client.say(type="subscribe", id="c", table="hourly")
                await client.until(client.has(type="error", id="c", status=429))
                with pytest.raises(InvalidStatus) as refused:
                    async with connected(one):
                        pass
                assert refused.value.response.status_code == 503
                await one.live.stop()
                await client.until(lambda: client.close_code is not None)
                assert client.close_code == 1012
            await until(lambda: one.live.seats.taken_count == 0)

    asyncio.run(main())


def test_a_key_opens_the_tables_that_it_is_for(tmp_path: Path) -> None:
    async def main() -> None:
        keys = Keys(tmp_path, narrow="viewer@table=hourly", publisher="publisher")
        async with workers(1, access=keys.access) as (one,):
            for name, status in (("narrow", None), ("publisher", 403)):
                async with connected(one, **keys.bearer(name)) as client:
                    await client.say(type="subscribe", id="a", table="hourly")
                    await client.until(client.has(id="a", **({} if status is None else {"status": status})))
                    await client.say(type="subscribe", id="b", table="other")
                    await client.until(client.has(id="b", status=403))
            with pytest.raises(InvalidStatus) as refused:
                async with connected(one):
                    pass
            assert refused.value.response.status_code == 401

    asyncio.run(main())


def test_a_socket_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "WRITE_S", 1.0)

    async def main() -> None:
        async with workers(1) as (one,):
            keys = keys_of(0, 300)
            async with connect(one.url.replace("http", "ws") + "/v1/ws", max_queue=1, write_limit=1_024) as socket:
                await socket.send(orjson.dumps({"type": "subscribe", "id": "a", "table": "hourly"}).decode())
                await until(lambda: len(one.live._feeds) == PARTITIONS and one.live.seats.taken_count == 1)
                number = 0
                async with asyncio.timeout(DEADLINE_S):
                    while one.live.seats.taken_count:
                        number += 1
                        one.commit(0, {(0, key): number for key in keys})
                        await asyncio.sleep(0.002)
                socket.transport.abort()

    asyncio.run(main())
