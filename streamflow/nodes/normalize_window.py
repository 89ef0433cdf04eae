"""normalize_window: brings a numeric field to a common scale, by the values of its key in the same window."""

from collections.abc import Iterator
from math import fsum, sqrt
from typing import Any, Literal

from pydantic import Field as Option

from streamflow.errors import EventError
from streamflow.kit import List, Timer
from streamflow.nodes.kind import Category, DurationMs, FieldName, Lowered, Lowering, NodeConfig, NodeKind, TableName
from streamflow.nodes.running import Running, finite, lowered_scale
from streamflow.windows.tumbling import Tumbling

ROWS_MAX = 10_000


class NormalizeWindowConfig(NodeConfig):
    """Configuration of a normalize_window."""

    field: str = Option(description="numeric field to normalize")
    method: Literal["min_max", "z_score"] = Option(
        description="place between least and greatest value of the window, or distance from the mean in deviations"
    )
    size: DurationMs = Option(ge=1, description="length of a window, in event time")
    offset: DurationMs = Option(0, ge=0, description="moves the borders away from the epoch (UTC)")
    into: FieldName | None = Option(None, description="field for the result; the same field when left out")
    max_rows: int = Option(1_000, ge=1, le=ROWS_MAX, description="rows of a key that wait; more become dead letters")
    table: TableName | None = Option(None, description="name of the table of rows that wait; the node's when left out")


class Scaled(Running):
    """Rows wait until their window ends, then leave with what its values make of theirs."""

    held = List(list, max_entries=ROWS_MAX)

    def process(self, row: Any) -> Iterator[Any]:
        """Keep the row, as [event time, fields]; one that is late leaves at once."""
        values = [getattr(row, name, None) for name in self._names]
        end = self._end(self.time_ms)
        if end <= self.watermark_ms:
            yield self._with(values, None)
            return
        if len(self.held) >= self._options["max_rows"]:
            raise EventError("state_full", f"{len(self.held)} rows of key {self.key!r} wait; raise max_rows")
        self.held.append([self.time_ms, values, getattr(row, self._field)])
        self.timers.set(end, str(end))

    def on_timer(self, timer: Timer) -> Iterator[Any]:
        """The rows of the window that has ended, in the order they came in."""
        waiting = list(self.held)
        ended = [each for each in waiting if self._end(each[0]) == timer.time_ms]
        self.held.replace([each for each in waiting if self._end(each[0]) != timer.time_ms])
        shift, scale = _scale(self._options["method"], [value for *_, value in ended if value is not None])
        for _, values, value in ended:
            yield self._with(values, (value - shift) / scale if value is not None and scale > 0 else None)

    def _end(self, time_ms: int) -> int:
        return Tumbling(self._options["size"], self._options["offset"]).pane_of(time_ms)[1]

    def _with(self, values: list[Any], result: float | None) -> Any:
        into = self._options["into"]
        return self._given(*[result if name == into else each for name, each in zip(self._names, values, strict=True)])


def _scale(method: str, values: list[float]) -> tuple[float, float]:
    """(what becomes 0, one unit) of a window's values; a unit of 0 when they do not differ, or cannot be added up."""
    if len(values) < 2:
        return 0.0, 0.0
    try:
        if method == "min_max":
            return min(values), finite(max(values) - min(values))
        mean = fsum(values) / len(values)
        return mean, sqrt(fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    except (OverflowError, EventError):
        return 0.0, 0.0  # a timer that fails has no second go, and the rows would wait for ever


class NormalizeWindow(NodeKind):
    """min_max: (x - least) / (greatest - least); z_score: (x - mean) / deviation, the sample's; of all values of the
    key in the same tumbling window. Rows leave when the watermark passes the window's end, which becomes their event
    time.

    The result is null where there is no scale: one value only, all equal, or too large to be added up. A row that comes
    when its window has been closed leaves at once, with null. Null stays null.
    """

    kind = "normalize_window"
    display_name = "Normalize (window)"
    description = "Brings a numeric field to a common scale, with the statistics of its key and window."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "statistics", "window")
    config_type = NormalizeWindowConfig
    example = {"field": "value", "method": "z_score", "size": "10m", "into": "z"}
    stateful = True

    def lower(self, config: NormalizeWindowConfig, lowering: Lowering) -> Lowered | None:
        """Put the result into the schema."""
        if config.offset >= config.size:
            lowering.problem("the offset must be less than the size", "windows repeat with their size", "offset")
        options = config.model_dump(include={"method", "size", "offset", "max_rows"})
        return lowered_scale(Scaled, config.field, config.into, options, config.table, lowering)
