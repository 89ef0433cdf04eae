"""webhook: tells an HTTP service of every row, at least once."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.calls.http import HttpAction
from streamflow.nodes.http_options import HttpConfig, body_templates, header_templates, pairs, url_template
from streamflow.nodes.kind import Category, Lowered, Lowering, Mode, NodeKind, Resources
from streamflow.nodes.operators import Await
from streamflow.nodes.resilience import is_ordered, policy_of


class WebhookConfig(HttpConfig):
    """Configuration of a webhook."""

    method: Literal["POST", "PUT", "PATCH"] = Option("POST", description="HTTP method")
    body: dict[str, Any] | None = Option(None, description="JSON body with look-ups; the row as JSON when left out")


class Webhook(NodeKind):
    """Sends rows to an HTTP service and gives them on when it has taken them (any 2xx).

    At least once: a row may be sent again after a crash or a time-out, with the same `Idempotency-Key`, which comes
    from its place in the topic of the node. Rows of a partition may be under way together; `concurrency: 1` sends one
    after the other.
    """

    kind = "webhook"
    display_name = "Webhook"
    description = "Sends every row to an HTTP service, at least once, with an idempotency key."
    category = Category.INTEGRATION
    tags = ("http", "async", "output")
    modes = (Mode.ASYNC,)
    resources = Resources(network=True)
    config_type = WebhookConfig
    example = {
        "url": "https://hooks.example.com/readings",
        "headers": {"Authorization": "Bearer ${secret:example}"},
        "resilience": {"retry": {"attempts": 5}},
    }

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """It always does."""
        return True

    def lower(self, config: WebhookConfig, lowering: Lowering) -> Lowered | None:
        """Compile the look-ups."""
        names = lowering.input.schema.names
        if config.resilience is not None and (config.resilience.fallback or config.resilience.cache):
            lowering.problem("a webhook gives nothing that could stand in or be kept", "leave it out", "resilience")
        action = HttpAction(
            method=config.method,
            url=url_template(config, lowering),
            query=pairs(config.query, "query", lowering),
            headers=header_templates(config, lowering),
            body=None if config.body is None else body_templates(config.body, "body", lowering),
            whole_row=names if config.body is None else (),
            keep=names,
            response=None,
            paths=(),
            output=lowering.input.schema,
            max_bytes=config.max_bytes,
            pool=config.connections,
            connect_timeout_ms=config.connect_timeout,
        )
        policy, ordered = policy_of(config.resilience, lowering.input.schema, lowering), is_ordered(config, lowering)
        return (
            None
            if lowering.failed
            else Lowered(Await(action, policy, config.concurrency, ordered=ordered), lowering.input)
        )
