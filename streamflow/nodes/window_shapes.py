"""Configurations of the shapes of windows, and the shapes they stand for."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator
from pydantic import Field as Option

from streamflow.nodes.kind import DurationMs, NodeConfig
from streamflow.windows.calendar import Calendar, Unit
from streamflow.windows.count import Counted
from streamflow.windows.session import Session
from streamflow.windows.shape import WindowShape
from streamflow.windows.sliding import Sliding
from streamflow.windows.tumbling import Tumbling
from streamflow.windows.unbounded import Unbounded

#: Windows that may overlap at one moment: a key's result is given this often per event of it.
OVERLAP_MAX = 10_000


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # the ways in which zoneinfo says that there is none
        raise ValueError(f"{name!r} is no time zone; use an IANA name such as Europe/Berlin or UTC") from error
    return name


class TumblingWindow(NodeConfig):
    """Windows side by side."""

    type: Literal["tumbling"]
    size: DurationMs = Option(ge=1, description="length of a window")
    offset: DurationMs = Option(0, ge=0, description="moves the borders away from the epoch (UTC)")

    def shape(self) -> WindowShape:
        """The shape it stands for."""
        return Tumbling(self.size, self.offset)

    def problems(self) -> list[tuple[str, str, str]]:
        """(key, message, remedy) of everything wrong with it."""
        return _offset_problems(self.offset, self.size, "size")


class SlidingWindow(NodeConfig):
    """Windows that overlap."""

    type: Literal["sliding"]
    size: DurationMs = Option(ge=1, description="length of a window")
    slide: DurationMs | None = Option(None, description="a window begins this often; half the size when left out")
    offset: DurationMs = Option(0, ge=0, description="moves the borders away from the epoch (UTC)")

    @property
    def slide_ms(self) -> int:
        """The slide, given or not."""
        return max(1, self.size // 2) if self.slide is None else self.slide

    def shape(self) -> WindowShape:
        """The shape it stands for."""
        return Sliding(self.size, self.slide_ms, self.offset)

    def problems(self) -> list[tuple[str, str, str]]:
        """(key, message, remedy) of everything wrong with it."""
        if not 1 <= self.slide_ms <= self.size:
            remedy = "between windows that do not touch, events would belong to none: use a filter for that"
            return [("slide", "the slide must be at least 1 ms and at most the size", remedy)]
        if self.size > OVERLAP_MAX * self.slide_ms:
            message = f"{self.size // self.slide_ms} windows overlap, {OVERLAP_MAX} are the most"
            return [("slide", message, "use a longer slide")]
        return _offset_problems(self.offset, self.slide_ms, "slide")


class SessionWindow(NodeConfig):
    """Windows that end after a silence."""

    type: Literal["session"]
    gap: DurationMs = Option(ge=1, description="so long without an event of the key ends its session")

    def shape(self) -> WindowShape:
        """The shape it stands for."""
        return Session(self.gap)

    def problems(self) -> list[tuple[str, str, str]]:
        """Nothing can be wrong with it."""
        return []


class CountWindow(NodeConfig):
    """Windows of so many events of a key, in order of arrival."""

    type: Literal["count"]
    size: int = Option(ge=1, le=1_000_000, description="events in a window")
    slide: int | None = Option(None, ge=1, description="a window begins every so many events; size when left out")
    within: DurationMs | None = Option(
        None,
        ge=1,
        description="so long after its first event (event time) a window ends with fewer; waits when left out",
    )

    def shape(self) -> WindowShape:
        """The shape it stands for."""
        return Counted(self.size, self.size if self.slide is None else self.slide, self.within or 0)

    def problems(self) -> list[tuple[str, str, str]]:
        """(key, message, remedy) of everything wrong with it."""
        if self.within is not None and self.slide not in (None, self.size):
            return [("within", "windows that overlap are complete or not there", "leave slide or within out")]
        if self.slide is None or self.slide <= self.size:
            shape = self.shape()
            assert isinstance(shape, Counted)
            if shape.size // shape.pane <= OVERLAP_MAX:
                return []
            return [("slide", f"a window would have {shape.size // shape.pane} parts", "use a slide that divides size")]
        return [("slide", "the slide must be at most the size", "events between windows would belong to none")]


class CalendarWindow(NodeConfig):
    """Days, weeks or months of a time zone."""

    type: Literal["calendar"]
    unit: Unit = Option(description="length of a window; weeks begin on Monday")
    zone: Annotated[str, AfterValidator(_known_zone)] = Option("UTC", description="IANA time zone of the borders")

    def shape(self) -> WindowShape:
        """The shape it stands for."""
        return Calendar(self.unit, self.zone)

    def problems(self) -> list[tuple[str, str, str]]:
        """Nothing can be wrong with it."""
        return []


class GlobalWindow(NodeConfig):
    """One window for all time: a running aggregate per key."""

    type: Literal["global"]

    def shape(self) -> WindowShape:
        """The shape it stands for."""
        return Unbounded()

    def problems(self) -> list[tuple[str, str, str]]:
        """Nothing can be wrong with it."""
        return []


WindowConfigShape = Annotated[
    TumblingWindow | SlidingWindow | SessionWindow | CountWindow | CalendarWindow | GlobalWindow,
    Option(discriminator="type"),
]


def _offset_problems(offset_ms: int, period_ms: int, period: str) -> list[tuple[str, str, str]]:
    if offset_ms < period_ms:
        return []
    return [("offset", f"the offset must be smaller than the {period}", "take the remainder")]
