"""The states of a topology's run, of a node and of a keyed execution: one machine for the three of them.

                                  ┌────────────────────────────► COMPLETED
                                  │
    PENDING ──► QUEUED ──► RUNNING ──► FAILED
       │          │         │  ▲  │      ▲ ▲
       │          │         ▼  │  │      │ │
       │          │        PAUSED ├──────┘ │      QUEUED and PAUSED may fail too
       │          └────────────────────────┘
       └──────────┴───────────┴──► CANCELLED

PENDING: declared; nobody has it. QUEUED: somebody has it and prepares (a task is being restored). COMPLETED, FAILED and
CANCELLED are final: what goes on after them is another run, which begins with PENDING.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from streamflow.errors import IllegalMove


class State(StrEnum):
    """See the drawing above."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return not MOVES[self]


#: The drawing as data: what may follow each state.
MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.PENDING: frozenset({State.QUEUED, State.CANCELLED}),
        State.QUEUED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
        State.RUNNING: frozenset({State.PAUSED, State.COMPLETED, State.FAILED, State.CANCELLED}),
        State.PAUSED: frozenset({State.RUNNING, State.FAILED, State.CANCELLED}),
        State.COMPLETED: frozenset(),
        State.FAILED: frozenset(),
        State.CANCELLED: frozenset(),
    }
)


def moved(what: str, before: State, after: State) -> State:
    """`after`, when it may follow `before`. Raises IllegalMove, which names both and what may follow instead."""
    if after in MOVES[before]:
        return after
    follow = ", ".join(sorted(MOVES[before]))
    instead = f"it may become {follow}" if follow else f"{before} is final, only another run goes on"
    raise IllegalMove(f"{what} is {before} and cannot become {after}: {instead}")


def way(what: str, before: State | None, after: State) -> tuple[State, ...]:
    """States on the shortest way of the drawing to `after`, which is the last; `before` is not among them.

    Behind a final state, and behind None, another run begins. Raises IllegalMove where there is no way.
    """
    if before is None or before.is_final:
        return (State.PENDING, *(() if after is State.PENDING else way(what, State.PENDING, after)))
    ways: list[tuple[State, ...]] = [()]
    seen = {before}
    while ways:
        done = ways.pop(0)
        following = MOVES[done[-1] if done else before]
        if after in following:
            return (*done, after)
        following -= seen
        seen |= following
        ways += [(*done, state) for state in sorted(following)]
    raise IllegalMove(f"{what} is {before}, and no way leads from there to {after}")
