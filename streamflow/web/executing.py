"""POST /v1/topologies/{topology}/execute: publish events and answer with what became of each."""

import time
from collections.abc import Mapping
from typing import Any

from fastapi import Query, Request, Response

from streamflow.errors import BrokerUnavailable
from streamflow.model.outcome import CORRELATION, Outcome, new_execution, numbered_executions
from streamflow.model.position import encode_token
from streamflow.plan.plan import Plan
from streamflow.plan.reach import nodes_behind
from streamflow.web.executing_many import ITEMS_MAX, answer_all
from streamflow.web.executions import KEPT_S, age_s
from streamflow.web.expected_versions import check_room, ready_to_wait
from streamflow.web.limits import PublishLimits, TokenBucket
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.publish_document import request_body
from streamflow.web.publishing import Pair, Target, admitted, events_of, targets_of, validated
from streamflow.web.routes import Routes
from streamflow.web.tracing import traced

TIMEOUT_MS = 5_000
TIMEOUT_MAX_MS = 30_000

_PATH = "/v1/topologies/{topology}"
_LATER: dict[int | str, dict[str, Any]] = {202: json_answer("What is known so far; ask at the Location again.")}


def executing_routes(service: Service, limits: PublishLimits, buckets: Mapping[str, TokenBucket]) -> Routes:
    """Routes that run events through the topology."""
    router = Routes()
    targets = targets_of(service)
    tables = {topic: _tables_behind(service.plan, target.node) for topic, target in targets.items()}
    events = request_body({topic: target.schema for topic, target in targets.items()}, lines=False)

    @router.post(_PATH + "/execute", tags=["execute"], operation_id="execute", responses=_LATER, openapi_extra=events)
    async def execute(
        request: Request,
        topology: str,
        source: str | None = Query(None, description="source topic; may be left out when there is one only"),
        key: str | None = Query(None, min_length=1, description="key of the event"),
        timeout_ms: int = Query(TIMEOUT_MS, ge=0, le=TIMEOUT_MAX_MS, description="how long to wait for the outcome"),
    ) -> Response:
        """Publish one event and wait until everything that becomes of it is committed: rows in sinks, late and dead
        letters. 200 with the outcome, or 202 with a Location to ask again. Windows answer for many events: query the
        `tables` with `after=` the token.

        An array of up to 100 events: `results` has the outcome of each, in their order, `counts` how many came to what;
        202 while one is pending. Events that are not accepted are `rejected`, the others go on."""
        began = time.monotonic()
        _check_topology(service, topology)
        topic, target = _target(targets, source)
        await ready_to_wait(service)
        body = await admitted(service, request, buckets[topic], limits)
        many = body.startswith(b"[")
        values = events_of(body, ITEMS_MAX) if many else [body]
        if not values:
            raise Refusal(422, "empty", "the array is empty: give one event or more")
        check_room(service, len(values))
        buckets[topic].take(len(values))
        records, rejected = validated(target, values, key)
        if rejected and not many:
            raise Refusal(422, rejected[0]["reason"], rejected[0]["message"])
        ids = numbered_executions(new_execution(), len(records))
        token = await _published(service, request, topic, records, ids) if records else None
        outcomes = await service.executions.wait_all(ids, timeout_ms / 1_000)
        more = {"token": token, "tables": tables[topic]}
        if not many:
            return _answer(topology, ids[0], outcomes[0], more)
        took_ms = round((time.monotonic() - began) * 1_000)
        return answer_all(topology, ids, outcomes, rejected, {"took_ms": took_ms, **more})

    _add_show(router, service)
    return router


def _add_show(router: Routes, service: Service) -> None:
    @router.get(_PATH + "/executions/{execution}", tags=["execute"], operation_id="show_execution", responses=_LATER)
    async def show_execution(
        topology: str,
        execution: str,
        timeout_ms: int = Query(0, ge=0, le=TIMEOUT_MAX_MS, description="how long to wait for the outcome"),
        count: int | None = Query(None, ge=1, le=ITEMS_MAX, description="of so many that were executed together"),
    ) -> Response:
        """The outcome of an execution of the last ten minutes; any worker has it. 202 while something is on its way."""
        _check_topology(service, topology)
        age = age_s(execution)
        if age is None:
            raise Refusal(404, "unknown_execution", f"{execution!r} is no execution: ask at the Location given")
        if age > KEPT_S:
            raise Refusal(410, "expired", f"outcomes are kept for {KEPT_S} s; the results are in the sinks")
        await ready_to_wait(service, count or 1)
        if count is None:
            return _answer(topology, execution, await service.executions.wait(execution, timeout_ms / 1_000), {})
        ids = numbered_executions(execution, count)
        return answer_all(topology, ids, await service.executions.wait_all(ids, timeout_ms / 1_000), [], {})


async def _published(service: Service, request: Request, topic: str, records: list[Pair], ids: list[str]) -> str:
    """Publish each record under its id; the token of the position."""
    marks = [((CORRELATION, each.encode()),) for each in ids]
    try:
        with traced(service, request, topic) as headers:
            return encode_token({topic: await service.publish(topic, records, headers, each=marks)})
    except BrokerUnavailable as error:
        raise broker_unavailable(error) from error


def _check_topology(service: Service, topology: str) -> None:
    if topology != service.plan.topology:
        raise Refusal(404, "unknown_topology", f"no topology {topology!r}; there is {service.plan.topology!r}")


def _target(targets: dict[str, Target], source: str | None) -> tuple[str, Target]:
    if source is None and len({target.node for target in targets.values()}) == 1:
        return next(iter(targets.items()))  # before its levels
    if source not in targets:
        names = ", ".join(sorted(targets))
        said = "source is missing" if source is None else f"there is no source topic {source!r}"
        raise Refusal(422, "bad_parameter", f"{said}: give source= one of {names}")
    return source, targets[source]


def _answer(topology: str, execution: str, outcome: Outcome, more: dict[str, Any]) -> Response:
    body = {"id": execution, **outcome.shown(), **more}
    if outcome.is_complete:
        return JsonResponse(body)
    location = f"/v1/topologies/{topology}/executions/{execution}"
    return JsonResponse(body, status_code=202, headers={"Location": location, "Retry-After": "1"})


def _tables_behind(plan: Plan, source: str) -> list[str]:
    """Names of the tables that an event of a source may change."""
    reached = {node.name for node in nodes_behind(plan, source)}
    return [table.name for stage in plan.stages for table in stage.tables if table.node in reached]
