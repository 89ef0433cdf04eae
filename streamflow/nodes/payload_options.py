"""Options of nodes that keep payloads beside Kafka, and what they lower to."""

from pydantic import Field as Option

from streamflow.calls.caller import Action
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Flow, Lowered, Lowering
from streamflow.nodes.operators import Await
from streamflow.nodes.resilience import AsyncConfig, is_ordered, mark_of, policy_of


class PayloadConfig(AsyncConfig):
    """What both have. A task holds up to `concurrency` payloads in memory."""

    concurrency: int = Option(
        8, ge=1, le=1_000, description="rows of a partition that are worked on at once, the answered ones included"
    )
    max_bytes: int = Option(16 << 20, ge=1, le=1 << 30, description="largest payload; larger ones are dead letters")


def with_fields(config: PayloadConfig, lowering: Lowering, *fields: Field) -> Schema:
    """The input's fields, these in their place or behind them, and the mark of kept results."""
    changed = {field.name: field for field in fields}
    mark, before = mark_of(config.resilience), lowering.input.schema
    if mark is not None:
        if mark in changed or mark in before.names:
            lowering.problem(f"the row has {mark!r} already", "choose another name", "resilience.cache.mark")
        changed[mark] = Field(mark, FieldType.BOOL)
    stay = [changed.pop(field.name, field) for field in before.fields]
    return Schema(f"{lowering.name.title().replace('_', '')}Row", (*stay, *changed.values()))


def lowered_payload(
    config: PayloadConfig, lowering: Lowering, action: Action, output: Schema, *fields: Field
) -> Lowered | None:
    """The node, None when something is wrong. fields: what it gives, the first of which must not be in the key."""
    key = lowering.input.key
    if key is not None and fields[0].name in key.fields:
        lowering.problem(
            f"the key of the rows is made of {fields[0].name!r}", "key by another field before it", "field"
        )
    policy = policy_of(config.resilience, Schema("Result", fields), lowering)
    ordered = is_ordered(config, lowering)
    if lowering.failed:
        return None
    flow = Flow(output, key, lowering.input.key_name, lowering.input.repeats)
    return Lowered(Await(action, policy, config.concurrency, ordered=ordered), flow)
