"""How much goes to the bus, and where a task writes it."""

from dataclasses import dataclass
from enum import IntEnum


class Detail(IntEnum):
    """Least first; each says what those before it say.

    off: nothing. lifecycle: what happens to processes and tasks, dead letters and late rows summed up per checkpoint.
    sampled: one window in a hundred that closes. every: every window, and each dead letter by itself.
    """

    OFF = 0
    LIFECYCLE = 1
    SAMPLED = 2
    EVERY = 3


@dataclass(frozen=True, slots=True)
class DataPathBus:
    """Topic and detail for tasks that write events in their transactions. secret_fields: masked in what they say."""

    topic: str
    detail: Detail
    secret_fields: frozenset[str] = frozenset()
