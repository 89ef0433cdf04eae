"""The bus over HTTP: pages and streams give every event that matches, once, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from streamflow.bus.feed import encode_cursor, parse_cursor
from streamflow.errors import UserError
from streamflow.web import events
from streamflow.web.server_sent_events import ServerSentEvent, read_events
from tests.web.event_feed import MemoryFeed
from tests.web.workers import StoredWorker, workers

_STREAM = "/v1/events/stream"


def _feed(worker: StoredWorker) -> MemoryFeed:
    assert isinstance(worker.feed, MemoryFeed)
    return worker.feed


@asynccontextmanager
async def _stream(
    worker: StoredWorker, last: str = "", **parameters: Any
) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    headers = {"last-event-id": last} if last else {}
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", worker.url + _STREAM, params=parameters, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield read_events(answer.aiter_lines())


async def _take(stream: AsyncIterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    found: list[ServerSentEvent] = []
    async with asyncio.timeout(60):
        async for each in stream:
            if each.event != "position":
                found.append(each)
            if len(found) == count:
                return found
    return found


async def _standing(stream: AsyncIterator[ServerSentEvent]) -> str:
    """Wait until the stream follows; its cursor."""
    async with asyncio.timeout(60):
        async for each in stream:
            if each.event == "position":
                return each.id
    raise AssertionError


def _ids(found: list[ServerSentEvent]) -> list[str]:
    return [httpx.Response(200, text=each.data).json()["id"] for each in found]


def test_pages_give_every_event_once_with_filters() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            for number in range(200):
                subject = "t/a" if number % 3 else "t/b"
                severity = "error" if number % 10 == 0 else "info"
                _feed(one).add(number, number % 2, subject=subject, severity=severity)
            seen: list[str] = []
            answer: dict[str, Any] = {"at_end": False, "cursor": None}
            while not answer["at_end"]:
                cursor = {"cursor": answer["cursor"]} if answer["cursor"] else {}
                answer = (await one.get("/v1/events", limit=7, node="b", **cursor)).json()
                seen += [each["id"] for each in answer["events"]]
            assert sorted(map(int, seen)) == [number for number in range(200) if number % 3 == 0]
            for parameters, expected in (
                ({"severity": "warning"}, range(0, 200, 10)),
                ({"since": "2026-01-01T00:03:00Z", "until": "2026-01-01T00:03:05"}, range(180, 185)),
                ({"type": "RESTORED"}, []),
                ({"topology": "other"}, []),
            ):
                found, cursor = [], {}
                while True:
                    answer = (await one.get("/v1/events", limit=1_000, **parameters, **cursor)).json()
                    found += [int(each["id"]) for each in answer["events"]]
                    cursor = {"cursor": answer["cursor"]}
                    if answer["at_end"]:
                        break
                assert sorted(found) == list(expected), parameters
            for path, parameter, remedy in (
                ("/v1/events", "types", "did you mean 'type'?"),
                (_STREAM, "nod", "did you mean 'node'?"),
                ("/v1/topologies", "name", "there are none"),
                ("/v1/topologies/t/dead-letters", "keys", "did you mean 'key'?"),
            ):
                refused = await one.get(path, **{parameter: "x"})
                assert (refused.status_code, refused.json()["title"]) == (422, "bad_parameter")
                assert refused.json()["detail"] == f"{parameter}: no such parameter; {remedy}"
            assert (await one.get("/healthz", probe="1")).status_code == 200

    asyncio.run(main())


def test_a_stream_begins_now_and_goes_on_where_it_was_left() -> None:
    async def main() -> None:
        async with workers(2) as (one, other):
            other.feed = one.feed
            feed = _feed(one)
            feed.add(0)
            async with _stream(one) as stream:
                assert await _standing(stream) == "0:1,1:0"
                feed.add(1)
                feed.add(2, 1)
                first = await _take(stream, 2)
            assert _ids(first) == ["1", "2"]
            assert first[0].event == "SCALED"
            for number in range(3, 150):
                feed.add(number, number % 2)
            async with _stream(other, last=first[0].id) as stream:
                missed = await _take(stream, 148)
                feed.add(150)
                assert _ids(await _take(stream, 1)) == ["150"]
            assert sorted(map(int, _ids(missed))) == list(range(2, 150))
            # Any event's id is a place to go on from.
            async with _stream(one, last=missed[70].id) as stream:
                rest = await _take(stream, 148 - 71 + 1)
            assert sorted(_ids(rest)) == sorted([*_ids(missed)[71:], "150"])

    asyncio.run(main())


def test_two_clients_get_disjoint_streams_by_node() -> None:
    async def main() -> None:
        async with workers(1) as (one,), _stream(one, node="a") as a, _stream(one, node="b") as b:
            await _standing(a)
            await _standing(b)
            for number in range(20):
                _feed(one).add(number, subject="t/a" if number % 2 else "t/b")
            assert _ids(await _take(a, 10)) == [str(n) for n in range(1, 20, 2)]
            assert _ids(await _take(b, 10)) == [str(n) for n in range(0, 20, 2)]

    asyncio.run(main())


def test_a_slow_reader_is_let_go_with_a_reason_and_can_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WAITING_MAX_EVENTS", 50)

    async def main() -> None:
        async with workers(1) as (one,), _stream(one) as stream:
            start = await _standing(stream)
            for number in range(60):  # without a turn for the stream in between
                _feed(one).add(number)
            last = (await _take(stream, 61))[-1]
            assert (last.event, last.data) == ("closed", '{"reason":"slow_reader"}')
            assert not _feed(one).listeners
            async with _stream(one, last=start) as again:
                assert len(await _take(again, 60)) == 60

    asyncio.run(main())


def test_a_worker_that_stops_ends_its_streams() -> None:
    async def main() -> None:
        async with workers(1) as (one,), _stream(one) as stream:
            await _standing(stream)
            one.app.state.event_clients.close()
            assert (await _take(stream, 1))[0].data == '{"reason":"worker_stops"}'

    asyncio.run(main())


def test_silence_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)

    async def main() -> None:
        async with workers(1) as (one,), _stream(one, node="nobody") as stream:
            assert await _standing(stream) == "0:0,1:0"
            _feed(one).add(1)
            cursors = ""
            while cursors != "0:1,1:0":
                cursors = await _standing(stream)

    asyncio.run(main())


def test_what_cannot_be_is_refused() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            for path in ("/v1/events", _STREAM):
                for parameters in ({"cursor": "x"}, {"cursor": "0:1;"}, {"type": "NOTHING"}, {"severity": "loud"}):
                    assert (await one.get(path, **parameters)).status_code == 422, parameters
            one.feed = None
            for path in ("/v1/events", _STREAM):
                answer = await one.get(path)
                assert (answer.status_code, answer.json()["title"]) == (404, "events_off")

    asyncio.run(main())


def test_a_cursor_reads_back() -> None:
    for positions in ({0: 0}, {0: 5, 1: 2**59, 63: 7}):
        assert parse_cursor(encode_cursor(positions)) == positions
    for junk in ("", "0", "0:", ":1", "a:1", "0:1,", "-1:2", "0:1" * 900):
        with pytest.raises(UserError):
            parse_cursor(junk)
