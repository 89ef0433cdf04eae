"""Kinds as data: the form of a configuration, and the reference page."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field as Option
from pydantic import ValidationError

from streamflow.nodes.catalogue import described, form, listed
from streamflow.nodes.filter import Filter
from streamflow.nodes.kind import Date, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Pass
from streamflow.nodes.reference import reference
from streamflow.nodes.registry import KINDS

_TYPES = {"text", "number", "checkbox", "select", "duration", "list", "mapping", "object"}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_form_has_every_option_of_the_schema(kind: Any) -> None:
    schema = described(kind)["schema"]
    fields = form(kind)
    derived = [each.name for each in kind.dependents if each.derived]
    assert [field["name"] for field in fields] == [*schema.get("properties", {}), *derived]
    assert {field["name"] for field in fields if field["required"]} == set(schema.get("required", ()))
    for field in fields:
        assert field["type"] in _TYPES
        assert field["label"]
        assert field["help"]
        assert isinstance(field["placeholder"], str)
        assert ("options" in field) == (field["type"] == "select" and "depends_on" not in field)


def test_fields_say_what_to_type() -> None:
    """One of each type."""
    fields = {(kind, field["name"]): field for kind in KINDS for field in form(KINDS[kind])}
    assert fields["threshold", "when"] == {
        "name": "when", "type": "select", "label": "When", "help": "which side of the limit counts",
        "placeholder": "above", "required": False, "default": "above",
        "options": ["above", "at_least", "below", "at_most"],
    }  # fmt: skip
    assert fields["rate_limit", "rate"] == {
        "name": "rate", "type": "number", "label": "Rate", "help": "rows of a key that pass per time",
        "placeholder": "10", "required": True, "minimum": 1, "maximum": 1_000_000,
    }  # fmt: skip
    types = {name: fields[name]["type"] for name in fields}
    assert types["source", "watermark_delay"] == types["deduplicate", "allowed_lateness"] == "duration"
    assert (types["source", "future"], types["map", "set"], types["map", "keep"]) == ("object", "mapping", "list")
    assert (types["table_join", "wait"], types["filter", "where"]) == ("checkbox", "text")
    assert types["window", "window"] == "object"


def test_every_kind_is_listed() -> None:
    assert [each["kind"] for each in listed()] == sorted(KINDS)


def test_the_reference_page_is_what_the_kinds_say() -> None:
    """`streamflow nodes reference > docs/nodes.md` brings it up to date."""
    assert (Path(__file__).parent.parent.parent / "docs" / "nodes.md").read_text() == reference()


def test_metadata_says_how_a_kind_runs_and_what_it_needs() -> None:
    about = {each["kind"]: each for each in listed()}
    assert all(each["author"] and each["modes"] for each in about.values())
    assert {kind: about[kind]["modes"] for kind in ("filter", "window", "python", "webhook", "model")} == {
        "filter": ["sync"],
        "window": ["streaming"],
        "python": ["sync", "async"],
        "webhook": ["async"],
        "model": ["batch"],
    }
    assert about["filter"]["resources"] == {"network": False, "disk": False}
    assert about["sql_sink"]["resources"]["network"]
    assert {"resilience.retry", "resilience.cache", "resilience.breaker"} <= set(about["http_request"]["features"])
    assert about["filter"]["features"] == []
    assert not [kind for kind, each in about.items() if each["stateful"] and each["features"]], "state is never cached"
    awaiting = {name for name in KINDS if type(KINDS[name]).awaits.__func__ is not NodeKind.awaits.__func__}  # type: ignore[attr-defined]
    assert awaiting == {name for name, each in about.items() if "async" in each["modes"]}


class Since(NodeConfig):
    """Configuration of a planted kind."""

    day: Date = Option(description="first day")


class Dated(NodeKind):
    """Has a day."""

    kind, display_name, description = "dated", "Dated", "Has a day."
    category, config_type, example = Filter.category, Since, {"day": "2026-03-01"}

    def lower(self, config: Since, lowering: Lowering) -> Lowered | None:
        return Lowered(Pass(), lowering.input)


def test_days_are_a_type_of_their_own() -> None:
    (field,) = form(Dated())
    assert (field["type"], field["required"], field["placeholder"]) == ("date", True, "2026-03-01")
    assert Since.model_validate({"day": "2026-02-28"}).day == date(2026, 2, 28)
    for wrong in ("2026-02-30", "soon", 20_260_301, None):
        with pytest.raises(ValidationError):
            Since.model_validate({"day": wrong})
