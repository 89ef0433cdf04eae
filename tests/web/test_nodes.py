"""GET /v1/nodes: the catalogue of kinds over HTTP."""

import asyncio
from typing import Any

import httpx

from streamflow.nodes.dependent import Dependent
from streamflow.nodes.kind import NodeConfig
from streamflow.nodes.lookup import Lookup
from streamflow.nodes.registry import KINDS
from streamflow.web.kind_forms import ValuesBody, check_values
from tests.web.workers import StoredWorker, workers


def test_kinds_are_listed_by_category_and_shown_in_full() -> None:
    async def main() -> None:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            body = (await client.get("/v1/nodes")).json()
            assert {each["kind"] for each in body["kinds"]} == set(KINDS)
            assert body["broken"] == {}
            found = []
            for category in ("data_processing", "ai_ml", "integration", "utility", "security", "monitoring"):
                some = (await client.get("/v1/nodes", params={"category": category})).json()["kinds"]
                assert {each["category"] for each in some} == {category}
                found += [each["kind"] for each in some]
            assert sorted(found) == sorted(KINDS)
            assert (await client.get("/v1/nodes", params={"category": "misc"})).status_code == 422
            shown = (await client.get("/v1/nodes/sample")).json()
            assert shown["schema"]["required"] == ["rate"]
            assert shown["form"][0]["placeholder"] == str(shown["example"]["rate"])
            refused = await client.get("/v1/nodes/fliter")
            assert refused.status_code == 404
            assert "did you mean filter?" in refused.json()["detail"]

    asyncio.run(main())


async def _asked(client: httpx.AsyncClient, what: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await client.post(f"/v1/nodes/lookup/{what}", json=body)
    return answer.status_code, answer.json()


def test_a_form_is_answered_from_the_tables_of_the_topology() -> None:
    async def main() -> None:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            form = {each["name"]: each for each in (await client.get("/v1/nodes/lookup")).json()["form"]}
            assert (form["table"]["type"], form["table"]["depends_on"]) == ("select", [])
            assert (form["take"]["type"], form["take"]["depends_on"]) == ("list", ["table"])
            assert (await _asked(client, "options", field="table", values={}))[1]["options"] == ["shops"]
            _, waits = await _asked(client, "options", field="take", values={"table": "shop"})
            assert (waits["options"], waits["waits_for"]) == (None, ["table"])
            _, found = await _asked(client, "options", field="take", values={"table": "shops"})
            assert found["options"] == ["number", "city", "size"]
            status, refused = await _asked(client, "options", field="key", values={})
            assert (status, refused["title"]) == (404, "unknown_field")
            assert "those that do: table, take" in refused["detail"]
            status, refused = await _asked(client, "options", field="table", values={}, more=1)
            assert (status, refused["title"]) == (422, "bad_parameter")
            assert (await client.post("/v1/nodes/lokup/options", json={"field": "x", "values": {}})).status_code == 404
            await _is_checked(client)
            for wrong in ({"a": 1}, {}, [], ["shops"], 10**40):  # no text, and so no table
                _, waits = await _asked(client, "options", field="take", values={"table": wrong})
                assert waits["waits_for"] == ["table"]
                _, checked = await _asked(client, "check", values={"table": wrong, "key": "shop"})
                assert [each["field"] for each in checked["problems"]] == ["table"]
            await _has_a_default_that_is_no_option(one)
            await _waits_for_tables(one, client)

    asyncio.run(main())


async def _is_checked(client: httpx.AsyncClient) -> None:
    """All problems at once; without one the configuration with its defaults."""
    _, checked = await _asked(client, "check", values={"table": "shop", "prefix": 5, "take": ["town"]})
    assert checked["config"] is None
    assert {each["field"]: each["message"] for each in checked["problems"]} == {
        "key": "is missing",
        "prefix": "must be text, not 5",
        "table": "'shop' is none of its options",
    }
    _, checked = await _asked(client, "check", values={"table": "shops", "key": "shop", "take": ["city"]})
    assert checked == {
        "problems": [],
        "config": {"table": "shops", "key": "shop", "take": {"city": "city"}, "prefix": "", "missing": "null"},
        "derived": {},
    }


class _Config(NodeConfig):
    table: str = "nowhere"


class _Kind(Lookup):
    config_type = _Config  # type: ignore[assignment]
    dependents = (Dependent("table", lambda _, tables: tables.names),)  # type: ignore[assignment]


async def _has_a_default_that_is_no_option(one: StoredWorker) -> None:
    checked = await check_values(one, _Kind(), ValuesBody(values={}))
    assert [each["message"] for each in checked["problems"]] == ["'nowhere' is none of its options"]


async def _waits_for_tables(one: StoredWorker, client: httpx.AsyncClient) -> None:
    one.ratio = 0.5
    status, refused = await _asked(client, "options", field="table", values={})
    assert (status, refused["title"]) == (503, "restoring")
