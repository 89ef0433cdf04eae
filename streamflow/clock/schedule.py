"""When something is due again and again: every so often, or as a cron expression says.

`cron` is read by cronsim, which follows Debian's cron, also where clocks are put on or back. Moments are ms since the
epoch; those of `every` are its multiples, so all who ask agree.
"""

from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streamflow.errors import UserError


class Schedule(Protocol):
    """Moments, in ms since the epoch."""

    def latest(self, now_ms: int) -> int:
        """The last moment that is not in the future."""

    def following(self, moment_ms: int) -> int:
        """The first moment behind another."""


class Every:
    """Every multiple of a time."""

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms

    def latest(self, now_ms: int) -> int:
        """As Schedule."""
        return now_ms // self._every_ms * self._every_ms

    def following(self, moment_ms: int) -> int:
        """As Schedule."""
        return self.latest(moment_ms) + self._every_ms


class Cron:
    """A cron expression of five fields in a time zone. Raises UserError for one that cannot be read."""

    def __init__(self, expression: str, zone: str = "UTC") -> None:
        try:
            from cronsim import CronSim, CronSimError
        except ImportError as error:
            raise UserError("--cron needs a package: pip install 'streamflow[cron]'") from error
        try:
            self._zone: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise UserError(f"there is no time zone {zone!r}: give one as Europe/Berlin") from error
        self._cron, self._expression = CronSim, expression
        try:
            self.following(0)
        except (CronSimError, StopIteration) as error:
            said = str(error) or "it is never due"
            raise UserError(f"{expression!r} is no cron expression: {said}; five fields, as `0 2 * * *`") from error

    def latest(self, now_ms: int) -> int:
        """As Schedule."""
        behind = datetime.fromtimestamp(now_ms // 1_000 + 1, self._zone)
        return round(next(self._cron(self._expression, behind, reverse=True)).timestamp()) * 1_000

    def following(self, moment_ms: int) -> int:
        """As Schedule."""
        start = datetime.fromtimestamp(moment_ms // 1_000, self._zone)
        return round(next(self._cron(self._expression, start)).timestamp()) * 1_000
