"""fetch_payload: puts payloads back that lie in the worker's store."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.calls.payloads import FetchAction
from streamflow.model.schema import Field, FieldType
from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, Mode, NodeKind, Resources
from streamflow.nodes.payload_options import PayloadConfig, lowered_payload, with_fields
from streamflow.nodes.resilience import mark_of


class FetchPayloadConfig(PayloadConfig):
    """Configuration of a fetch_payload."""

    reference: str = Option(description="json field with `{digest, size}`, by store_payload or by who sent the event")
    field: FieldName = Option(description="field that gets the payload; what it has stays where the reference is null")
    type: Literal["str", "json"] = Option("str", description="what the payload is: UTF-8 text, or JSON")


class FetchPayload(NodeKind):
    """Puts payloads into rows that refer to them, for the nodes behind it. The reference stays in the row.

    Size and digest of what comes are those of the reference. A payload that is not there or is another makes a dead
    letter (`payload_missing`, `payload_differs`); a store that does not answer is asked again, as `resilience` says.
    """

    kind = "fetch_payload"
    display_name = "Fetch payload"
    description = "Puts payloads back from the object store or folder that rows refer to."
    category = Category.INTEGRATION
    tags = ("stateless", "async", "objects")
    modes = (Mode.ASYNC,)
    resources = Resources(network=True)
    config_type = FetchPayloadConfig
    example = {
        "reference": "tags",
        "field": "text",
        "resilience": {"timeout": "10s", "breaker": {"failures": 5, "open_for": "10s"}},
    }

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """It always does."""
        return True

    def lower(self, config: FetchPayloadConfig, lowering: Lowering) -> Lowered | None:
        """The field may be null where it could be before, or where the reference may be."""
        schema, kind = lowering.input.schema, FieldType(config.type)
        reference, before = schema.field(config.reference), schema.field(config.field)
        if reference is None:
            lowering.has_field(config.reference, "reference")
            return None
        if reference.type is not FieldType.JSON:
            lowering.problem(f"{config.reference!r} is {reference.type}, a reference is json", "", "reference")
        if config.reference == config.field:
            lowering.problem("the payload would take the place of its reference", "name another field", "field")
        if before is not None and before.type is not kind:
            lowering.problem(f"{config.field!r} is {before.type} and not {kind}", "set `type`", "type")
        field = Field(config.field, kind, before.nullable if before else reference.nullable)
        output = with_fields(config, lowering, field)
        action = FetchAction(
            config.reference,
            config.field,
            kind,
            config.max_bytes,
            required=before is None and not field.nullable,
            keep=schema.names,
            output=output,
            kept=mark_of(config.resilience),
        )
        return lowered_payload(config, lowering, action, output, field)
