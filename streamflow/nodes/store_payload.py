"""store_payload: keeps what is too large for topics in the worker's store of payloads."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field as Option

from streamflow.calls.payloads import StoreAction
from streamflow.model.schema import Field, FieldType
from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, Mode, NodeKind, Resources
from streamflow.nodes.payload_options import PayloadConfig, lowered_payload, with_fields

_TYPES = (FieldType.STR, FieldType.JSON)


class StorePayloadConfig(PayloadConfig):
    """Configuration of a store_payload."""

    field: str = Option(description="field with the payload, str or json; null where it was stored")
    reference: FieldName = Option(
        description="new json field, `{digest, size}` of what was stored, null where the payload stays in its row"
    )
    over: int = Option(64 << 10, ge=0, description="payloads of more bytes are stored")


class StorePayload(NodeKind):
    """Takes large payloads out of rows, so that topics and tables behind it carry a reference (claim check).

    A payload lies in STREAMFLOW_PAYLOADS_URL under the SHA-256 digest of its bytes, so the same one is there once,
    however often it is stored. It is there before its row goes on. Nothing is deleted: rules of the store do that.
    """

    kind = "store_payload"
    display_name = "Store payload"
    description = "Keeps large fields in an object store or folder; the row has a reference to it."
    category = Category.INTEGRATION
    tags = ("stateless", "async", "objects")
    modes = (Mode.ASYNC,)
    resources = Resources(network=True)
    config_type = StorePayloadConfig
    example = {
        "field": "tags",
        "reference": "tags_reference",
        "over": 8,
        "resilience": {"timeout": "10s", "breaker": {"failures": 5, "open_for": "10s"}},
    }

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """It always does."""
        return True

    def lower(self, config: StorePayloadConfig, lowering: Lowering) -> Lowered | None:
        """The field may be null behind it."""
        before = lowering.input.schema.field(config.field)
        if before is None:
            lowering.has_field(config.field, "field")
            return None
        if before.type not in _TYPES:
            lowering.problem(f"{config.field!r} is {before.type}, and text or JSON is stored", "name another", "field")
        if config.reference in lowering.input.schema.names:
            lowering.problem(f"the row has {config.reference!r} already", "choose another name", "reference")
        if config.over >= config.max_bytes:
            lowering.problem(f"nothing has more than {config.over} bytes and no more than max_bytes", key="over")
        if config.resilience is not None and config.resilience.cache is not None:
            message = "what a row refers to is written again, so that it is as new as the row"
            lowering.problem(message, "leave it out", "resilience.cache")
        field = Field(config.field, before.type, nullable=True)
        reference = Field(config.reference, FieldType.JSON, nullable=True)
        output = with_fields(config, lowering, field, reference)
        action = StoreAction(
            config.field,
            before.type,
            config.reference,
            config.over,
            config.max_bytes,
            keep=lowering.input.schema.names,
            output=output,
        )
        return lowered_payload(config, lowering, action, output, field, reference)
