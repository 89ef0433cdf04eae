"""How much goes to the bus, and where a task writes it."""

from dataclasses import dataclass
from enum import IntEnum


class Detail(IntEnum):
    """Least first; each says what those before it say.

    off: nothing. lifecycle: what happens to processes and tasks, dead letters and late rows summed up per checkpoint,
    where executions begin, wait, fail and end. sampled: one window in a hundred that closes, the nodes of one execution
    in a hundred. every: every window, all nodes of executions, and each dead letter by itself.
    """

    OFF = 0
    LIFECYCLE = 1
    SAMPLED = 2
    EVERY = 3


@dataclass(frozen=True, slots=True)
class DataPathBus:
    """Topic and detail for tasks that write events in their transactions.

    worker: who runs them. secret_fields: names that are masked, besides those that say so themselves.
    """

    topic: str
    detail: Detail
    worker: str = ""
    secret_fields: frozenset[str] = frozenset()
