"""enrich: looks every row up in an HTTP service; the same operator as http_request, for services that are tables."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.calls.http import HttpAction
from streamflow.nodes.http_options import (
    ResponseConfig,
    header_templates,
    output_schema,
    pairs,
    response_schema,
    split_paths,
    url_template,
)
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeKind
from streamflow.nodes.operators import Await
from streamflow.nodes.resilience import policy_of


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
        response = response_schema(config, lowering)
        shown = response_schema(config, lowering, nullable=config.missing == "null")
        keep, output = output_schema(config, shown, lowering)
        action = HttpAction(
            method="GET",
            url=url_template(config, lowering),
            query=pairs(config.query, "query", lowering),
            headers=header_templates(config, lowering),
            body=None,
            whole_row=(),
            keep=keep,
            response=response,
            paths=split_paths(config),
            output=output,
            degraded=config.degraded,
            not_found=config.missing == "null",
            max_bytes=config.max_bytes,
            pool=config.connections,
            connect_timeout_ms=config.connect_timeout,
        )
        policy, before = policy_of(config.resilience, shown, lowering), lowering.input
        if lowering.failed:
            return None
        flow = Flow(output, before.key, before.key_name, before.repeats)
        return Lowered(Await(action, policy, config.concurrency), flow)
