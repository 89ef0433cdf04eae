"""Global tables over HTTP: rows by key and in pages, read-your-writes, publishing and deleting."""

import asyncio
import json
from typing import Any

import pytest

from tests.web.workers import StoredWorker, workers

ROWS = "/v1/topics/t.shops/events"
SHOPS = "/v1/topologies/t/tables/shops"


def _hold(worker: StoredWorker, rows: dict[int, str]) -> None:
    records = [(b"%d" % n, b'{"number":%d,"city":"%s"}' % (n, city.encode())) for n, city in rows.items()]
    worker.tables["shops"].apply(records)


def _shown(number: int, city: str) -> dict[str, Any]:
    return {"key": number, "final": False, "value": {"city": city, "size": None}}


def test_rows_come_by_key_and_in_pages_in_order_of_their_keys() -> None:
    """As in tables of the stream; nobody else is asked."""

    async def main() -> None:
        async with workers(1) as (one,):
            cities = {number: f"c{number}" for number in (1, 10, 2, 30, 4)}
            _hold(one, cities)
            found = (await one.get(SHOPS, key="10")).json()
            assert found["rows"] == [_shown(10, "c10")]
            assert (found["served_by"], found["lag"], found["watermark"]) == ([one.url], 0, None)
            for key in ("3", "010", "x"):
                assert (await one.get(SHOPS, key=key)).json()["rows"] == []
            assert (await one.get(SHOPS, state="final")).json()["rows"] == []
            pages, cursor = list[list[int]](), None
            while cursor is not None or not pages:
                page = (await one.get(SHOPS, limit="2", **({"cursor": cursor} if cursor else {}))).json()
                pages.append([row["key"] for row in page["rows"]])
                cursor = page["cursor"]
            assert pages == [[1, 10], [2, 30], [4]]
            assert one.asked == []

    asyncio.run(main())


def test_a_query_waits_for_what_was_published() -> None:
    """And says how much is missing when it does not come."""

    async def main() -> None:
        async with workers(1) as (one,):
            token = (await one.post('{"number": 1, "city": "Rome"}', ROWS)).json()["token"]
            late = await one.get(SHOPS, after=token, wait_ms="20")
            assert (late.status_code, late.json()["distance"]) == (202, 1)
            waiting = asyncio.create_task(one.get(SHOPS, after=token, key="1"))
            await asyncio.sleep(0.05)
            _hold(one, {1: "Rome"})
            one.reflected["t.shops", 0] = 1
            assert (await waiting).json()["rows"] == [_shown(1, "Rome")]
            one.ratio = 0.25
            reading = await one.get(SHOPS)
            assert (reading.status_code, reading.json()["title"]) == (503, "restoring")
            assert "25% done" in reading.json()["detail"]

    asyncio.run(main())


def test_rows_are_published_under_their_key_and_deleted_by_it() -> None:
    """A row that says another key than the request would be lost to readers, so it is refused."""

    async def main() -> None:
        async with workers(1) as (one,):
            rows = [{"number": 1, "city": "Rome"}, {"number": 2}, {"number": 7, "city": "Oslo", "size": 3}]
            body = (await one.post(json.dumps(rows), ROWS)).json()
            assert (body["accepted"], [each["reason"] for each in body["rejected"]]) == (2, ["decode"])
            assert [key for key, _ in one.published] == [b"1", b"7"]
            other = await one.post(json.dumps(rows[0]), f"{ROWS}?key=2")
            assert (other.status_code, other.json()["rejected"][0]["reason"]) == (422, "other_key")
            one.published.clear()
            assert (await one.post("null", f"{ROWS}?key=7")).json()["accepted"] == 1
            assert one.published == [(b"7", None)]
            assert (await one.post("null", ROWS)).status_code == 422
            assert (await one.post("null\nnull", f"{ROWS}?key=7")).status_code == 422
            assert len(one.published) == 1

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/v1/topologies/t/tables/shop", "/v1/topologies/other/tables/shops"])
def test_an_unknown_table_is_told_all_of_them(path: str) -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            answer = await one.get(path)
            assert answer.status_code == 404
            assert "tables are hourly, shops" in answer.json()["detail"]

    asyncio.run(main())
