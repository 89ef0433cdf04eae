"""Rows that wait for people: GET /v1/topologies/{topology}/approvals, POST …/approvals/{id}/decide.

A decision is appended to the topic of decisions, in the partition that has the row, and takes effect there. What is
answered before that is only courtesy: the row may be decided by somebody else meanwhile.
"""

import time
from typing import Annotated, Any

import orjson
from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from streamflow.errors import BrokerUnavailable, UserError
from streamflow.model.approval import ACTOR_MAX_CHARS, COMMENT_MAX_CHARS, Word, partition_of_id, problem_of
from streamflow.model.position import Positions, decode_token, encode_token
from streamflow.plan.plan import Stage, TablePlan
from streamflow.query.request import LIMIT_DEFAULT, LIMIT_MAX, Reason, RowState, TableQuery, decode_cursor
from streamflow.web.access import ANONYMOUS
from streamflow.web.guard import caller_of
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.routes import Routes
from streamflow.web.tables import WAIT_S, Gather

Node = Annotated[str | None, Query(description="the approval; may be left out when there is one only")]


class DecisionBody(BaseModel):
    """What somebody says."""

    model_config = ConfigDict(extra="forbid")

    decision: Word
    actor: str = Field("", max_length=ACTOR_MAX_CHARS, description="who, where nobody has to say who they are")
    comment: str | None = Field(None, max_length=COMMENT_MAX_CHARS)
    to: str | None = Field(None, min_length=1, max_length=ACTOR_MAX_CHARS, description="whom to ask instead")


class Desk:
    """What waits at the approvals of the topology, on whatever worker it is."""

    def __init__(self, service: Service) -> None:
        self._service, self._gather = service, Gather(service)
        entries = [(stage, entry) for stage in service.plan.stages for entry in stage.entries]
        self._nodes = {entry.decides: (stage, entry.topic) for stage, entry in entries if entry.decides}

    def approval(self, topology: str, node: str | None) -> tuple[Stage, TablePlan, str]:
        """Stage, table and topic of decisions of a node. Raises Refusal."""
        plan, nodes = self._service.plan, self._nodes
        if topology != plan.topology:
            raise Refusal(404, "unknown_topology", f"no topology {topology!r}; there is {plan.topology!r}")
        name = next(iter(nodes)) if node is None and len(nodes) == 1 else node or ""
        if name not in nodes:
            raise Refusal(404, "unknown_node", f"give node= one of the approvals: {', '.join(sorted(nodes)) or 'none'}")
        stage, topic = nodes[name]
        return stage, next(table for table in stage.tables if table.node == name), topic

    async def waiting(
        self, stage: Stage, table: TablePlan, query: TableQuery, wanted: list[int], token: Positions
    ) -> dict[str, Any]:
        """What waits in partitions, once a token is reflected. Raises Refusal."""
        own: Positions = {}
        if token:
            own, distance = await self._service.wait_until_reflected(stage, wanted, token, WAIT_S)
            if distance > 0:
                raise Refusal(202, Reason.NOT_REFLECTED, f"{distance} records are not reflected yet", retry_after_s=1)
        answer = await self._gather.answer(stage, table, query, wanted, own)
        body: dict[str, Any] = orjson.loads(answer.body)
        return {"approvals": [{"id": row["key"], **row["value"]} for row in body.pop("rows")], **body}

    async def say(
        self, stage: Stage, table: TablePlan, topic: str, approval: str, actor: str, body: DecisionBody, *, wait: bool
    ) -> Response:
        """Append a decision, and tell what has become of it. Raises Refusal."""
        partition = partition_of_id(approval)
        if partition is None or partition >= self._service.partition_count(topic):
            raise Refusal(404, "not_waiting", f"{approval!r} is no id of something that waits")
        query = TableQuery(approval.encode(), None, None, RowState.LATEST, 1, None)
        waits = (await self.waiting(stage, table, query, [partition], {}))["approvals"]
        if not waits:
            raise Refusal(404, "not_waiting", f"{approval} is decided, expired, or never was")
        voters = [vote["actor"] for vote in waits[0]["votes"]]
        problem = problem_of(body.decision, actor, body.to, waits[0]["approvers"], voters)
        if problem is not None:
            raise Refusal(409, "not_possible", problem)
        said = {"at": int(time.time() * 1_000), "id": approval, "decision": body.decision.value, "actor": actor}
        record = orjson.dumps({**said, "comment": body.comment, "to": body.to})
        try:
            ends = await self._service.publish(topic, [(approval.encode(), record)], partition=partition)
        except BrokerUnavailable as error:
            raise broker_unavailable(error) from error
        answer: dict[str, Any] = {"id": approval, "token": encode_token({topic: ends})}
        try:
            if wait:
                left = (await self.waiting(stage, table, query, [partition], {topic: ends}))["approvals"]
                return JsonResponse({**answer, "waits": left[0] if left else None})
        except Refusal as refusal:
            if refusal.status not in (202, 503):
                raise
        return JsonResponse(answer, status_code=202)  # it is said, and will take effect


def approval_routes(service: Service) -> Routes:
    """Routes that show what waits, and decide."""
    router = Routes()
    desk = Desk(service)

    @router.get("/v1/topologies/{topology}/approvals", tags=["approvals"], operation_id="list_approvals")
    async def list_approvals(
        topology: str,
        node: Node = None,
        limit: int = Query(LIMIT_DEFAULT, ge=1, le=LIMIT_MAX),
        cursor: str | None = Query(None, description="from the answer before"),
        after: str | None = Query(None, description="token of a publish or decision: wait until it is reflected"),
    ) -> Response:
        """Rows that wait, with who may decide, what was said, and until when; by partition and the time they came."""
        stage, table, _ = desk.approval(topology, node)
        try:
            place = None if cursor is None else decode_cursor(cursor)
            token = {} if after is None else decode_token(after)
        except UserError as error:
            raise Refusal(422, "bad_parameter", str(error)) from error
        query = TableQuery(None, None, None, RowState.LATEST, limit, place)
        wanted = list(range(service.partition_count(stage.input_topics[0])))
        return JsonResponse(await desk.waiting(stage, table, query, wanted, token))

    @router.post(
        "/v1/topologies/{topology}/approvals/{approval}/decide",
        tags=["approvals"],
        operation_id="decide_approval",
        responses={202: json_answer("It is said, and will take effect.")},
    )
    async def decide_approval(
        request: Request,
        topology: str,
        body: DecisionBody,
        approval: str = Path(max_length=64, description="id of what waits"),
        node: Node = None,
        wait: bool = Query(True, description="answer when it has taken effect"),
    ) -> Response:
        """Approve, reject, or delegate. 200 when it has taken effect, with what still waits (null: the row went on);
        202 when it will. Saying the same twice does no harm. 404: not waiting (any more); 409: not by this actor."""
        stage, table, topic = desk.approval(topology, node)
        caller = caller_of(request)
        actor = body.actor if caller is ANONYMOUS else caller.name
        return await desk.say(stage, table, topic, approval, actor, body, wait=wait)

    return router
