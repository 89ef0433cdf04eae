"""approval: parks every row until people have decided about it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.model.approval import Outcome
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes import operators
from streamflow.nodes.kind import (
    Category,
    DurationMs,
    FieldName,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
)

_SHOWN = (
    Field("row", FieldType.JSON),
    Field("key", FieldType.JSON),
    Field("time", FieldType.TIMESTAMP),
    Field("parked_at", FieldType.TIMESTAMP),
    Field("deadline", FieldType.TIMESTAMP, nullable=True),
    Field("escalate_at", FieldType.TIMESTAMP, nullable=True),
    Field("escalated", FieldType.BOOL),
    Field("approvers", FieldType.JSON),
    Field("votes", FieldType.JSON),
    Field("delegations", FieldType.JSON),
)


class ApprovalConfig(NodeConfig):
    """Configuration of an approval."""

    quorum: int = Option(1, ge=1, le=100, description="how many people must approve")
    approvers: list[str] = Option(
        default_factory=list, max_length=100, description="who may decide; anybody who may operate, when left out"
    )
    deadline: DurationMs | None = Option(None, description="how long a row waits; for ever when left out")
    escalate_after: DurationMs | None = Option(None, description="after how long `escalate_to` is asked too")
    escalate_to: list[str] = Option(default_factory=list, max_length=100, description="who is asked then")
    clock: Literal["processing", "event"] = Option(
        "processing", description="what deadline and escalate_after are measured by: the wall clock, or event time"
    )
    time: Literal["decision", "event"] = Option(
        "decision",
        description="event time of rows that go on: the watermark when it was decided, so that they are never late, or "
        "their own, so that windows behind may find them late",
    )
    account: FieldName = Option("approval", description="field of the rows that go on with who decided what, as JSON")
    table: TableName | None = Option(None, description="name of the table of what waits; the node's when left out")
    max_parked: int = Option(20_000, ge=1, le=1_000_000, description="rows that wait in a task; more are dead letters")


class Approval(NodeKind):
    """Parks rows until people approve or reject them, or their deadline passes.

    Others read `node.approved`, `node.rejected` and `node.expired`. What waits is in the checkpoint; decisions come
    over HTTP or by `streamflow approvals decide`, and take effect exactly once. Rejected is what can get no quorum
    any more: so many rejections that too few named approvers are left, or one where nobody is named.
    """

    kind = "approval"
    display_name = "Approval"
    description = "Parks every row until people have decided about it."
    category = Category.UTILITY
    tags = ("stateful",)
    config_type = ApprovalConfig
    example = {"quorum": 2, "approvers": ["ann", "bob", "eve"], "deadline": "2d", "table": "gate"}
    stateful = True

    @classmethod
    def outputs_of(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """One per outcome."""
        return tuple(Outcome)

    def lower(self, config: ApprovalConfig, lowering: Lowering) -> Lowered | None:
        """Check what belongs together."""
        before = lowering.input
        if before.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        if config.account in before.schema.names:
            lowering.problem(f"there is a field {config.account!r} already", "choose another name", "account")
        if len(set(config.approvers)) < len(config.approvers):
            lowering.problem("somebody is named twice", "name each once", "approvers")
        if config.approvers and config.quorum > len(config.approvers):
            what = f"{config.quorum} of {len(config.approvers)} cannot approve"
            lowering.problem(what, "lower it, or name more approvers", "quorum")
        if (config.escalate_after is None) != (not config.escalate_to):
            lowering.problem("escalate_after and escalate_to go together", "give both or none", "escalate_to")
        if config.escalate_to and not config.approvers:
            lowering.problem("anybody may decide, so nobody is left to ask", "name approvers", "escalate_to")
        if config.deadline is not None and (config.escalate_after or 0) >= config.deadline:
            lowering.problem("it would be escalated after its deadline", "escalate sooner", "escalate_after")
        if lowering.failed or before.key is None:
            return None
        fields = (*before.schema.fields, Field(config.account, FieldType.JSON))
        flow = Flow(Schema(before.schema.name, fields), before.key, before.key_name, before.repeats)
        operator = operators.Park(
            before.schema,
            config.account,
            config.quorum,
            tuple(config.approvers),
            config.deadline,
            config.escalate_after,
            tuple(config.escalate_to),
            config.clock == "event",
            config.time == "event",
            config.max_parked,
            config.table or lowering.name,
        )
        shape = TableShape(operator.table, row_schema=Schema("Waiting", (Field("id", FieldType.STR), *_SHOWN)))
        return Lowered(operator, flow, shape, outputs={outcome.value: flow for outcome in Outcome})
