"""Publishing with an Idempotency-Key over HTTP: once, wherever it is asked, and what is refused."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.web.workers import EVENTS, StoredWorker, workers

_SALE = '{"time": 1, "shop": "s1", "amount": 2}'


async def _publish(worker: StoredWorker, body: str = _SALE, named: str = "k-1", **parameters: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=worker.url) as client:
        return await client.post(EVENTS, content=body, headers={"Idempotency-Key": named}, params=parameters)


def test_the_second_answer_is_the_first_and_another_body_is_refused() -> None:
    async def act() -> None:
        async with workers(1) as (one,):
            first, again = await _publish(one), await _publish(one)
            assert (first.status_code, first.json()["accepted"]) == (200, 1)
            assert "idempotency-replayed" not in first.headers
            assert (again.status_code, again.json()) == (200, first.json())
            assert again.headers["idempotency-replayed"] == "true"
            for other in (
                await _publish(one, _SALE.replace("2", "3")),
                await _publish(one, key="s2"),
            ):
                assert (other.status_code, other.json()["title"]) == (422, "idempotency_key_reused")
            assert (await _publish(one, named="k-2")).json()["accepted"] == 1
            assert len(one.published) == 2

    asyncio.run(act())


def test_the_owner_decides_and_without_it_whoever_is_asked() -> None:
    async def act() -> None:
        async with workers(2) as (one, two):
            one.key_owner = two.key_owner = two.url
            first, again = await _publish(one), await _publish(two)
            assert (first.status_code, again.json()) == (200, first.json())
            assert (again.headers["idempotency-replayed"], len(one.published), len(two.published)) == ("true", 0, 1)
            assert (await _publish(one)).headers["idempotency-replayed"] == "true"
            refused = await _publish(one, _SALE.replace("2", "3"))
            assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
            one.key_owner = "http://127.0.0.1:9"
            assert ((await _publish(one, named="k-2")).status_code, len(one.published)) == (200, 1)

    asyncio.run(act())


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "é".encode("latin-1").decode("latin-1")])
def test_a_key_is_printable_and_short(key: str) -> None:
    async def act() -> httpx.Response:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            return await client.post(EVENTS, content=_SALE, headers=[(b"Idempotency-Key", key.encode("latin-1"))])

    assert asyncio.run(act()).status_code == 422


def test_what_was_rejected_whole_keeps_no_key() -> None:
    async def act() -> None:
        async with workers(1) as (one,):
            assert (await _publish(one, '{"time": "soon"}')).status_code == 422
            assert (await _publish(one)).json()["accepted"] == 1

    asyncio.run(act())
