"""Execute over HTTP: what is answered when, and what is refused; the parts of outcomes are added by the tests."""

import asyncio
import json

import orjson

from streamflow.model.outcome import new_execution
from streamflow.web import executions
from streamflow.web.executions import Executions
from tests.web.workers import StoredWorker, workers

_EXECUTE = "/v1/topologies/t/execute"
_EVENT = json.dumps({"time": 1_000, "shop": "a", "amount": 1})


def _part(execution: str, offset: int, onward: int = 0, **more: object) -> bytes:
    body = {"id": execution, "from": ["x", 0, offset], "onward": onward, "rows": [], "late": [], "dead": [], **more}
    return orjson.dumps(body)


async def _published(worker: StoredWorker) -> str:
    async with asyncio.timeout(60):
        while not worker.headers:  # noqa: ASYNC110 - the worker knows no events
            await asyncio.sleep(0.001)
    ((name, execution),) = worker.headers.pop()
    assert name == "sf-correlation"
    return execution.decode()


def test_the_answer_waits_for_every_part() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            asked = asyncio.create_task(one.post(_EVENT, _EXECUTE))
            execution = await _published(one)
            one.executions.add(_part(execution, 0, onward=2, rows=[{"topic": "a", "key": "k", "row": {"n": 1}}]))
            one.executions.add(_part(execution, 1))
            one.executions.add(_part(execution, 1))
            await asyncio.sleep(0.05)
            assert not asked.done()
            one.executions.add(_part(execution, 2, dead=[{"node": "n", "reason": "expression", "error": "no"}]))
            answer = await asked
            body = answer.json()
            assert (answer.status_code, body["id"], body["status"]) == (200, execution, "dead")
            assert (len(body["rows"]), len(body["dead"]), body["tables"]) == (1, 1, ["hourly"])
            assert one.published == [(b"a", _EVENT.encode())]

    asyncio.run(main())


def test_what_takes_longer_is_asked_for_again() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            answer = await one.post(_EVENT, _EXECUTE + "?timeout_ms=20")
            assert (answer.status_code, answer.json()["status"]) == (202, "pending")
            location, execution = answer.headers["location"], answer.json()["id"]
            assert (await one.get(location)).status_code == 202
            one.executions.add(_part(execution, 0))
            again = await one.get(location)
            assert (again.status_code, again.json()["status"]) == (200, "done")

    asyncio.run(main())


def test_each_of_many_has_an_outcome_of_its_own() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            body = f"[{_EVENT}, {{}}, {_EVENT}, {_EVENT}]"
            asked = asyncio.create_task(one.post(body, _EXECUTE + "?timeout_ms=300"))
            async with asyncio.timeout(60):
                while len(one.headers) < 3:  # noqa: ASYNC110 - the worker knows no events
                    await asyncio.sleep(0.001)
            ids = [dict(headers)["sf-correlation"].decode() for headers in one.headers]
            one.executions.add(_part(ids[2], 2, dead=[{"node": "n", "reason": "expression", "error": "no"}]))
            one.executions.add(_part(ids[0], 0, rows=[{"topic": "a", "key": "k", "row": {"n": 1}}]))
            answer = await asked
            found = answer.json()
            assert (answer.status_code, len(one.published)) == (202, 3)
            assert found["counts"] == {"done": 1, "rejected": 1, "pending": 1, "dead": 1}
            assert [each.get("id") for each in found["results"]] == [ids[0], None, *ids[1:]]
            assert [each["status"] for each in found["results"]] == ["done", "rejected", "pending", "dead"]
            assert found["results"][0]["rows"] == [{"topic": "a", "key": "k", "row": {"n": 1}}]
            assert found["results"][1]["reason"] == "decode"
            wide = [{"topic": "a", "key": None, "row": "x" * (9 << 20)}]
            one.executions.add(_part(ids[1], 1, rows=wide))
            later = await one.get(answer.headers["location"].partition("?")[0], count=3)
            told = later.json()
            assert (later.status_code, told["counts"]) == (200, {"done": 2, "dead": 1})
            assert [(each["id"], each.get("omitted")) for each in told["results"]] == [
                (ids[0], None),
                (ids[1], True),
                (ids[2], True),
            ]
            assert (await one.get(f"/v1/topologies/t/executions/{ids[1]}")).json()["rows"] == wide

    asyncio.run(main())


def test_what_cannot_be_executed_is_refused_before_it_is_published() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            empty = await one.post("[]", _EXECUTE)
            assert (empty.status_code, empty.headers["content-type"]) == (422, "application/problem+json")
            for body, path, status in (
                ("{}", _EXECUTE, 422),
                ("", _EXECUTE, 422),
                ("[{}, {}]", _EXECUTE, 422),
                (f"[{_EVENT}", _EXECUTE, 422),
                (f"[{', '.join([_EVENT] * 101)}]", _EXECUTE, 413),
                (_EVENT, _EXECUTE + "?source=nope", 422),
                (_EVENT, "/v1/topologies/other/execute", 404),
                (_EVENT, _EXECUTE + "?timeout_ms=999999", 422),
            ):
                answer = await one.post(body, path)
                assert answer.status_code == status, answer.text
            assert (await one.get("/v1/topologies/t/executions/junk")).status_code == 404
            assert (await one.get(f"/v1/topologies/t/executions/{0:011x}-{0:032x}")).status_code == 410
            assert one.published == []

    asyncio.run(main())


def test_so_many_may_wait_and_the_next_is_told_when_to_come_back() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            waiting = [
                asyncio.create_task(one.executions.wait(new_execution(), 5)) for _ in range(executions.WAITING_MAX)
            ]
            await asyncio.sleep(0)
            answer = await one.post(_EVENT, _EXECUTE)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert (await one.post(_EVENT, _EXECUTE + "?timeout_ms=1")).status_code == 202
            one.publishing_is_busy = True
            assert (await one.post(_EVENT, _EXECUTE)).status_code == 503

    asyncio.run(main())


def test_what_is_kept_is_bounded() -> None:
    async def main() -> None:
        room = Executions()
        for number in range(executions.KEPT_MAX + 5):
            room.add(_part(str(number), 0))
        assert (await room.wait("4", 0)).status == "pending"
        assert (await room.wait("5", 0)).status == "done"
        wide = [{"topic": "a", "key": None, "row": "x" * (1 << 20)}]
        for number in range(70):
            room.add(_part(f"wide{number}", 0, rows=wide))
        assert (await room.wait("wide1", 0)).status == "pending"
        assert (await room.wait("wide69", 0)).status == "done"

    asyncio.run(main())
