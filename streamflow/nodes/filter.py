"""filter: passes rows for which an expression is true, or whose fields fit criteria."""

from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema
from pydantic import Field as Option

from streamflow.model.expression import Expression
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Filter as FilterOperator


def _criterion(value: Any) -> Any:
    if isinstance(value, dict):
        bounds = list(value.values())
        if not value or not set(value) <= {"min", "max"} or not all(map(_is_number, bounds)):
            raise ValueError(f"{value!r} is no range: write {{min: 1, max: 5}}, or one of them")
    elif not isinstance(value, str | bool) and not _is_number(value):
        raise ValueError(f"{value!r} is neither a text, number or bool nor a range {{min: 1, max: 5}}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


_NUMBER = {"type": "number"}
_SHAPES = [
    {"type": ["string", "number", "boolean"]},
    {"type": "object", "properties": {"min": _NUMBER, "max": _NUMBER}, "additionalProperties": False},
]
Criterion = Annotated[Any, AfterValidator(_criterion), WithJsonSchema({"anyOf": _SHAPES})]


class FilterConfig(NodeConfig):
    """Configuration of a filter."""

    where: str | None = Option(None, description="condition over the fields of a row")
    criteria: dict[str, Criterion] | None = Option(
        None, min_length=1, description="instead: what each field must be, a value, or {min: …, max: …}, both included"
    )


class Filter(NodeKind):
    """Passes rows that fulfil a condition, or all of the criteria: a field that is null fulfils none.

    Fields that are proved not to be null are not nullable behind it.
    """

    kind = "filter"
    display_name = "Filter"
    description = "Passes rows for which the condition is true, or that fit the criteria."
    category = Category.DATA_PROCESSING
    tags = ("stateless",)
    config_type = FilterConfig
    example = {"where": "value > 10"}

    def lower(self, config: FilterConfig, lowering: Lowering) -> Lowered | None:
        """Compile the condition."""
        if (config.where is None) == (config.criteria is None):
            lowering.problem("what passes is missing, or said twice", "give `where` or `criteria`", "where")
            return None
        where = _of_criteria(config.criteria or {}, lowering)
        if config.where is not None:
            where = lowering.condition(config.where, "where")
        if where is None:
            return None
        before = lowering.input
        narrowed = before.schema.with_non_null(where.narrows)
        return Lowered(FilterOperator(where), Flow(narrowed, before.key, before.key_name, before.repeats))


def _of_criteria(criteria: dict[str, Any], lowering: Lowering) -> Expression | None:
    tests = []
    for name, wanted in criteria.items():
        key = f"criteria.{name}"
        if not lowering.has_field(name, key):
            continue
        field = lowering.input.schema.field(name)
        parts = [f"{name} is not None"] if field is not None and field.nullable else []
        if isinstance(wanted, dict):
            symbols = {"min": ">=", "max": "<="}
            parts += [f"{name} {symbols[bound]} {number!r}" for bound, number in wanted.items()]
        else:
            parts.append(f"{name} == {wanted!r}")
        test = " and ".join(parts)
        if lowering.condition(test, key) is not None:
            tests.append(test)
    return lowering.condition(" and ".join(tests), "criteria") if tests and not lowering.failed else None
