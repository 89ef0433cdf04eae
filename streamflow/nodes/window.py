"""window: folds rows of a key into windows of event time, of so many rows, or of all time."""

from typing import Literal

from pydantic import Field as Option

from streamflow.model.durations import format_duration
from streamflow.model.expression import Expression, field_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import (
    DAY_MS,
    Category,
    DurationMs,
    FieldName,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
    TopicName,
)
from streamflow.nodes.operators import Firing, Fold, NamedAggregate
from streamflow.nodes.window_aggregates import aggregate_of
from streamflow.nodes.window_shapes import CountWindow, SlidingWindow, WindowConfigShape
from streamflow.windows.count import Counted
from streamflow.windows.shape import WindowShape
from streamflow.windows.unbounded import Unbounded

#: Fields that a result row may have besides the key and the results.
_BORDERS = ("number", "start", "end", "final", "revision")


class TriggerConfig(NodeConfig):
    """What brings a window's result while it is open."""

    rows: int | None = Option(None, ge=1, description="every so many rows of the window")
    when: str | None = Option(None, description="condition over a row, such as value > 90")


class WindowConfig(NodeConfig):
    """Configuration of a window."""

    window: WindowConfigShape = Option(description="shape of the windows, such as {type: tumbling, size: 1h}")
    aggregate: dict[FieldName, str] = Option(
        min_length=1, description="results: name to aggregate, such as average(delay)"
    )
    table: TableName | None = Option(None, description="name of the table to query; the node's name when left out")
    emit: Literal["close", "final", "update"] | None = Option(
        None,
        description="close: when a window ends, corrected by late rows (default); final: once, when no late row is "
        "allowed any more; update: at every change too (default of global windows)",
    )
    early: DurationMs | None = Option(
        None, ge=1, description="give results of open windows whenever event time passes a multiple of it"
    )
    trigger: TriggerConfig | None = Option(
        None, description="give the result of a row's window at that row: every so many rows, or under a condition"
    )
    allowed_lateness: DurationMs = Option(0, ge=0, description="how long a window takes late rows past its end")
    late: TopicName | None = Option(None, description="topic for rows that come too late; only counted when left out")
    retention: DurationMs | None = Option(
        None,
        ge=1,
        description="how long closed windows answer queries (a day or 10 windows when left out, whichever is longer); "
        "of count and global windows, how long after its last row a key is forgotten (never when left out)",
    )
    max_open: int = Option(
        10_000_000, ge=1, description="bound of open windows per task; a row that would open one more is put aside"
    )
    max_open_per_key: int | None = Option(
        None, ge=1, description="bound of open windows per key (of sliding windows: of their panes)"
    )
    when_full: Literal["dead_letter", "stop"] = Option(
        "dead_letter", description="what becomes of a row beyond these bounds: it is put aside, or the worker ends"
    )


class Window(NodeKind):
    """Aggregates rows per key and window."""

    kind = "window"
    display_name = "Window"
    description = "Aggregates rows per key in windows and keeps them in a table that can be queried."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "aggregation")
    config_type = WindowConfig
    example = {
        "window": {"type": "tumbling", "size": "1h"},
        "aggregate": {"readings": "count()", "mean": "average(value)"},
    }
    stateful = True

    def lower(self, config: WindowConfig, lowering: Lowering) -> Lowered | None:
        """Check the window and every aggregate; the result rows have the key, start, end and the results."""
        before, shape = lowering.input, config.window.shape()
        table = config.table or lowering.name
        self._check(config, shape, lowering)
        when = self._when(config, lowering)
        aggregates = [aggregate_of(name, text, lowering) for name, text in config.aggregate.items()]
        key_name = before.key_name or "key"
        if key_name in _BORDERS:
            lowering.problem(
                f"the key cannot be called {key_name!r}, a result has that already", "rename it with a map"
            )
        for name in config.aggregate.keys() & {key_name, *_BORDERS}:
            message = f"a result cannot be called {name!r}, the row has that already"
            lowering.problem(message, "rename it", f"aggregate.{name}")
        if lowering.failed or before.key is None:
            return None
        named = tuple(each for each in aggregates if each is not None)
        retention = config.retention if config.retention is not None else _default_retention_ms(config, shape)
        trigger = config.trigger or TriggerConfig()
        fold = Fold(
            shape, named, table, _firing(config, shape), config.allowed_lateness, retention,
            config.early or 0, trigger.rows or 0, when, config.late,
            config.max_open, config.max_open_per_key or 0, config.when_full == "stop",
        )  # fmt: skip
        schema = _result_schema(lowering.name, Field(key_name, before.key.type), fold)
        output = Flow(schema, field_expression(schema, key_name), key_name, fold.repeats)
        return Lowered(fold, output, TableShape(table, shape, config.allowed_lateness, retention))

    @staticmethod
    def _when(config: WindowConfig, lowering: Lowering) -> Expression | None:
        trigger = config.trigger
        if trigger is None:
            return None
        if isinstance(config.window, SlidingWindow | CountWindow):
            remedy = (
                "early gives results of all open windows" if config.window.type == "sliding" else "use a smaller size"
            )
            lowering.problem(f"{config.window.type} windows have no triggers", remedy, "trigger")
        if trigger.rows is None and trigger.when is None:
            lowering.problem("it says nothing", "give rows, when, or both", "trigger")
        if trigger.when is None:
            return None
        return lowering.condition(trigger.when, "trigger.when")

    @staticmethod
    def _check(config: WindowConfig, shape: WindowShape, lowering: Lowering) -> None:
        if lowering.input.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        if lowering.input.repeats:
            lowering.problem(
                "its input repeats results (updates or corrections), they would count twice",
                "use emit: final there, without early",
            )
        for key, message, remedy in config.window.problems():
            lowering.problem(message, remedy, f"window.{key}")
        if isinstance(shape, Counted | Unbounded):
            _check_timeless(config, shape, lowering)
            return
        if config.trigger and config.allowed_lateness and config.emit in (None, "close"):
            lowering.problem(
                "triggers give results of open windows, corrections those of closed ones", "use emit: final", "trigger"
            )
        needed = shape.span_ms + config.allowed_lateness
        if config.retention is not None and config.retention < needed:
            remedy = f"at least {format_duration(needed)}"
            lowering.problem("retention is shorter than window and lateness", remedy, "retention")


def _firing(config: WindowConfig, shape: WindowShape) -> Firing:
    runs = isinstance(shape, Unbounded) and config.early is None and config.trigger is None
    return Firing(config.emit or ("update" if runs else "close"))


def _check_timeless(config: WindowConfig, shape: Counted | Unbounded, lowering: Lowering) -> None:
    """Windows without an end in time have no lateness."""
    kind = config.window.type
    for key in ("allowed_lateness", "late"):
        if getattr(config, key):
            lowering.problem(f"{kind} windows have no end in time", "leave it out", key)
    if isinstance(shape, Counted) and config.retention is not None and config.retention < shape.within_ms:
        remedy = f"at least {format_duration(shape.within_ms)}"
        lowering.problem("keys are forgotten before their windows end", remedy, "retention")
    if isinstance(shape, Unbounded) and config.emit in ("close", "final"):
        lowering.problem("a global window never closes", "use emit: update, early or a trigger", "emit")
    if isinstance(shape, Counted) and (config.emit == "update" or config.early is not None):
        key = "emit" if config.emit == "update" else "early"
        lowering.problem("a count window gives its result when it is full", "leave it out", key)


def _default_retention_ms(config: WindowConfig, shape: WindowShape) -> int:
    if isinstance(shape, Counted | Unbounded):
        return 0
    return max(DAY_MS, 10 * shape.span_ms, shape.span_ms + config.allowed_lateness)


def _result_schema(name: str, key: Field, fold: Fold) -> Schema:
    """Fields of a result, in order; `Fold` says which are there."""
    fields = [key]
    if isinstance(fold.window, Counted):
        fields.append(Field("number", FieldType.INT))
    if not isinstance(fold.window, Unbounded):
        fields += [Field("start", FieldType.TIMESTAMP), Field("end", FieldType.TIMESTAMP)]
    fields += [_result_field(each) for each in fold.aggregates]
    if fold.shows_final:
        fields.append(Field("final", FieldType.BOOL))
    if fold.corrects:
        fields.append(Field("revision", FieldType.INT))
    return Schema(f"{name.title().replace('_', '')}Result", tuple(fields))


def _result_field(each: NamedAggregate) -> Field:
    nullable = each.aggregate.may_be_null(bool(each.argument and each.argument.nullable))
    return Field(each.name, each.aggregate.result_type, nullable)
