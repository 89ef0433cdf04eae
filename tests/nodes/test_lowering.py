"""What nodes become: operators, schemas, keys and tables."""

from types import SimpleNamespace
from typing import Any

import pytest

from streamflow.model.expression import field_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Flow, Lowered, Lowering
from streamflow.nodes.operators import Count, Filter, Fold, Project, Rekey
from streamflow.nodes.registry import KINDS
from streamflow.windows.tumbling import Tumbling

SCHEMA = Schema(
    "Reading",
    (
        Field("sensor", FieldType.STR),
        Field("room", FieldType.STR, nullable=True),
        Field("value", FieldType.FLOAT, nullable=True),
        Field("n", FieldType.INT),
    ),
)
FLOW = Flow(SCHEMA, field_expression(SCHEMA, "sensor"), "sensor")
ROW = {"sensor": "a", "room": None, "value": 2.5, "n": 3}


def lower(kind: str, flow: Flow = FLOW, **config: Any) -> Lowered:
    """A node named `node`, which must have no problem."""
    lowering = Lowering("node", flow)
    lowered = KINDS[kind].lower(KINDS[kind].config_type.model_validate(config), lowering)
    assert lowering.problems == []
    assert lowered is not None
    return lowered


def fields(lowered: Lowered) -> list[str]:
    """Fields of the output, as a topology writes them."""
    return [str(field) for field in lowered.output.schema.fields]


def project(lowered: Lowered, **changes: Any) -> dict[str, Any]:
    """The row that a Project makes of ROW with changes."""
    assert isinstance(lowered.operator, Project)
    row = SimpleNamespace(**(ROW | changes))
    values = [value.evaluate()(row) for value in lowered.operator.values]
    return dict(zip(lowered.output.schema.names, values, strict=True))


def passes(lowered: Lowered, **changes: Any) -> bool:
    """Whether a Filter passes ROW with changes."""
    assert isinstance(lowered.operator, Filter)
    return bool(lowered.operator.predicate.evaluate()(SimpleNamespace(**(ROW | changes))))


def test_filter_proves_fields_not_null() -> None:
    """Behind it they can be used without a test."""
    lowered = lower("filter", where="value is not None and room is not None and n > 1")
    assert fields(lowered) == ["sensor: str", "room: str", "value: float", "n: int"]
    assert (passes(lowered, room="x"), passes(lowered), passes(lowered, room="x", n=1)) == (True, False, False)
    assert fields(lower("filter", where="value is not None or n > 1"))[2] == "value: float?"


def test_map_replaces_in_place_adds_at_the_end_and_drops() -> None:
    """The order of fields is the order of the result's JSON."""
    lowered = lower("map", set={"n": "n + 1", "label": "upper(sensor)"}, drop=["room"])
    assert fields(lowered) == ["sensor: str", "value: float?", "n: int", "label: str"]
    assert project(lowered) == {"sensor": "a", "value": 2.5, "n": 4, "label": "A"}


def test_map_keeps_only_what_is_named_and_the_key_travels_on() -> None:
    """The key's field may be dropped."""
    lowered = lower("map", set={"double": "n * 2"}, keep=["n"])
    assert project(lowered) == {"n": 3, "double": 6}
    assert (lowered.output.key, lowered.output.key_name) == (FLOW.key, "sensor")


def test_key_by_takes_fields_and_expressions() -> None:
    """The result's key field is called as the field, or `key`."""
    by_field, by_expression = lower("key_by", key="room"), lower("key_by", key="upper(sensor)")
    assert isinstance(by_field.operator, Rekey)
    assert (by_field.output.key_name, by_field.operator.key.nullable) == ("room", True)
    assert (by_expression.output.key_name, by_expression.rekeys) == ("key", True)


def test_echo_counts_in_a_table() -> None:
    """Named after the node unless said otherwise."""
    lowered = lower("echo", field="seen")
    assert lowered.operator == Count("seen", "node")
    assert fields(lowered)[-1] == "seen: int"
    named = lower("echo", table="sightings")
    assert named.table is not None
    assert (named.operator, named.table.name, named.table.window) == (Count("count", "sightings"), "sightings", None)


@pytest.mark.parametrize(
    ("config", "field", "result"),
    [
        ({"field": "n", "factor": 2}, "n: int", 6),
        ({"field": "n", "factor": 2.5}, "n: float", 7.5),
        ({"field": "n", "factor": -2, "into": "m"}, "m: int", -6),
        ({"field": "value", "factor": 2}, "value: float?", 5.0),
    ],
)
def test_multiply_keeps_whole_numbers_whole(config: dict[str, Any], field: str, result: float) -> None:
    """An int times a whole number is an int, anything else a float."""
    lowered = lower("multiply", **config)
    assert field in fields(lowered)
    assert project(lowered)[field.split(":")[0]] == result


def test_multiply_leaves_null_null() -> None:
    """Nothing times two is nothing."""
    assert project(lower("multiply", field="value", factor=2), value=None)["value"] is None


@pytest.mark.parametrize(
    ("when", "passing"), [("above", [4.0]), ("at_least", [3.0, 4.0]), ("below", [2.0]), ("at_most", [2.0, 3.0])]
)
def test_threshold_passes_one_side_of_the_limit(when: str, passing: list[float]) -> None:
    """Null is on neither side, and not null behind it."""
    lowered = lower("threshold", field="value", limit=3, when=when)
    assert [value for value in (2.0, 3.0, 4.0, None) if passes(lowered, value=value)] == passing
    assert "value: float" in fields(lowered)


def test_threshold_can_mark_instead_of_drop() -> None:
    """Every row goes on, null is not exceeded."""
    lowered = lower("threshold", field="value", limit=2, mode="flag", flag="high")
    assert [project(lowered, value=value)["high"] for value in (2.5, 2.0, None)] == [True, False, False]
    assert fields(lowered)[-1] == "high: bool"


def window(**config: Any) -> Lowered:
    """A window of one hour."""
    return lower("window", **{"window": {"type": "tumbling", "size": "1h"}, "aggregate": {"n": "count()"}, **config})


def test_window_results_have_key_borders_and_aggregates() -> None:
    """A result over a nullable field may be null, except counts and sums; `final` is there with emit: update."""
    aggregate = {
        "rows": "count()",
        "rooms": "count(room)",
        "total": "sum(n)",
        "sum_value": "sum(value)",
        "mean": "average(value)",
        "most": "max(n)",
        "double": "max( n*2 )",
    }
    lowered = window(aggregate=aggregate, emit="update")
    assert fields(lowered) == [
        "sensor: str",
        "start: timestamp",
        "end: timestamp",
        "rows: int",
        "rooms: int",
        "total: int",
        "sum_value: float",
        "mean: float?",
        "most: int",
        "double: int",
        "final: bool",
    ]
    assert lowered.output.repeats
    assert not window().output.repeats
    assert (lowered.output.key_name, lowered.output.key) == (
        "sensor",
        field_expression(lowered.output.schema, "sensor"),
    )


def test_an_argument_is_the_same_with_and_without_spaces() -> None:
    """It is part of the table's layout, which must not change by formatting."""
    spaced, dense = window(aggregate={"m": "max( n*2 )"}), window(aggregate={"m": "max(n * 2)"})
    assert spaced.operator == dense.operator


@pytest.mark.parametrize(
    ("config", "retention_ms"),
    [
        ({}, 86_400_000),
        ({"window": {"type": "tumbling", "size": "1d"}}, 10 * 86_400_000),
        ({"allowed_lateness": "3d"}, 3 * 86_400_000 + 3_600_000),
        ({"retention": "2h"}, 7_200_000),
    ],
)
def test_retention_is_a_day_or_ten_windows_or_what_lateness_needs(config: dict[str, Any], retention_ms: int) -> None:
    """Whichever is longest, unless said otherwise; operator and table agree."""
    lowered = window(**config)
    assert isinstance(lowered.operator, Fold)
    assert lowered.table is not None
    assert lowered.operator.retention_ms == lowered.table.retention_ms == retention_ms


def test_windows_of_milliseconds_and_offsets_are_taken_as_written() -> None:
    """Integers are milliseconds."""
    lowered = window(window={"type": "tumbling", "size": 250, "offset": "50ms"})
    assert isinstance(lowered.operator, Fold)
    assert lowered.operator.window == Tumbling(250, 50)
