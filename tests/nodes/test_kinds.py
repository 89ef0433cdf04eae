"""Every kind keeps the contract of a kind."""

import pytest
from pydantic import ValidationError

from streamflow.model.expression import field_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import Category, Flow, Lowering, NodeKind
from streamflow.nodes.registry import KINDS, near_kinds

#: Examples of kinds are valid over it.
EXAMPLE_SCHEMA = Schema(
    "Reading",
    (
        Field("sensor", FieldType.STR),
        Field("time", FieldType.TIMESTAMP),
        Field("value", FieldType.FLOAT),
        Field("unit", FieldType.STR),
    ),
)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> NodeKind:
    return KINDS[request.param]


def _flow() -> Flow:
    return Flow(EXAMPLE_SCHEMA, field_expression(EXAMPLE_SCHEMA, "sensor"), "sensor")


def test_metadata_is_complete(kind: NodeKind) -> None:
    assert kind.kind in KINDS
    assert kind.display_name
    assert kind.description.endswith(".")
    assert kind.category in set(Category)
    assert kind.tags or kind.kind == "key_by"


def test_the_example_is_valid(kind: NodeKind) -> None:
    lowering = Lowering("example", _flow())
    lowered = kind.lower(kind.config_type.model_validate(dict(kind.example)), lowering)
    assert lowering.problems == []
    assert lowered is not None
    assert (lowered.table is not None) == kind.stateful


def test_unknown_keys_are_refused(kind: NodeKind) -> None:
    with pytest.raises(ValidationError, match="extra"):
        kind.config_type.model_validate({**kind.example, "unheard_of": 1})


def test_every_option_is_described(kind: NodeKind) -> None:
    for name, field in kind.config_type.model_fields.items():
        assert field.description or name == "window", name


def test_unknown_kinds_get_a_hint() -> None:
    assert "filter" in near_kinds("fitler")
    assert "sink" in near_kinds("zzz")
