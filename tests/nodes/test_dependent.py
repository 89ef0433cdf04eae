"""Fields that follow from others: chains, circles, and what is refused when a kind is registered."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamflow.errors import InternalError
from streamflow.nodes.dependent import OPTIONS_MAX, Dependent, FormAnswers
from streamflow.nodes.filter import Filter
from streamflow.nodes.registry import KINDS, checked
from streamflow.testing.compliance import check_kind
from streamflow.testing.driver import Driver


class _Cities:
    """One table."""

    names: Sequence[str] = ("cities",)
    found = (("Italy", "Rome"), ("Italy", "Bari"), ("Peru", "Lima"))

    def fields(self, _table: str) -> Sequence[str]:
        return ("country", "city")

    def rows(self, _table: str) -> Iterator[Mapping[str, Any]]:
        return (dict(zip(("country", "city"), each, strict=True)) for each in self.found)


_CHAIN = (
    Dependent("country", lambda _, tables: [row["country"] for row in tables.rows("cities")]),
    Dependent(
        "city",
        lambda chosen, tables: [r["city"] for r in tables.rows("cities") if r["country"] == chosen["country"]],
        ("country",),
    ),
    Dependent("place", lambda chosen, _: f"{chosen['city']}, {chosen['country']}", ("country", "city"), derived=True),
)


def _answer(field: str, dependents: Sequence[Dependent] = _CHAIN, **values: Any) -> dict[str, Any]:
    return FormAnswers(dependents, values, _Cities()).answer(field)


def test_a_chain_is_answered_as_far_as_its_parents_can_be_used() -> None:
    """A city of another country is no choice, so nothing follows from it."""
    assert _answer("country")["options"] == ["Italy", "Peru"]
    waits = {"field": "city", "type": "select", "waits_for": ["country"], "options": None, "more": False}
    assert _answer("city") == waits
    assert _answer("city", country="Italy")["options"] == ["Rome", "Bari"]
    assert _answer("city", country="Chad") == waits
    derived = {"field": "place", "type": "derived", "waits_for": [], "value": "Lima, Peru"}
    assert _answer("place", country="Peru", city="Lima") == derived
    assert _answer("place", country="Peru", city="Rome") == {**derived, "waits_for": ["city"], "value": None}
    assert FormAnswers(_CHAIN, {"country": "Peru", "city": "Rome"}, _Cities()).unusable() == ["city"]
    assert FormAnswers(_CHAIN, {"country": "Chad", "city": "Rome"}, _Cities()).unusable() == ["country"]


def test_lists_and_mappings_are_chosen_entry_by_entry_and_derived_values_build_on_another() -> None:
    fields = (
        Dependent("cities", lambda _, __: ["Rome", "Lima"]),
        Dependent("count", lambda chosen, _: len(chosen["cities"]), ("cities",), derived=True),
        Dependent("twice", lambda chosen, _: 2 * chosen["count"], ("count",), derived=True),
    )
    assert _answer("twice", fields, cities=["Rome", "Lima"])["value"] == 4
    assert _answer("twice", fields, cities={"a": "Rome"})["value"] == 2
    assert _answer("twice", fields, cities=["Rome", "Oslo"])["waits_for"] == ["count"]


def test_options_are_bounded() -> None:
    many = (Dependent("number", lambda _, __: range(2 * OPTIONS_MAX)),)
    found = _answer("number", many)
    assert (len(found["options"]), found["more"]) == (OPTIONS_MAX, True)
    assert FormAnswers(many, {"number": 2 * OPTIONS_MAX - 1}, _Cities()).unusable() == []


def _nothing(*_: Any) -> tuple[str, ...]:
    return ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([Dependent("where", _nothing, ("whence",))], "field 'where' depends on 'whence', which is no field"),
        ([Dependent("whence", _nothing)], "there is no option 'whence'"),
        ([Dependent("where", _nothing, derived=True)], "derived field 'where' is an option"),
        ([Dependent("where", _nothing), Dependent("where", _nothing)], "two dependent fields have one name"),
        (
            [Dependent("one", _nothing, ("two",), derived=True), Dependent("two", _nothing, ("one",), derived=True)],
            "depend on one another in a circle: one, two",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_the_kind_is_registered(fields: list[Dependent], said: str) -> None:
    class Mine(Filter):
        """Passes some rows."""

        kind = "mine"
        dependents = tuple(fields)

    with pytest.raises(InternalError, match=said):
        checked(Mine)


def test_the_sample_kind_keeps_what_every_kind_must(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And marks the payments of the branch."""
    from streamflow.plan.planner import make_plan
    from streamflow.topology.load import load_topology

    monkeypatch.syspath_prepend(str(root / "topologies" / "banks"))
    from bank_verification import BankVerification  # type: ignore[import-not-found]

    check_kind(BankVerification)
    with KINDS.lent(BankVerification):
        driver = Driver(make_plan(load_topology(root / "topologies" / "banks")), partitions=2)
    offices = [("o1", "savings", "Harbour"), ("o2", "savings", "Hill"), ("o3", "giro", "Harbour")]
    rows = [
        {"office": o, "account": account, "bank": "Nordbank", "branch": branch, "code": o.upper()}
        for o, account, branch in offices
    ]
    driver.publish("banks.directory", rows)
    payments = [{"time": n, "payment": f"p{n}", "office": f"o{n}", "amount": 1.5} for n in range(5)]
    driver.publish("banks.payments", payments)
    driver.run()
    found = {row["payment"]: row["verified"] for row in driver.output("banks.verified")}
    assert found == {"p1": True, "p2": False, "p3": False}
    driver.close()
    sys.modules.pop("bank_verification")
