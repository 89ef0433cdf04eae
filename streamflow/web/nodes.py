"""GET /v1/nodes: the kinds of nodes, for catalogues and forms."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from streamflow.nodes.catalogue import described, listed
from streamflow.nodes.kind import Category
from streamflow.nodes.registry import KINDS, near_kinds
from streamflow.web.problems import JsonResponse, Refusal


def node_routes() -> APIRouter:
    """Routes of the catalogue."""
    router = APIRouter(tags=["nodes"])

    @router.get("/v1/nodes", operation_id="list_kinds")
    async def list_kinds(
        category: Annotated[Category | None, Query(description="kinds of this category only")] = None,
    ) -> Response:
        """Every kind in short, and plug-ins that cannot be used with what is wrong with them."""
        kinds = [each for each in listed() if category is None or each["category"] == category]
        return JsonResponse({"kinds": kinds, "broken": dict(KINDS.broken)})

    @router.get("/v1/nodes/{kind}", operation_id="show_kind")
    async def show_kind(kind: str) -> Response:
        """One kind in full: metadata, example, JSON schema of its configuration, and the form for it."""
        if kind not in KINDS:
            raise Refusal(404, "unknown_kind", f"no kind {kind!r}; {near_kinds(kind)}")
        return JsonResponse(described(KINDS[kind]))

    return router
