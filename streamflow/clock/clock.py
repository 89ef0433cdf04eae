"""The clock port: wall clock in ms since the epoch, and a monotonic one. Idleness and pacing look at nothing else."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""

    def monotonic_ms(self) -> float:
        """Milliseconds since some moment; never goes back."""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(time.time() * 1_000)

    def monotonic_ms(self) -> float:
        """Milliseconds since some moment."""
        return time.monotonic() * 1_000
