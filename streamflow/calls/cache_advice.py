"""What the figures of a cache say: whether it is worth its memory, and which option to change."""

from collections.abc import Mapping

from streamflow.calls.policy import CachePlan

#: Look-ups before figures say anything.
_ENOUGH = 100
#: Above it a cache is good, below the other it needs something.
_GOOD, _LOW = 0.7, 0.5
_NEARLY_FULL = 0.8
_GROWTH, _MAX_GROWN = 1.5, 10_000_000


def grade(figures: Mapping[str, float]) -> str:
    """`good`, `needs_optimization`, or nothing before there are enough look-ups."""
    if figures["hits"] + figures["misses"] < _ENOUGH:
        return ""
    return "good" if figures["hit_ratio"] > _GOOD else "needs_optimization"


def advice(figures: Mapping[str, float], plan: CachePlan) -> list[str]:
    """Sentences, none when all is well or there were too few look-ups."""
    if figures["hits"] + figures["misses"] < _ENOUGH:
        return []
    found = []
    if figures["evictions"] > figures["hits"]:
        found.append("results leave before they are asked for again: raise `size` or `max_bytes`")
    if figures["hit_ratio"] < _LOW:
        longer = "raise `ttl`" if plan.disk_bytes else "raise `ttl`, or keep results over restarts with `disk_bytes`"
        found.append(f"less than half of the look-ups are hits: {longer}; or leave the cache out")
    if figures["entries"] > _NEARLY_FULL * plan.max_entries:
        size = min(int(_GROWTH * plan.max_entries), _MAX_GROWN)
        found.append(f"the cache is nearly full: with `size: {size}` more would stay")
    return found
