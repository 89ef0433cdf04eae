"""Publishes that expect a version (If-Match): they wait until a node of kind accept has judged them.

What is expected travels in the event, so it is compared in the order of the topic, whoever else writes there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import orjson
from fastapi import Header, Query, Response

from streamflow.errors import BrokerUnavailable
from streamflow.nodes.operators import Process
from streamflow.nodes.versioned_writes import VersionedWrites
from streamflow.plan.plan import Plan, PlannedNode, Stage, TablePlan
from streamflow.plan.reach import nodes_behind
from streamflow.web.executions import KEPT_S, age_s
from streamflow.web.keyed_publishing import REPLAYED
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, problem_body

#: How long a write waits to be judged.
TIMEOUT_MS, TIMEOUT_MAX_MS = 5_000, 30_000
#: Digits of a version in a header: all fit into 64 bits.
_TAG = r'^"\d{1,18}"$'

IfMatch = Annotated[
    str | None, Header(pattern=_TAG, description='ETag of the row as it was seen, such as "3"; "0": there is none')
]
IfNoneMatch = Annotated[str | None, Header(pattern=r"^\*$", description="`*`: only if the key has no row yet")]
TimeoutMs = Annotated[int, Query(ge=0, le=TIMEOUT_MAX_MS, description="how long to wait for the outcome of If-Match")]


@dataclass(frozen=True, slots=True)
class Judge:
    """A node that judges the writes of a source, and the field in which what they expect travels."""

    node: str
    field: str


def judges_of(plan: Plan, sources: Mapping[str, str]) -> dict[str, Judge]:
    """By topic the node that judges its events; sources: node by topic. Topics with none, or several, are left out."""
    found = {}
    for topic, source in sources.items():
        fields = {node.name: field for node in nodes_behind(plan, source) if (field := _field_of(node)) is not None}
        if len(fields) == 1:
            found[topic] = Judge(*fields.popitem())
    return found


def _field_of(node: PlannedNode) -> str | None:
    """The field with what a write expects, of a node that judges them."""
    operator = node.operator
    if not isinstance(operator, Process) or operator.declared.target is not VersionedWrites:
        return None
    return str(dict(operator.arguments)["expected"])


def keeps_versions(stage: Stage, table: TablePlan) -> bool:
    """Whether a table is that of a node which judges writes."""
    return any(node.name == table.node and _field_of(node) is not None for node in stage.nodes)


def etag_of(rows: list[dict[str, Any]]) -> str:
    """Of the row of one key, or of its absence."""
    return f'"{rows[0]["value"]["row_version"] if rows else 0}"'


@dataclass(frozen=True, slots=True)
class Expected:
    """The version that a request expects, as its headers say it."""

    if_match: str | None
    if_none_match: str | None

    @property
    def given(self) -> bool:
        """Whether it expects any."""
        return self.if_match is not None or self.if_none_match is not None

    def put_into(self, body: bytes, judge: Judge | None) -> bytes:
        """The event of the body with the version in it; the same once more. Raises Refusal."""
        if self.if_match is not None and self.if_none_match is not None:
            raise Refusal(422, "bad_parameter", "If-Match and If-None-Match contradict each other: give one")
        if judge is None:
            detail = "no node of kind accept judges the events of this topic: leave If-Match out, or declare one"
            raise Refusal(422, "not_judged", detail)
        try:
            event = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Refusal(422, "not_json", f"a version is expected of one event, a JSON object: {error}") from error
        version = int((self.if_match or '"0"').strip('"'))
        return msgspec.json.encode({**event, judge.field: version})


def check_room(service: Service, count: int) -> None:
    """Whether so many more executions can be waited for. Raises Refusal."""
    if not service.executions.has_room(count):
        raise Refusal(429, "busy", "too many executions are waited for", retry_after_s=1)


async def ready_to_wait(service: Service, count: int = 1) -> None:
    """From now on no outcome is missed. Raises Refusal."""
    check_room(service, count)
    try:
        await service.follow_outcomes()
    except BrokerUnavailable as error:
        raise broker_unavailable(error) from error


async def judged(service: Service, judge: Judge, published: Response, timeout_ms: int) -> Response:
    """The answer to a publish that was appended, here or by another worker: what became of it as a write."""
    if published.status_code != 200:
        return published
    answer = orjson.loads(bytes(published.body))
    execution = answer["execution"]
    replayed = {REPLAYED: "true"} if REPLAYED in published.headers else {}
    if (age_s(execution) or 0) > KEPT_S:
        raise Refusal(410, "expired", f"outcomes are kept for {KEPT_S} s: query the table for the newest version")
    outcome = await service.executions.wait(execution, timeout_ms / 1_000, judged=True)
    writes = [each for each in outcome.writes if each["node"] == judge.node]
    if writes:
        return _told(answer, writes[0], replayed)
    if not outcome.is_complete:
        location = f"/v1/topologies/{service.plan.topology}/executions/{execution}"
        told = {"Location": location, "Retry-After": "1", **replayed}
        return JsonResponse({**answer, "status": "pending"}, status_code=202, headers=told)
    if outcome.dead:
        first = outcome.dead[0]
        raise Refusal(422, first["reason"] or "dead", f"{first['node']} put it aside: {first['error']}")
    if outcome.is_cancelled:
        raise Refusal(422, "cancelled", "its execution was cancelled before it was judged, so nothing was written")
    raise Refusal(422, "not_judged", f"a node before {judge.node} let the event go, so nothing was written")


def _told(answer: dict[str, Any], write: dict[str, Any], replayed: dict[str, str]) -> Response:
    etag = {"ETag": f'"{write["version"]}"', **replayed}
    if write["accepted"]:
        return JsonResponse({**answer, "version": write["version"]}, headers=etag)
    detail = f"the newest version of {write['key']!r} is {write['version']}: look at it, and write again"
    problem = problem_body(412, "version_conflict", detail)
    body = {**problem, "version": write["version"], "token": answer["token"]}
    return Response(orjson.dumps(body), 412, etag, "application/problem+json")
