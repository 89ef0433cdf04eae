"""GET /v1/executions[/{id}]: what became of events that have an id, made from the log of the bus.

The table is read on when somebody asks, from where the last question left it: nobody asks, nothing runs. A question
that finds much to read is told to come again, and goes on there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from streamflow.bus.control import ACTOR_MAX_CHARS, REASON_MAX_CHARS
from streamflow.bus.event import rfc3339
from streamflow.bus.event_types import EventType
from streamflow.bus.executions import EXECUTION_TYPES, ExecutionFilter, ExecutionTable
from streamflow.bus.feed import EventFeed, encode_cursor
from streamflow.bus.filter import EventFilter
from streamflow.bus.states import State
from streamflow.errors import BrokerUnavailable, TopicError
from streamflow.web.access import ANONYMOUS
from streamflow.web.control import LINE, TIMEOUT_MAX_MS
from streamflow.web.events import feed_of
from streamflow.web.guard import caller_of
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.routes import Routes

LIMIT_MAX = 1_000
_PAGE_EVENTS = 5_000
#: How long a question reads on before it is told to come again.
_READ_S = 5.0
#: Between two looks whether a cancelled execution has ended.
_LOOK_S = 0.1
_WANTED = EventFilter(types=EXECUTION_TYPES)


class CancelBody(BaseModel):
    """Who cancels an execution, and why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    actor: str = Field(
        "", max_length=ACTOR_MAX_CHARS, pattern=LINE, description="who says it, where nobody has to say who they are"
    )
    reason: str = Field("", max_length=REASON_MAX_CHARS, pattern=LINE, description="why, on one line")


class KnownExecutions:
    """The table of one process."""

    def __init__(self) -> None:
        self.table = ExecutionTable()
        self._positions: dict[int, int] = {}
        self._reading = asyncio.Lock()

    @property
    def cursor(self) -> str:
        """Up to where the table reflects the log."""
        return encode_cursor(self._positions)

    async def read_on(self, feed: EventFeed) -> None:
        """Up to the end that the log has now. Raises Refusal."""
        until = time.monotonic() + _READ_S
        async with self._reading:
            at_end = False
            while not at_end:
                try:
                    page = await feed.page(self._positions, None, _WANTED, _PAGE_EVENTS)
                except (BrokerUnavailable, TopicError) as error:
                    raise broker_unavailable(error) from error
                for event in page.events:
                    self.table.add(event)
                self._positions, at_end = page.positions, page.at_end
                if not at_end and time.monotonic() > until:
                    raise Refusal(503, "reading", "the log is still being read: ask again", retry_after_s=1)


def execution_routes(service: Service) -> Routes:
    """Routes of the table of executions."""
    router = Routes(tags=["executions"])
    executions = KnownExecutions()

    async def current() -> ExecutionTable:
        await executions.read_on(feed_of(service))
        return executions.table

    @router.get("/v1/executions", operation_id="list_executions")
    async def list_executions(
        topology: Annotated[str, Query(description="of this topology")] = "",
        state: Annotated[State | None, Query(description="in this state")] = None,
        key: Annotated[str | None, Query(description="of events with this key")] = None,
        since: Annotated[datetime | None, Query(description="begun not before")] = None,
        until: Annotated[datetime | None, Query(description="begun before")] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = 100,
        cursor: Annotated[str | None, Query(max_length=300, description="from the answer before")] = None,
    ) -> Response:
        """Executions that match, the latest begun first, without their nodes. `left_out`: how many are kept no more.
        `upto`: how far the log is reflected; `streamflow audit rebuild --executions` makes the same of it."""
        table = await current()
        wanted = ExecutionFilter(topology, state, key, _text(since), _text(until))
        begun, _, name = (cursor or "").partition(" ")
        found: list[dict[str, Any]] = []
        rest = False
        for row in table.newest(wanted):
            if cursor is not None and (row["started"], row["id"]) >= (begun, name):
                continue
            if len(found) == limit:
                rest = True
                break
            found.append({**row, "nodes": len(row["nodes"])})
        more = f"{found[-1]['started']} {found[-1]['id']}" if rest else None
        answer = {"executions": found, "cursor": more, "left_out": table.left_out, "upto": executions.cursor}
        return JsonResponse(answer)

    @router.get("/v1/executions/{execution:path}", operation_id="show_timeline")
    async def show_timeline(execution: Annotated[str, Path(max_length=400, description="its id")]) -> Response:
        """One execution with its timeline: nodes in the order in which they were told of, with states and times. Which
        ones are told of, and with what, is a matter of STREAMFLOW_EVENTS_DETAIL."""
        row = (await current()).row(execution)
        if row is None:
            raise Refusal(404, "unknown_execution", f"{execution!r} is not known, or known no more")
        return JsonResponse(row)

    _add_cancel(router, service, current)
    return router


def _add_cancel(router: Routes, service: Service, current: Callable[[], Awaitable[ExecutionTable]]) -> None:
    @router.post(
        "/v1/executions/{execution:path}/cancel",
        operation_id="cancel_execution",
        responses={202: json_answer("It is ordered, and will take effect.")},
    )
    async def cancel_execution(
        request: Request,
        execution: Annotated[str, Path(min_length=1, max_length=200, description="its id")],
        body: CancelBody | None = None,
        timeout_ms: Annotated[int, Query(ge=0, le=TIMEOUT_MAX_MS, description="how long to wait for its end")] = 0,
    ) -> Response:
        """End one execution at all nodes, wherever its rows are: what waits at approvals goes, what comes to a stage is
        worked on no more. 200 when it has ended (its state says how), 202 while it has not. Twice does no harm."""
        row = (await current()).row(execution)
        if row is None:
            raise Refusal(404, "unknown_execution", f"{execution!r} is not known, or known no more")
        if State(row["state"]).is_final:
            return JsonResponse({"id": execution, "state": row["state"]})
        if row["topology"] != service.plan.topology:  # the log is that of all topologies, its orders are of one
            detail = f"{execution!r} is of {row['topology']!r}: ask one of its workers, this is none"
            raise Refusal(409, "other_topology", detail)
        given, caller = body or CancelBody(), caller_of(request)
        actor = given.actor if caller is ANONYMOUS else caller.name  # who has a name has no other
        try:
            await service.controls.cancel_execution(execution.encode(), actor, given.reason)
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        data = {"execution": execution, "reason": given.reason}
        if not service.events.emit(EventType.EXECUTION_CANCELLED, row["topology"], data, actor=actor, key=execution):
            detail = "it is ordered, but too many events wait for Kafka, so nobody is told by whom: order it again"
            raise Refusal(503, "busy", detail, retry_after_s=2)
        until = time.monotonic() + timeout_ms / 1_000
        while True:
            state = ((await current()).row(execution) or row)["state"]
            if State(state).is_final or time.monotonic() >= until:
                break
            await asyncio.sleep(_LOOK_S)
        return JsonResponse({"id": execution, "state": state}, status_code=200 if State(state).is_final else 202)


def _text(time: datetime | None) -> str:
    try:
        return "" if time is None else rfc3339(time if time.tzinfo is not None else time.replace(tzinfo=UTC))
    except OverflowError as error:
        raise Refusal(422, "bad_parameter", f"{time} is beyond the years 1 to 9999 in UTC") from error
