"""A circuit breaker per target: a host that is down is left alone, and found again when it is back.

               `failures` in a row
    CLOSED ─────────────────────────► OPEN ◄───────────┐
      ▲                                 │ `open_ms`    │ the probe fails
      │ the probe succeeds              ▼              │
      └───────────────────────────── HALF_OPEN ────────┘     one probe at a time

Only transient failures count: a target that answers, whatever it says, is there. A target may also ask for quiet
(Retry-After): nothing is sent to it until then, and that is no failure.

Thousands of calls may wait for a target to come back. They do not fall upon it at once: each success lets two more
go, so that their number doubles with each answer, and what fails lets only its successor go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from streamflow.calls.policy import BreakerPlan
from streamflow.calls.turns import Turns

#: How often those behind a probe look, at the least.
_ASK_AGAIN_S = 0.25
#: So many calls more that might go and do not: the target has all that there is for it.
_ROOM_ENOUGH = 1_000


class Circuit(StrEnum):
    """See the drawing above."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Pass:
    """A call may go ahead. probe: its outcome decides about an open circuit."""

    probe: bool = False


class Breaker:
    """Of one target. `now`: seconds of a monotonic clock."""

    def __init__(self, plan: BreakerPlan | None, now: Callable[[], float]) -> None:
        self._plan, self._now = plan, now
        self._failures = 0
        self._failing_since = 0.0
        self._opened_at: float | None = None
        self._probing = False
        self._quiet_until = 0.0
        #: Calls that may go at once, None: any number.
        self._room: int | None = None
        self.turns = Turns()
        self.opened_count = 0

    @property
    def circuit(self) -> Circuit:
        """Where it stands now."""
        if self._plan is None or self._opened_at is None:
            return Circuit.CLOSED
        passed_ms = (self._now() - self._opened_at) * 1_000
        return Circuit.HALF_OPEN if passed_ms >= self._plan.open_ms or self._probing else Circuit.OPEN

    def ask(self) -> Pass | float:
        """A pass, or after how many seconds to ask again. A probe that got a pass must report its outcome."""
        quiet_s = self._quiet_until - self._now()
        if quiet_s > 0:
            return quiet_s
        match self.circuit:
            case Circuit.CLOSED if self._room is None:
                return Pass()
            case Circuit.CLOSED if self._room:
                self._room -= 1
                return Pass()
            case Circuit.CLOSED:
                return _ASK_AGAIN_S
            case Circuit.HALF_OPEN if not self._probing:
                self._probing = True
                return Pass(probe=True)
        assert self._plan is not None
        assert self._opened_at is not None
        left_s = self._plan.open_ms / 1_000 - (self._now() - self._opened_at)
        return max(left_s, min(_ASK_AGAIN_S, self._plan.open_ms / 1_000))

    def succeeded(self, given: Pass) -> None:
        """The target answered."""
        self._failures = 0
        if given.probe:
            self._probing, self._opened_at, self._room = False, None, 0
        self._let_go(2)

    def failed(self, given: Pass) -> None:
        """The target failed in a transient way."""
        if not self._failures:
            self._failing_since = self._now()
        self._failures += 1
        plan = self._plan
        if plan is not None and (given.probe or (self._opened_at is None and self._failures >= plan.failures)):
            self._opened_at, self._probing = self._now(), False
            self.opened_count += 1
        self._let_go(1)

    def is_patient(self, given: Pass) -> bool:
        """Whether the failure of an attempt says more about the target than about its row."""
        plan = self._plan
        if plan is None or not (given.probe and plan.waits):
            return False
        return (self._now() - self._failing_since) * 1_000 < plan.patience_ms

    def gave_up(self, given: Pass) -> None:
        """The attempt ended without an outcome: it was cancelled, or the row was at fault."""
        if given.probe:
            self._probing = False
        self._let_go(1)

    def be_quiet(self, for_s: float) -> None:
        """The target asked to be left alone."""
        self._quiet_until = max(self._quiet_until, self._now() + for_s)
        if self._room is None:
            self._room = 1

    def _let_go(self, count: int) -> None:
        if self._room is None:
            return
        self._room += count
        if self._room > _ROOM_ENOUGH:
            self._room, count = None, len(self.turns)
        self.turns.let_go(count)
