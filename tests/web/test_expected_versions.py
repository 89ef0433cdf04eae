"""Publishing with If-Match over HTTP: what travels, what is answered; the tests add the parts of outcomes."""

import asyncio
import json
from typing import Any

import httpx
import orjson
import pytest

from streamflow.plan.planner import make_plan
from streamflow.topology.yaml_file import parse_topology
from tests.web.workers import StoredWorker, workers

PLAN = make_plan(
    parse_topology(
        """
        topology: t
        schemas: {Write: {account: str, n: int, seen: int?}, Click: {shop: str}}
        nodes:
          clicks: {kind: source, topic: t.clicks, schema: Click, key: shop}
          counted: {kind: echo, input: clicks}
          writes: {kind: source, topic: t.writes, schema: Write}
          by_account: {kind: key_by, input: writes, key: account}
          old: {kind: source, topic: t.old, schema: Click}
          made: {kind: map, input: old, set: {before: '0'}}
          by_shop: {kind: key_by, input: made, key: shop}
          shops: {kind: accept, input: by_shop, expected: before}
          accounts: {kind: accept, input: by_account, expected: seen}
        """
    )
)
_WRITE = '{"account": "a", "n": 1}'


async def _write(
    worker: StoredWorker, seen: str = '"3"', body: str = _WRITE, topic: str = "t.writes", **more: str
) -> Any:
    async with httpx.AsyncClient(base_url=worker.url) as client:
        path = f"/v1/topics/{topic}/events"
        wait = {"timeout_ms": more.pop("timeout_ms", "5000")}
        return await client.post(path, content=body, headers={"If-Match": seen, **more}, params=wait)


async def _told(worker: StoredWorker, **part: Any) -> None:
    """A task has judged what was published."""
    async with asyncio.timeout(60):
        while not worker.headers:  # noqa: ASYNC110 - the worker knows no events
            await asyncio.sleep(0.001)
    execution = dict(worker.headers.pop())["sf-correlation"].decode()
    known = {"onward": 0, "rows": [], "late": [], "dead": [], "writes": []}
    worker.executions.add(orjson.dumps({"id": execution, "from": ["x", 0, 0], **known, **part}))


def _judged(accepted: bool, version: int) -> list[dict[str, Any]]:
    return [{"node": "accounts", "key": "a", "accepted": accepted, "version": version}]


def test_a_write_waits_until_it_is_judged() -> None:
    async def act() -> None:
        async with workers(1, plan=PLAN) as (one,):
            asked = asyncio.create_task(_write(one))
            await _told(one, onward=1, writes=_judged(True, 4))
            taken = await asked
            assert (taken.status_code, taken.headers["etag"], taken.json()["version"]) == (200, '"4"', 4)
            assert [json.loads(value) for _, value in one.published] == [{"account": "a", "n": 1, "seen": 3}]
            asked = asyncio.create_task(_write(one))
            await _told(one, writes=_judged(False, 4))
            refused = await asked
            body = refused.json()
            assert (refused.status_code, refused.headers["etag"]) == (412, '"4"')
            assert (refused.headers["content-type"], body["title"], body["version"]) == (
                "application/problem+json",
                "version_conflict",
                4,
            )
            later = await _write(one, timeout_ms="10")
            assert (later.status_code, later.json()["status"]) == (202, "pending")
            assert later.headers["location"].endswith(later.json()["execution"])

    asyncio.run(act())


def test_the_same_request_again_is_told_the_same() -> None:
    async def act() -> None:
        async with workers(2, plan=PLAN) as (one, two):
            one.key_owner = two.key_owner = two.url
            asked = asyncio.create_task(_write(one, **{"Idempotency-Key": "k"}))
            async with asyncio.timeout(60):
                while not two.headers:  # noqa: ASYNC110 - the worker knows no events
                    await asyncio.sleep(0.001)
            one.headers = two.headers
            await _told(one, writes=_judged(True, 4))
            first, again = await asked, await _write(one, **{"Idempotency-Key": "k"})
            assert (first.status_code, len(one.published), len(two.published)) == (200, 0, 1)
            assert (again.json(), again.headers["etag"]) == (first.json(), '"4"')
            assert again.headers["idempotency-replayed"] == "true"
            other = await _write(one, '"4"', **{"Idempotency-Key": "k"})
            assert (other.status_code, other.json()["title"]) == (422, "idempotency_key_reused")

    asyncio.run(act())


def test_what_was_put_aside_or_let_go_is_no_write() -> None:
    async def act() -> None:
        async with workers(1, plan=PLAN) as (one,):
            for part, title in (
                ({"dead": [{"node": "by_account", "reason": "null_key", "error": "no key"}]}, "null_key"),
                ({}, "not_judged"),
                ({"cancelled": "twice"}, "cancelled"),
            ):
                asked = asyncio.create_task(_write(one))
                await _told(one, **part)
                answer = await asked
                assert (answer.status_code, answer.json()["title"]) == (422, title)

    asyncio.run(act())


@pytest.mark.parametrize(
    ("seen", "body", "topic", "more", "title"),
    [
        ('"3"', _WRITE, "t.clicks", {}, "not_judged"),
        ('"3"', '{"shop": "a"}', "t.old", {}, "not_judged"),
        ('"3"', f"[{_WRITE}]", "t.writes", {}, "not_json"),
        ("3", _WRITE, "t.writes", {}, "bad_parameter"),
        ('W/"3"', _WRITE, "t.writes", {}, "bad_parameter"),
        ('"3"', _WRITE, "t.writes", {"If-None-Match": "*"}, "bad_parameter"),
        ('"3"', _WRITE, "t.writes", {"timeout_ms": "999999"}, "bad_parameter"),
    ],
)
def test_what_cannot_be_expected_is_refused(seen: str, body: str, topic: str, more: dict[str, str], title: str) -> None:
    async def act() -> None:
        async with workers(1, plan=PLAN) as (one,):
            answer = await _write(one, seen, body, topic, **more)
            assert (answer.status_code, answer.json()["title"], one.published) == (422, title, [])

    asyncio.run(act())
