"""window: folds rows of a key into windows of event time."""

import ast
from difflib import get_close_matches
from typing import Literal

from pydantic import Field as Option

from streamflow.model.durations import format_duration
from streamflow.model.expression import field_expression
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
)
from streamflow.nodes.operators import Fold, NamedAggregate
from streamflow.windows.aggregates import AGGREGATES, Aggregate
from streamflow.windows.tumbling import Tumbling

_SYNONYMS = {"mean": "average", "avg": "average", "total": "sum", "maximum": "max", "minimum": "min"}
#: Fields that every result row has besides the key (`final` in a query, and in rows when emit is update).
_BORDERS = ("start", "end", "final")


class WindowShape(NodeConfig):
    """Shape of the windows."""

    type: Literal["tumbling"] = Option(description="kind of window")
    size: DurationMs = Option(ge=1, description="length of a window")
    offset: DurationMs = Option(0, ge=0, description="moves the borders away from the epoch (UTC)")


class WindowConfig(NodeConfig):
    """Configuration of a window."""

    window: WindowShape = Option(description="shape of the windows, such as {type: tumbling, size: 1h}")
    aggregate: dict[FieldName, str] = Option(
        min_length=1, description="results: name to aggregate, such as average(delay)"
    )
    table: TableName | None = Option(None, description="name of the table to query; the node's name when left out")
    emit: Literal["close", "update"] = Option(
        "close", description="once when the window closes, or at every change too"
    )
    allowed_lateness: DurationMs = Option(0, ge=0, description="how long a window stays open past its end")
    retention: DurationMs | None = Option(
        None, description="how long closed windows answer queries; a day or 10 windows, whichever is longer"
    )


class Window(NodeKind):
    """Aggregates rows per key and window."""

    kind = "window"
    display_name = "Window"
    description = "Aggregates rows per key in windows of event time and keeps them in a table that can be queried."
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
        before = lowering.input
        table = config.table or lowering.name
        self._check(config, lowering)
        aggregates = [self._aggregate(name, text, lowering) for name, text in config.aggregate.items()]
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
        retention = config.retention if config.retention is not None else _default_retention_ms(config)
        fields = [
            Field(key_name, before.key.type),
            Field("start", FieldType.TIMESTAMP),
            Field("end", FieldType.TIMESTAMP),
        ]
        fields += [_result_field(each) for each in named]
        if config.emit == "update":
            fields.append(Field("final", FieldType.BOOL))
        schema = Schema(f"{lowering.name.title().replace('_', '')}Result", tuple(fields))
        shape = Tumbling(config.window.size, config.window.offset)
        fold = Fold(shape, named, table, config.emit, config.allowed_lateness, retention)
        output = Flow(schema, field_expression(schema, key_name), key_name, config.emit == "update")
        return Lowered(fold, output, TableShape(table, True, config.window.size, config.window.offset, retention))

    @staticmethod
    def _check(config: WindowConfig, lowering: Lowering) -> None:
        if lowering.input.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        if lowering.input.repeats:
            lowering.problem(
                "its input repeats results (emit: update), they would count twice", "use emit: close there"
            )
        if config.window.offset >= config.window.size:
            lowering.problem("the offset must be smaller than the size", key="window.offset")
        needed = config.window.size + config.allowed_lateness
        if config.retention is not None and config.retention < needed:
            remedy = f"at least {format_duration(needed)}"
            lowering.problem("retention is shorter than window and lateness", remedy, "retention")

    def _aggregate(self, name: str, text: str, lowering: Lowering) -> NamedAggregate | None:
        key = f"aggregate.{name}"
        parsed = _parse_call(text)
        if parsed is None:
            lowering.problem(f"{text!r} is not an aggregate", "write count(), average(field) or the like", key)
            return None
        function, argument = parsed
        aggregate = AGGREGATES.get(function)
        if aggregate is None:
            near = get_close_matches(_SYNONYMS.get(function, function), AGGREGATES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(AGGREGATES)}"
            lowering.problem(f"unknown aggregate {function!r}", hint, key)
            return None
        return self._with_argument(name, aggregate, argument, lowering, key)

    @staticmethod
    def _with_argument(
        name: str, aggregate: Aggregate, argument: str, lowering: Lowering, key: str
    ) -> NamedAggregate | None:
        if not argument:
            if aggregate.takes_argument:
                lowering.problem(f"{aggregate.name} needs a field or expression", f"{aggregate.name}(field)", key)
            return NamedAggregate(name, aggregate, None)
        value = lowering.expression(argument, key)
        if value is None:
            return None
        if not aggregate.accepts(value.type):
            kinds = " or ".join(sorted(aggregate.argument_types))
            lowering.problem(f"{aggregate.name} takes {kinds}, {argument!r} is {value.type}", key=key)
        return NamedAggregate(name, aggregate, value)


def _parse_call(text: str) -> tuple[str, str] | None:
    """(function, argument source) of "name(argument)", None when it is no such call.

    The argument is written anew from its tree, so that spaces do not change the layout of a table.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or len(node.args) > 1 or node.keywords:
            return None
        return node.func.id, ast.unparse(node.args[0]) if node.args else ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _default_retention_ms(config: WindowConfig) -> int:
    return max(DAY_MS, 10 * config.window.size, config.window.size + config.allowed_lateness)


def _result_field(each: NamedAggregate) -> Field:
    argument = each.argument
    kind, nullable = each.aggregate.result(argument.type if argument else None, bool(argument and argument.nullable))
    return Field(each.name, kind, nullable)
