"""POST /v1/topologies/{topology}/pause, resume, stop, cancel: orders that all workers obey. GET …/state."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from streamflow.bus.control import ACTOR_MAX_CHARS, REASON_MAX_CHARS, Wish
from streamflow.errors import BrokerUnavailable, IllegalMove
from streamflow.query.why_text import moment
from streamflow.web.access import ANONYMOUS
from streamflow.web.guard import caller_of
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.routes import Routes

TIMEOUT_MAX_MS = 30_000

_VERBS = {
    "pause": (Wish.PAUSE, "Commit what is done and read no more, until it is resumed."),
    "resume": (Wish.RUN, "Go on where it stands; after a stop or a cancel as another run."),
    "stop": (Wish.STOP, "Read no more from the sources, work off and commit what was taken in, then complete."),
    "cancel": (Wish.CANCEL, "Commit what is done and end at once, at every node; what lies between them stays there."),
}


#: Text without control characters: it is shown in logs and on terminals.
LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"


class OrderBody(BaseModel):
    """Who gives an order, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    actor: str = Field(
        "", max_length=ACTOR_MAX_CHARS, pattern=LINE, description="who gives it, where nobody has to say who they are"
    )
    reason: str = Field("", max_length=REASON_MAX_CHARS, pattern=LINE, description="why, on one line")
    version: int | None = Field(None, ge=0, description="version that it is based on: refused when another came since")


def control_routes(service: Service) -> Routes:
    """Routes that give orders and show the state."""
    router = Routes()

    @router.get("/v1/topologies/{topology}/state", tags=["control"], operation_id="show_state")
    async def show_state(topology: str) -> Response:
        """State, the order that holds with its version, actor and reason, and the tasks that have not obeyed it yet."""
        _check(service, topology)
        return JsonResponse(service.controls.standing())

    for verb, (wish, text) in _VERBS.items():
        router.post(
            f"/v1/topologies/{{topology}}/{verb}",
            tags=["control"],
            operation_id=verb,
            responses={202: json_answer("The same; some tasks have not obeyed yet.")},
            description=f"{text} 200 when every task on every worker has obeyed, 202 while some have not; workers that "
            "start later obey too. Giving the order that holds again changes nothing. 409 when it cannot follow.",
        )(_ordering(service, wish))
    return router


def held_sentence(topology: str, standing: Mapping[str, Any]) -> list[str]:
    """Why nothing is read, when an order says so."""
    if standing["wish"] == Wish.RUN:
        return []
    order = f"{standing['wish']} was ordered by {standing['actor'] or 'somebody'} at {moment(standing['at'])}"
    why = f" ({standing['reason']})" if standing["reason"] else ""
    return [f"{topology} is {standing['state']}: {order}{why}; until it is resumed nothing closes for new events."]


def _ordering(service: Service, wish: Wish) -> Callable[..., Awaitable[Response]]:
    async def order(
        request: Request,
        topology: str,
        body: OrderBody | None = None,
        timeout_ms: int = Query(0, ge=0, le=TIMEOUT_MAX_MS, description="how long to wait until all have obeyed"),
    ) -> Response:
        _check(service, topology)
        given = body or OrderBody()
        caller = caller_of(request)
        actor = given.actor if caller is ANONYMOUS else caller.name  # who has a name has no other
        try:
            version = await service.controls.order(wish, actor, given.reason, given.version)
        except IllegalMove as error:
            raise Refusal(409, "illegal_move", str(error), **_standing(service)) from error
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        done = await service.controls.obeyed(version, timeout_ms / 1_000)
        return JsonResponse(service.controls.standing(), status_code=200 if done else 202)

    return order


def _standing(service: Service) -> dict[str, Any]:
    standing = service.controls.standing()
    return {"state": standing["state"], "version": standing["version"]}


def _check(service: Service, topology: str) -> None:
    if topology != service.plan.topology:
        raise Refusal(404, "unknown_topology", f"no topology {topology!r}; there is {service.plan.topology!r}")
