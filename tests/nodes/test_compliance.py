"""The compliance kit finds mistakes: each planted kind breaks one rule."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ConfigDict, Field

from streamflow.errors import InternalError, TopologyError
from streamflow.kit import Process, Row, Value
from streamflow.kit.declaration import Declaration
from streamflow.nodes import operators
from streamflow.nodes.call import output_schema
from streamflow.nodes.echo import Echo
from streamflow.nodes.filter import Filter, FilterConfig
from streamflow.nodes.kind import Flow, Lowered, Lowering, NodeKind, TableShape
from streamflow.nodes.map import Map
from streamflow.nodes.registry import KINDS
from streamflow.testing.compliance import CHECKS, check_kind, run_kind


class Counted(Row):
    """What the planted nodes give."""

    sensor: str
    count: int


class Forgetful(Process):
    """Counts outside of its states, so that a crash loses it."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def process(self, row: Any) -> Counted:
        self._counts[self.key] = self._counts.get(self.key, 0) + 1
        return Counted(self.key, self._counts[self.key])


class Clinging(Process):
    """Cannot be closed before it was used."""

    count = Value(int)

    def process(self, row: Any) -> Counted:
        self.count.set((self.count.get() or 0) + 1)
        self.file = row
        return Counted(self.key, self.count.get() or 0)

    def close(self) -> None:
        if not hasattr(self, "file"):
            raise AttributeError("file")


class Opening(NodeKind):
    """Base of kinds over a node class."""

    display_name, description, category = "Planted", "Breaks a rule.", Filter.category
    config_type, example, stateful = FilterConfig, {"where": "value > 0"}, True
    target: type[Process]

    def lower(self, config: FilterConfig, lowering: Lowering) -> Lowered | None:
        declared, before = Declaration(self.target, None, Counted), lowering.input
        flow = Flow(output_schema(declared, "x"), before.key, before.key_name, before.repeats)
        table = TableShape(lowering.name, row_schema=flow.schema)
        return Lowered(operators.Process(declared, (), lowering.name), flow, table)


class ForgetfulKind(Opening):
    """Forgets in a crash."""

    kind, target = "forgetful", Forgetful


class ClingingKind(Opening):
    """Cannot be closed after a failed open."""

    kind, target = "clinging", Clinging


_TURN = itertools.count()


def every_other(row: Any) -> Counted | None:
    """Depends on what was asked before, in whatever run."""
    return Counted(row.sensor, next(_TURN))


class Wandering(Opening):
    """Gives something else each time."""

    kind, stateful = "wandering", False

    def lower(self, config: FilterConfig, lowering: Lowering) -> Lowered | None:
        declared, before = Declaration(every_other, None, Counted), lowering.input
        flow = Flow(output_schema(declared, "x"), before.key, before.key_name, before.repeats)
        return Lowered(operators.Apply(declared, ()), flow)


class LaxConfig(FilterConfig):
    """Takes anything."""

    model_config = ConfigDict(extra="ignore")


class Lax(Filter):
    """Ignores options that it does not know."""

    kind, config_type = "lax", LaxConfig


class SilentConfig(FilterConfig):
    """Does not say what an option is."""

    limit: int = 3
    where: str | None = Field(None, description="condition")


class Silent(Filter):
    """Has an option without a description."""

    kind, config_type = "silent", SilentConfig


class WrongExample(Filter):
    """Its example asks for a field that is not there."""

    kind, example = "wrong_example", {"where": "speed > 1"}


class Keyless(Map):
    """Loses the key."""

    kind = "keyless"

    def lower(self, config: Any, lowering: Lowering) -> Lowered | None:
        found = super().lower(config, lowering)
        return None if found is None else Lowered(found.operator, Flow(found.output.schema))


class Secretive(Echo):
    """Says that it keeps nothing."""

    kind, stateful = "secretive", False


class Whisper(Filter):
    """Describes itself in half a sentence."""

    kind, description = "whisper", "passes rows"


PLANTED = {
    "chunks_do_not_matter": (Wandering, "is it random"),
    "crashes_do_not_matter": (ForgetfulKind, "state is not restored"),
    "failed_rows_go_on": (Wandering, "other rows change"),
    "closes_after_failure": (ClingingKind, "file"),
    "unknown_options_are_refused": (Lax, "unknown option is taken"),
    "options_are_described": (Silent, r"without a description: \['limit'\]"),
    "example_is_valid": (WrongExample, "unknown field 'speed'"),
    "what_is_not_named_passes_on": (Keyless, "the key is lost"),
    "metadata_is_complete": (Whisper, "description is a sentence"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_finds_its_mistake(name: str) -> None:
    kind: Any
    kind, said = PLANTED[name]
    with pytest.raises((AssertionError, AttributeError), match=said):
        CHECKS[name](kind)


def test_a_table_that_is_not_said_is_found() -> None:
    with pytest.raises(AssertionError, match="`stateful` says whether it keeps a table"):
        check_kind(Secretive)


def test_a_kind_that_is_not_complete_is_not_taken() -> None:
    class Unnamed(Filter):
        """Has no name."""

        kind = ""

    class Unready(NodeKind):
        """Cannot lower."""

    with pytest.raises(InternalError, match="cannot be the name of a kind"):
        check_kind(Unnamed)
    with pytest.raises(InternalError, match="Unready lacks kind, display_name"):
        check_kind(Unready)  # type: ignore[type-abstract]


def test_a_kind_is_run_over_rows() -> None:
    """As its tests do."""
    rows = [{"time": 0, "sensor": "a", "value": value} for value in (1.0, 20.0)]
    assert [row["value"] for row in run_kind(Filter, rows, where="value > 10")] == [20.0]
    with pytest.raises(TopologyError, match="unknown field"):
        run_kind(Filter, rows, where="speed > 10")


def test_examples_have_something_to_do() -> None:
    """The checks compare runs: those must give rows."""

    def outcomes() -> Iterator[str]:
        from streamflow.testing.compliance import _outcome

        for name, kind in KINDS.items():
            if name in ("file_sink", "sql_sink"):  # tests/sinks
                continue
            found = _outcome(type(kind), chunk_size=1_000)
            assert len(found["dead letters"]) >= 4
            # Nobody is there to answer, or no reading refers to a payload: all rows are put aside.
            if name in ("http_request", "enrich", "webhook", "fetch_payload"):
                assert len(found["dead letters"]) == 244
            elif not any(found[each] for each in found if each != "dead letters"):
                yield name

    assert list(outcomes()) == []
