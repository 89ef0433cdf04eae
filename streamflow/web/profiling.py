"""GET /v1/profile: where this worker's processor time goes; GET /v1/tasks: what its loop waits for."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import Query, Response

from streamflow.errors import UserError
from streamflow.web.problems import JsonResponse, Refusal
from streamflow.web.routes import Routes

SECONDS_MAX = 60


def profiling_routes(
    profile: Callable[[float], dict[str, Any]], waiting_tasks: Callable[[], list[dict[str, Any]]]
) -> Routes:
    """The routes. profile: looks for some seconds and gives what it saw; called in a thread, one at a time."""
    router = Routes()
    lock = asyncio.Lock()

    @router.get("/v1/profile", tags=["look"], operation_id="profile")
    async def show_profile(
        seconds: float = Query(10, gt=0, le=SECONDS_MAX, description="how long to look"),
    ) -> Response:
        """Processor time of this worker by thread, node and stack (`frames` by number, outermost first), in µs."""
        if lock.locked():
            raise Refusal(409, "busy", "somebody else takes a profile of this worker", retry_after_s=SECONDS_MAX)
        async with lock:
            try:
                return JsonResponse(await asyncio.to_thread(profile, seconds))
            except UserError as error:
                raise Refusal(501, "not_possible", str(error)) from error

    @router.get("/v1/tasks", tags=["look"], operation_id="list_tasks")
    async def show_tasks() -> Response:
        """Tasks of this worker's loop, most of a kind first: name, how many, and the lines where they wait."""
        return JsonResponse({"tasks": waiting_tasks()})

    return router
