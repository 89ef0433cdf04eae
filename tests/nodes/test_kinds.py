"""The contract that every node kind keeps; a new kind is tested by being registered."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from streamflow.errors import InternalError
from streamflow.model.expression import field_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.filter import Filter
from streamflow.nodes.kind import Category, Flow, Lowering, NodeKind
from streamflow.nodes.operators import Operator
from streamflow.nodes.registry import KINDS, by_name, near_kinds

#: What the examples of the kinds are written for.
EXAMPLE_SCHEMA = Schema(
    "Reading",
    (
        Field("time", FieldType.TIMESTAMP),
        Field("sensor", FieldType.STR),
        Field("value", FieldType.FLOAT),
        Field("unit", FieldType.STR, nullable=True),
    ),
)
FLOW = Flow(EXAMPLE_SCHEMA, field_expression(EXAMPLE_SCHEMA, "sensor"), "sensor")
#: Global tables that the examples look into.
TABLES = {"sensors": FLOW}
#: Kinds that take their inputs apart have two of them in their examples, with different fields.
SECOND_SCHEMA = Schema(
    "Setting",
    (Field("sensor", FieldType.STR), Field("time", FieldType.TIMESTAMP), Field("limit", FieldType.FLOAT)),
)
SECOND = Flow(SECOND_SCHEMA, field_expression(SECOND_SCHEMA, "sensor"), "sensor", table_retention_ms=1_000)


def lowering_of(kind: NodeKind, flow: Flow = FLOW) -> Lowering:
    """What a kind sees of its example."""
    first = replace(flow, table_retention_ms=1_000)
    return Lowering(
        "example", flow, TABLES, () if kind.inputs_apart is None else (("first", first), ("second", SECOND))
    )


every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@every_kind
def test_metadata_is_complete(kind: NodeKind) -> None:
    """Names, texts, category and version are there for the catalogue."""
    assert re.fullmatch(r"[a-z][a-z_]*", kind.kind)
    assert kind.display_name[0].isupper()
    assert kind.description.endswith(".")
    assert kind.icon
    assert kind.category in Category
    assert re.fullmatch(r"\d+\.\d+\.\d+", kind.version)
    assert all(re.fullmatch(r"[a-z-]+", tag) for tag in kind.tags)


@every_kind
def test_the_example_is_a_valid_node(kind: NodeKind) -> None:
    """It validates and lowers over EXAMPLE_SCHEMA without a problem, to an operator the engine knows."""
    lowering = lowering_of(kind)
    lowered = kind.lower(kind.config_type.model_validate(dict(kind.example)), lowering)
    assert lowering.problems == []
    assert lowered is not None
    assert isinstance(lowered.operator, Operator)
    assert len(set(lowered.output.schema.names)) == len(lowered.output.schema.names)
    assert (lowered.table is not None) == kind.stateful
    assert lowered.rekeys == (kind.kind == "key_by")


@every_kind
def test_every_option_is_described(kind: NodeKind) -> None:
    """The JSON schema is what reference pages and forms are made of."""
    schema = kind.config_type.model_json_schema(by_alias=True)
    undescribed = [
        name
        for name, option in schema.get("properties", {}).items()
        if not (option.get("description") or "$ref" in option)
    ]
    assert undescribed == []
    assert schema["additionalProperties"] is False


@every_kind
def test_unknown_keys_are_refused_and_configurations_are_frozen(kind: NodeKind) -> None:
    """A misspelt option must not be ignored."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.config_type.model_validate({**kind.example, "colour": "red"})
    config = kind.config_type.model_validate(dict(kind.example))
    with pytest.raises(ValidationError, match="frozen"):
        config.colour = "red"  # type: ignore[attr-defined]


@every_kind
def test_rows_keep_their_key_and_repeats_unless_the_kind_is_about_them(kind: NodeKind) -> None:
    """What an operator does not name it passes on."""
    if kind.kind in ("source", "global_table", "key_by", "window") or kind.inputs_apart is not None:
        return
    repeating = Flow(EXAMPLE_SCHEMA, FLOW.key, FLOW.key_name, repeats=True)
    lowered = kind.lower(kind.config_type.model_validate(dict(kind.example)), Lowering("example", repeating, TABLES))
    assert lowered is not None
    assert (lowered.output.key, lowered.output.key_name, lowered.output.repeats) == (FLOW.key, "sensor", True)


def test_the_first_kinds_are_all_there() -> None:
    """By the names that topologies use."""
    assert set(KINDS) == {
        "source", "sink", "filter", "map", "key_by", "window", "pass_through", "echo", "multiply", "threshold",
        "process", "python", "deduplicate",
        "global_table", "lookup",
        "join", "table", "table_join", "tables_join", "combine",
    }  # fmt: skip


def test_a_kind_is_registered_once_and_in_a_category() -> None:
    """A second registration would change what existing topologies mean."""

    class Other(Filter):
        """Takes a name that is taken."""

    class Stray(Filter):
        """Of no category."""

        kind = "stray"
        category = "misc"  # type: ignore[assignment]

    with pytest.raises(InternalError, match="'filter' is registered by Filter already"):
        by_name([Filter, Other])
    with pytest.raises(InternalError, match="has category 'misc'"):
        by_name([Stray])


def test_unknown_kinds_are_told_the_nearest() -> None:
    """Or all of them when none is near."""
    assert near_kinds("windo") == "did you mean window?"
    assert near_kinds("quux").startswith("kinds are combine, deduplicate, echo, ")
