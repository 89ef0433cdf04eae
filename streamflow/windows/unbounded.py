"""One window for all time: the running aggregate of a key."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unbounded:
    """Never closes; what it holds is shown by updates and queries."""

    @property
    def layout(self) -> str:
        """What the bytes of a table depend on."""
        return "unbounded"
