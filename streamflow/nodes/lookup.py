"""lookup: adds fields of a global table to rows."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic import Field as Option

from streamflow.model.names import field_problem, near_name
from streamflow.model.schema import Field, Schema
from streamflow.nodes.dependent import Dependent, FormTables
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Lookup as LookupOperator
from streamflow.nodes.operators import Missing


def _as_mapping(taken: Any) -> Any:
    """[a, b] means {a: a, b: b}."""
    return {name: name for name in taken} if isinstance(taken, list) and _are_texts(taken) else taken


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


_NAMES = {"type": "string"}
Taken = Annotated[
    dict[str, str],
    BeforeValidator(_as_mapping),
    WithJsonSchema({"anyOf": [{"type": "array", "items": _NAMES}, {"type": "object", "additionalProperties": _NAMES}]}),
]


class LookupConfig(NodeConfig):
    """Configuration of a lookup."""

    table: str = Option(description="name of a global_table node")
    key: str = Option(description="field or expression of the type of the table's key")
    take: Taken | None = Option(
        None,
        min_length=1,
        description="fields of the table to add, as a list or as {new name: field}; all but its key when left out",
    )
    prefix: str = Option("", description="goes before the name of every field that is added")
    # In YAML a bare null is no text.
    missing: Annotated[
        Literal["null", "drop", "dead_letter"], BeforeValidator(lambda given: "null" if given is None else given)
    ] = Option("null", description="rows whose key is not in the table: null fields, left out, or put aside")


def _tables(_: Mapping[str, Any], tables: FormTables) -> Sequence[str]:
    return tables.names


def _fields(chosen: Mapping[str, Any], tables: FormTables) -> Sequence[str]:
    return tables.fields(chosen["table"])


class Lookup(NodeKind):
    """Enriches rows with what a global table has under their key."""

    kind = "lookup"
    display_name = "Lookup"
    description = "Adds fields of a global table to rows, found by a key."
    category = Category.DATA_PROCESSING
    tags = ("stateless", "join", "table")
    config_type = LookupConfig
    dependents = (Dependent("table", _tables), Dependent("take", _fields, ("table",)))
    example = {"table": "sensors", "key": "sensor", "take": {"place": "unit"}, "missing": "null"}

    def lower(self, config: LookupConfig, lowering: Lowering) -> Lowered | None:
        """Check table, key and fields; what is added may be null when missing rows give null."""
        key = lowering.expression(config.key, "key")
        table = _table(config.table, lowering)
        if table is None or table.key is None:
            return None
        if key is not None and key.type != table.key.type:
            message = f"the key of {config.table} is {table.key.type}, {config.key!r} is {key.type}"
            lowering.problem(message, f"use {table.key.type}(…)", "key")
        missing = Missing(config.missing)
        taken = _taken(config, table, lowering)
        if lowering.failed or key is None:
            return None
        before, added = lowering.input, []
        for name, source in taken.items():
            found = table.schema.field(source)
            assert found is not None
            added.append(Field(name, found.type, found.nullable or missing is Missing.NULL))
        schema = Schema(f"{lowering.name.title().replace('_', '')}Row", (*before.schema.fields, *added))
        operator = LookupOperator(config.table, key, tuple(taken.values()), missing)
        return Lowered(operator, Flow(schema, before.key, before.key_name, before.repeats))


def _table(name: str, lowering: Lowering) -> Flow | None:
    """The table's rows and key; None when there is none of that name, which is a problem, or it has problems itself."""
    if name not in lowering.tables:
        near = get_close_matches(name, lowering.tables, 1)
        known = f"global tables are {', '.join(lowering.tables)}" if lowering.tables else "add a global_table node"
        lowering.problem(f"there is no global table {name!r}", f"did you mean {near[0]!r}?" if near else known, "table")
        return None
    return lowering.tables[name]


def _taken(config: LookupConfig, table: Flow, lowering: Lowering) -> dict[str, str]:
    """{name in the row: field of the table}."""
    names = table.schema.names
    wanted = config.take if config.take is not None else {name: name for name in names if name != table.key_name}
    if not wanted:
        lowering.problem(f"{config.table} has no field but its key", "name the fields to add", "take")
    for source in dict.fromkeys(wanted.values()):
        if source not in names:
            remedy = near_name(source, names, "fields are")
            lowering.problem(f"{config.table} has no field {source!r}", remedy, "take")
    taken = {config.prefix + name: source for name, source in wanted.items()}
    for name in taken:
        problem = field_problem(name)
        if problem is not None:
            lowering.problem(problem, key="take")
        elif name in lowering.input.schema.names:
            lowering.problem(f"rows have a field {name!r} already", "rename it, or use a prefix", "take")
    return taken
