"""Dead letters over HTTP: filters, cursors, what is refused and how."""

import asyncio
from typing import Any

import httpx
import pytest

from streamflow.errors import BrokerUnavailable
from streamflow.model.chunk import Record
from streamflow.model.letter import Letter
from tests.web.stored_letters import FENCED
from tests.web.workers import workers

_PATH = "/v1/topologies/t/dead-letters"


def _letter(number: int, node: str = "sales", topic: str = "t.sales") -> Letter:
    said = {"node": node, "reason": "decode", "class": "permanent", "error": "bad"}
    said |= {"topic": topic, "partition": "1", "offset": str(number)} if topic else {}
    headers = tuple((f"sf-{name}", text.encode()) for name, text in said.items())
    return Letter(Record(number, b"s1", b"{", 1_000 + number, headers))


def _asked(*requests: tuple[str, str, Any], fails: Exception | None = None) -> list[httpx.Response]:
    """Answers of a worker with five letters of the source and one of a window's result."""

    async def act() -> list[httpx.Response]:
        async with workers(1) as (one, *_), httpx.AsyncClient(base_url=one.url) as client:
            one.letters.letters = [*(_letter(n, "sales" if n % 2 else "m") for n in range(5)), _letter(5, "w", "")]
            one.letters.fails = fails  # type: ignore[assignment]
            return [await client.request(how, _PATH + path, content=body) for how, path, body in requests]

    return asyncio.run(act())


def test_letters_are_listed_by_filter_and_page() -> None:
    first, second, other, shown = _asked(
        ("GET", "?limit=2", None),
        ("GET", "?limit=10&cursor=2-4", None),
        ("GET", "?node=m&class=permanent&key=s1&topic=t.sales&partition=1&from=1001&to=1970-01-01T00:00:01.004Z", None),
        ("GET", "/3", None),
    )
    assert [each["id"] for each in first.json()["letters"]] == [0, 1]
    assert first.json()["cursor"] == "2-6"
    assert ([each["id"] for each in second.json()["letters"]], second.json()["cursor"]) == ([2, 3], None)
    assert [each["id"] for each in other.json()["letters"]] == [2]
    assert shown.json()["value"] == "{"
    assert shown.json()["source"] == {"topic": "t.sales", "partition": 1, "offset": 3}


def test_decisions_name_what_was_done_refused_and_skipped() -> None:
    driven, again, rest = _asked(
        ("POST", "/redrive?id=1&id=5&per_s=7", None),
        ("POST", "/redrive?id=1&id=5", None),
        ("POST", "/discard?all=true&comment=old", None),
    )
    assert (driven.json()["count"], driven.json()["refused"]) == (1, [{"id": 5, "reason": "no_record"}])
    assert driven.json()["letters"][0]["decision"]["execution"] == "e"
    assert (again.json()["count"], again.json()["skipped"]) == (0, [1])
    assert [each["id"] for each in rest.json()["letters"]] == [0, 2, 3, 4, 5]
    assert rest.json()["letters"][0]["decision"]["comment"] == "old"


def test_an_edit_must_be_an_event_of_the_source() -> None:
    good = b'{"time": 1, "shop": "a", "amount": 3}'
    edited, bad, result, gone, done, late = _asked(
        ("PUT", "/1/value", good),
        ("PUT", "/1/value", b'{"time": "soon"}'),
        ("PUT", "/5/value", good),
        ("PUT", "/9/value", good),
        ("POST", "/discard?id=2", None),
        ("PUT", "/2/value", good),
    )
    assert (edited.json()["state"], edited.json()["value"]) == ("edited", "{")
    assert edited.json()["edited_value"] == good.decode()
    assert (bad.status_code, bad.json()["title"]) == (422, "decode")
    assert (result.status_code, result.json()["title"]) == (422, "no_source")
    assert gone.status_code == 404
    assert (done.status_code, late.status_code, late.json()["title"]) == (200, 409, "not_open")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/redrive",
            "/discard",
            "/redrive?state=discarded",
            "/redrive?all=true&per_s=0",
            "/redrive?all=true&limit=1001",
        ),
        *("/redrive?id=-1", "/redrive?id=x", "/redrive?all=true&cursor=1", "/discard?from=soon", "/discard?state=lost"),
    ],
)
def test_what_says_too_little_or_nonsense_is_refused(path: str) -> None:
    (answer,) = _asked(("POST", path, None))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("error", "status"), [(FENCED, 409), (BrokerUnavailable("gone"), 503)])
def test_whoever_comes_in_between_or_not_at_all_is_told_with_when_to_come_back(error: Exception, status: int) -> None:
    (answer,) = _asked(("POST", "/redrive?all=true", None), fails=error)
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (status, True)


def test_another_topology_is_not_known() -> None:
    async def act() -> int:
        async with workers(1) as (one, *_), httpx.AsyncClient(base_url=one.url) as client:
            return (await client.get(_PATH.replace("/t/", "/other/"))).status_code

    assert asyncio.run(act()) == 404
