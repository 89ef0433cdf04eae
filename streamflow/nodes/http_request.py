"""http_request: asks an HTTP service about every row."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.calls.http import HttpAction
from streamflow.nodes.http_options import (
    ResponseConfig,
    body_templates,
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


class HttpRequestConfig(ResponseConfig):
    """Configuration of an http_request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Option("GET", description="HTTP method")
    body: dict[str, Any] | None = Option(
        None, description="JSON body with look-ups; a look-up that stands alone keeps its type"
    )


class HttpRequest(NodeKind):
    """Gives each row with fields of the response. Requests are repeated after a crash: at least once.

    Rows come by a topic of the node's own; many requests are under way at once, and the order of rows stays.
    """

    kind = "http_request"
    display_name = "HTTP request"
    description = "Asks an HTTP service about every row, and adds fields of its JSON response."
    category = Category.INTEGRATION
    tags = ("stateless", "http", "async")
    config_type = HttpRequestConfig
    example = {
        "url": "https://api.example.com/v1/sensors/{sensor}",
        "headers": {"Authorization": "Bearer ${secret:example}"},
        "response": {"place": "str", "height": "float?"},
        "paths": {"height": "position.height"},
        "resilience": {"timeout": "5s", "breaker": {"failures": 5, "open_for": "10s"}},
    }

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """It always does."""
        return True

    def lower(self, config: HttpRequestConfig, lowering: Lowering) -> Lowered | None:
        """Compile the look-ups and put the row together."""
        response = response_schema(config, lowering)
        keep, output = output_schema(config, response, lowering)
        if config.body is not None and config.method in ("GET", "DELETE"):
            lowering.problem(f"{config.method} has no body", "use `query`, or method POST", "body")
        action = HttpAction(
            method=config.method,
            url=url_template(config, lowering),
            query=pairs(config.query, "query", lowering),
            headers=header_templates(config, lowering),
            body=None if config.body is None else body_templates(config.body, "body", lowering),
            whole_row=(),
            keep=keep,
            response=response,
            paths=split_paths(config),
            output=output,
            degraded=config.degraded,
            max_bytes=config.max_bytes,
            pool=config.connections,
            connect_timeout_ms=config.connect_timeout,
        )
        policy, before = policy_of(config.resilience, response, lowering), lowering.input
        if lowering.failed:
            return None
        flow = Flow(output, before.key, before.key_name, before.repeats)
        return Lowered(Await(action, policy, config.concurrency), flow)
