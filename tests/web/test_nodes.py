"""GET /v1/nodes: the catalogue of kinds over HTTP."""

import asyncio

import httpx

from streamflow.nodes.registry import KINDS
from tests.web.workers import workers


def test_kinds_are_listed_by_category_and_shown_in_full() -> None:
    async def main() -> None:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            body = (await client.get("/v1/nodes")).json()
            assert {each["kind"] for each in body["kinds"]} == set(KINDS)
            assert body["broken"] == {}
            some = (await client.get("/v1/nodes", params={"category": "monitoring"})).json()["kinds"]
            assert some
            assert {each["category"] for each in some} == {"monitoring"}
            assert (await client.get("/v1/nodes", params={"category": "misc"})).status_code == 422
            shown = (await client.get("/v1/nodes/filter")).json()
            assert shown["schema"]["required"] == ["where"]
            assert shown["form"][0]["placeholder"] == shown["example"]["where"]
            refused = await client.get("/v1/nodes/fliter")
            assert refused.status_code == 404
            assert "did you mean filter?" in refused.json()["detail"]

    asyncio.run(main())
