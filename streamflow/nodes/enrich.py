"""enrich: looks every row up in an HTTP service; the same operator as http_request, for services that are tables."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.nodes.http_options import ResponseConfig, lowered_call, response_schema
from streamflow.nodes.kind import Category, Lowered, Lowering, Mode, NodeKind, Resources


class EnrichConfig(ResponseConfig):
    """Configuration of an enrich."""

    missing: Literal["null", "dead_letter"] = Option(
        "null", description="rows that the service answers with 404: null fields, or put aside"
    )


class Enrich(NodeKind):
    """Adds fields that an HTTP service has for a row, asked as http_request does; `lookup` reads a topic instead."""

    kind = "enrich"
    display_name = "Enrich"
    description = "Adds fields that an HTTP service has for a row; null where it has none."
    category = Category.INTEGRATION
    tags = ("stateless", "http", "async")
    modes = (Mode.ASYNC,)
    resources = Resources(network=True)
    config_type = EnrichConfig
    example = {
        "url": "https://api.example.com/v1/sensors/{sensor}",
        "response": {"place": "str"},
        "resilience": {"cache": {"size": 1_000, "ttl": "10m"}},
    }

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """It always does."""
        return True

    def lower(self, config: EnrichConfig, lowering: Lowering) -> Lowered | None:
        """Compile the look-ups; what may be missing may be null."""
        optional, response = config.missing == "null", response_schema(config, lowering)
        shown = response_schema(config, lowering, nullable=optional)
        return lowered_call(config, lowering, response, shown, method="GET", not_found=optional)
