"""http_request: asks an HTTP service about every row."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.nodes.http_options import ResponseConfig, lowered_call, response_schema
from streamflow.nodes.kind import Category, Lowered, Lowering, Mode, NodeKind, Resources


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
    modes = (Mode.ASYNC,)
    resources = Resources(network=True)
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
        return lowered_call(config, lowering, response, response, method=config.method, body=config.body)
