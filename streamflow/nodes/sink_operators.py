"""Operators of sinks outside of Kafka: rows are handed over to a feed, and delivered from it.

The feed is a topic of its own, so that what is delivered is what was committed, in an order that never changes: a crash
cannot make other rows of the same offsets (decision 0033).
"""

from dataclasses import dataclass

from streamflow.sinks.target import Target


@dataclass(frozen=True, slots=True)
class Hand:
    """Leaves for the feed of a sink, with time and key: what a Deliver becomes in the stage of its rows."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Leaves for a target outside of Kafka. It is alone in its stage, behind its feed."""

    target: Target
