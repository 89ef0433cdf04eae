"""GET /v1/nodes: the kinds of nodes, for catalogues; POST /v1/nodes/{kind}/options and /check, for forms."""

from typing import Annotated

from fastapi import Query
from fastapi.responses import Response

from streamflow.nodes.catalogue import described, listed
from streamflow.nodes.kind import Category, NodeKind
from streamflow.nodes.registry import KINDS, near_kinds
from streamflow.web.kind_forms import FieldBody, ValuesBody, answer_field, check_values
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal
from streamflow.web.routes import Routes


def node_routes(service: Service) -> Routes:
    """Routes of the catalogue and of forms."""
    router = Routes(tags=["nodes"])

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
        return JsonResponse(described(_known(kind)))

    @router.post("/v1/nodes/{kind}/options", operation_id="kind_options")
    async def kind_options(kind: str, body: FieldBody) -> Response:
        """Options, or the derived value, of a field whose `depends_on` stands in the form; null while it waits for
        those fields (`waits_for`). They come from the global tables of the running topology."""
        return JsonResponse(await answer_field(service, _known(kind), body))

    @router.post("/v1/nodes/{kind}/check", operation_id="check_kind")
    async def check_kind(kind: str, body: ValuesBody) -> Response:
        """Every problem of a form's values, the configuration with all defaults, and the derived values."""
        return JsonResponse(await check_values(service, _known(kind), body))

    return router


def _known(kind: str) -> NodeKind:
    if kind not in KINDS:
        raise Refusal(404, "unknown_kind", f"no kind {kind!r}; {near_kinds(kind)}")
    return KINDS[kind]
