"""What `streamflow nodes new` writes: a kind of node that works, and tests of it that pass."""

from dataclasses import dataclass
from pathlib import Path

from streamflow.errors import UserError
from streamflow.model.names import field_problem, node_problem
from streamflow.nodes.registry import KINDS

_MODULE = '''"""@name@: adds a number to a field."""

from pydantic import Field

from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project


class @Class@Config(NodeConfig):
    """Configuration of a @name@."""

    field: str = Field(description="numeric field to add to")
    add: float = Field(1.0, allow_inf_nan=False, description="what to add")
    into: FieldName | None = Field(None, description="field for the sum; the same field when left out")


class @Class@(NodeKind):
    """Adds a number to a field; null stays null."""

    kind = "@name@"
    display_name = "@Title@"
    description = "Adds a number to a field."
    category = Category.DATA_PROCESSING
    version = "1.0.0"
    tags = ("stateless",)
    config_type = @Class@Config
    example = {"field": "value", "add": 2.5}

    def lower(self, config: @Class@Config, lowering: Lowering) -> Lowered | None:
        """Write it as an expression, which becomes a part of the stage's generated code."""
        if not lowering.has_field(config.field, "field"):
            return None
        text = f"{config.field} + {config.add!r}"
        found = lowering.input.schema.field(config.field)
        if found is not None and found.nullable:
            text = f"{text} if {config.field} is not None else None"
        total = lowering.expression(text, "field")
        if total is None:
            return None
        return project(lowering, list(lowering.input.schema.names), {config.into or config.field: total})
'''

_TESTS = '''"""Tests of @name@."""

import pytest

from streamflow.testing.compliance import CHECKS, run_kind
from @name@ import @Class@

READINGS = [{"time": 0, "sensor": "a", "value": 20.5}, {"time": 1_000, "sensor": "b", "value": -2.5}]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_it_keeps_the_contract_of_a_kind(check):
    check(@Class@)


def test_it_adds():
    rows = run_kind(@Class@, READINGS, field="value", add=2.5)
    assert sorted(row["value"] for row in rows) == [0.0, 23.0]


def test_it_can_keep_the_field():
    rows = run_kind(@Class@, READINGS, field="value", into="total")
    assert sorted((row["value"], row["total"]) for row in rows) == [(-2.5, -1.5), (20.5, 21.5)]
'''


@dataclass(frozen=True, slots=True)
class NewKind:
    """Files that were written, and the name of the class."""

    module: Path
    tests: Path
    class_name: str


def write_kind(name: str, folder: Path) -> NewKind:
    """Write NAME.py and test_NAME.py. Raises UserError for a name that cannot be used or a file that exists."""
    problem = node_problem(name) or field_problem(name)
    if problem is not None:
        raise UserError(problem)
    if name in KINDS:
        raise UserError(f"there is a kind {name!r} already; choose another name")
    made = NewKind(folder / f"{name}.py", folder / f"test_{name}.py", name.title().replace("_", ""))
    for path in (made.module, made.tests):
        if path.exists():
            raise UserError(f"{path} is there already; nothing is written")
    title = name.replace("_", " ").capitalize()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in ((made.module, _MODULE), (made.tests, _TESTS)):
            text = text.replace("@name@", name).replace("@Class@", made.class_name).replace("@Title@", title)
            path.write_text(text)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    return made
