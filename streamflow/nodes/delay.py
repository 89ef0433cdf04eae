"""delay: lets rows wait in a topic."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field as Option

from streamflow.calls.policy import Policy, Retry
from streamflow.calls.waiting import DelayAction
from streamflow.nodes.kind import Category, DurationMs, Lowered, Lowering, Mode, NodeConfig, NodeKind
from streamflow.nodes.operators import Await

#: Rows of a task that wait in memory; all others wait in the topic alone.
_ASLEEP = 1_000
_SLACK_MS = 60_000


class DelayConfig(NodeConfig):
    """Configuration of a delay."""

    by: DurationMs = Option(
        ge=1, le=3 * 86_400_000, description="how long rows wait, by the wall clock; 3 days at most"
    )


class Delay(NodeKind):
    """Gives rows on some time after they came, in their order. They wait in a topic of the node's own, not in memory.

    The time of the wall clock counts, from when a row was written to that topic, and goes on while the topology stands
    still. Event times stay, and watermarks wait with the rows: nothing becomes late by it. The topic keeps rows for a
    week.
    """

    kind = "delay"
    display_name = "Delay"
    description = "Lets rows wait for a time of the wall clock, in a topic of its own."
    category = Category.UTILITY
    tags = ("stateless", "async", "time")
    modes = (Mode.ASYNC,)
    config_type = DelayConfig
    example = {"by": "10ms"}

    @classmethod
    def awaits(cls, config: Mapping[str, Any]) -> bool:
        """It always does."""
        return True

    def lower(self, config: DelayConfig, lowering: Lowering) -> Lowered | None:
        """Any row can wait."""
        policy = Policy(timeout_ms=config.by + _SLACK_MS, retry=Retry(attempts=1))
        action = DelayAction(config.by, lowering.input.schema)
        return Lowered(Await(action, policy, _ASLEEP, ends_soon=False), lowering.input)
