"""POST /v1/topologies/{topology}/execute: publish one event and answer with what became of it."""

from collections.abc import Mapping
from typing import Any

from fastapi import Query, Request, Response

from streamflow.errors import BrokerUnavailable
from streamflow.model.outcome import CORRELATION, Outcome, new_execution
from streamflow.model.position import encode_token
from streamflow.plan.plan import EntryKind, Plan
from streamflow.web.executions import KEPT_S, age_s
from streamflow.web.limits import PublishLimits, TokenBucket
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.publish_document import request_body
from streamflow.web.publishing import Target, admitted, targets_of, validated
from streamflow.web.routes import Routes
from streamflow.web.tracing import traced

TIMEOUT_MS = 5_000
TIMEOUT_MAX_MS = 30_000

_PATH = "/v1/topologies/{topology}"
_LATER: dict[int | str, dict[str, Any]] = {202: json_answer("What is known so far; ask at the Location again.")}


def executing_routes(service: Service, limits: PublishLimits, buckets: Mapping[str, TokenBucket]) -> Routes:
    """Routes that run single events through the topology."""
    router = Routes()
    targets = targets_of(service)
    tables = {topic: _tables_behind(service.plan, target.node) for topic, target in targets.items()}
    events = request_body({topic: target.schema for topic, target in targets.items()}, one=True)

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
        `tables` with `after=` the token."""
        _check_topology(service, topology)
        topic, target = _target(targets, source)
        if service.executions.is_full:
            raise Refusal(429, "busy", "too many executions are waited for", retry_after_s=1)
        body = await admitted(service, request, buckets[topic], limits)
        buckets[topic].take(1)
        records, rejected = validated(target, [body], key)
        if rejected:
            raise Refusal(422, rejected[0]["reason"], rejected[0]["message"])
        execution = new_execution()
        try:
            await service.follow_outcomes()
            with traced(service, request, topic) as headers:
                ends = await service.publish(topic, records, [(CORRELATION, execution.encode()), *headers])
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        outcome = await service.executions.wait(execution, timeout_ms / 1_000)
        return _answer(topology, execution, outcome, {"token": encode_token({topic: ends}), "tables": tables[topic]})

    @router.get(_PATH + "/executions/{execution}", tags=["execute"], operation_id="show_execution", responses=_LATER)
    async def show_execution(
        topology: str,
        execution: str,
        timeout_ms: int = Query(0, ge=0, le=TIMEOUT_MAX_MS, description="how long to wait for the outcome"),
    ) -> Response:
        """The outcome of an execution of the last ten minutes; any worker has it. 202 while something is on its way."""
        _check_topology(service, topology)
        age = age_s(execution)
        if age is None:
            raise Refusal(404, "unknown_execution", f"{execution!r} is no execution: ask at the Location given")
        if age > KEPT_S:
            raise Refusal(410, "expired", f"outcomes are kept for {KEPT_S} s; the results are in the sinks")
        if service.executions.is_full:
            raise Refusal(429, "busy", "too many executions are waited for", retry_after_s=1)
        try:
            await service.follow_outcomes()
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        return _answer(topology, execution, await service.executions.wait(execution, timeout_ms / 1_000), {})

    return router


def _check_topology(service: Service, topology: str) -> None:
    if topology != service.plan.topology:
        raise Refusal(404, "unknown_topology", f"no topology {topology!r}; there is {service.plan.topology!r}")


def _target(targets: dict[str, Target], source: str | None) -> tuple[str, Target]:
    if source is None and len(targets) == 1:
        return next(iter(targets.items()))
    if source not in targets:
        names = ", ".join(sorted(targets))
        said = "source is missing" if source is None else f"there is no source topic {source!r}"
        raise Refusal(422, "bad_parameter", f"{said}: give source= one of {names}")
    return source, targets[source]


def _answer(topology: str, execution: str, outcome: Outcome, more: dict[str, Any]) -> Response:
    body = {
        "id": execution,
        "status": outcome.status,
        "rows": outcome.rows,
        "late": outcome.late,
        "dead": outcome.dead,
        **more,
    }
    if outcome.is_complete:
        return JsonResponse(body)
    location = f"/v1/topologies/{topology}/executions/{execution}"
    return JsonResponse(body, status_code=202, headers={"Location": location, "Retry-After": "1"})


def _tables_behind(plan: Plan, source: str) -> list[str]:
    """Names of the tables that an event of a source may change."""
    reached, found = {source}, []
    for stage in plan.stages:  # writers of repartition topics before their readers
        entries = {entry.node for entry in stage.entries if entry.kind is EntryKind.REPARTITION or entry.node == source}
        reached_here = entries & reached
        for node in stage.nodes:
            if reached_here.intersection(node.inputs):
                reached_here.add(node.name)
        reached |= reached_here
        found += [table.name for table in stage.tables if table.node in reached_here]
    return found
