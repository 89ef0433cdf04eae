"""A token bucket that tells callers how long to wait: the n-th one in the queue gets the n-th token."""

from collections.abc import Callable

from streamflow.calls.policy import RatePlan


class RateLimit:
    """Of one node in one worker. `now`: seconds of a monotonic clock."""

    def __init__(self, plan: RatePlan, now: Callable[[], float]) -> None:
        self._step_s = plan.per_ms / 1_000 / plan.rate
        self._burst_s = (plan.burst - 1) * self._step_s
        self._now = now
        self._next_at = 0.0

    def reserve(self) -> float:
        """Take the next token; gives the seconds until it is there."""
        now = self._now()
        at = max(self._next_at, now - self._burst_s)
        self._next_at = at + self._step_s
        return max(0.0, at - now)
