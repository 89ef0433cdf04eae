"""The fields of a joined row: those of every input in order, the shared key once, names made unique by the topology."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from pydantic import Field as Option

from streamflow.model.expression import Expression, field_expression
from streamflow.model.schema import Field, Schema
from streamflow.nodes.kind import FieldName, Flow, Lowering, NodeConfig
from streamflow.nodes.ports import Pick


class FieldsConfig(NodeConfig):
    """The fields of the result, in the configuration of every kind that joins inputs."""

    fields: dict[FieldName, str] | None = Option(
        None, min_length=1, description="fields of the result: name to input.field; all fields when left out"
    )
    prefix: dict[str, str] = Option(
        default_factory=dict, description="per input what its fields' names begin with, where two inputs share names"
    )


class JoinedConfig(FieldsConfig):
    """The key too, of kinds whose inputs can be brought to it."""

    on: str | list[str] | None = Option(
        None, description="key to join by, an expression; one for all inputs or one each; the inputs' own when left out"
    )


def check_keys(lowering: Lowering) -> None:
    """Rows that meet have keys of one type."""
    types = {}
    for name, flow in lowering.inputs:
        if flow.key is None:
            lowering.problem(f"rows of {name!r} have no key", "say what to join by with on")
        else:
            types[name] = flow.key.type
    if len(set(types.values())) > 1:
        shown = " and ".join(f"{name!r} by {type_}" for name, type_ in types.items())
        lowering.problem(f"the inputs have keys of different types: {shown}", "bring them to one, such as on: str(id)")


def refuse_repeats(lowering: Lowering) -> None:
    """An input that gives a result again would be joined twice."""
    for name, flow in lowering.inputs:
        if flow.repeats:
            message = f"{name!r} repeats results (updates or corrections), they would be joined twice"
            lowering.problem(message, "use emit: final there, without early", "inputs")


def joined(
    config: FieldsConfig, lowering: Lowering, absent: Sequence[bool], more: Sequence[Field] = ()
) -> tuple[tuple[Pick, ...], Flow] | None:
    """Where the fields of a joined row come from, and the flow of such rows; None when there is a problem.

    absent: per input whether its row may be missing, so that its fields may be null. more: fields behind these.
    """
    named = _chosen(config.fields, lowering) if config.fields is not None else _all(config.prefix, lowering)
    for field in more:
        if field.name in named:
            lowering.problem(f"a result has a field {field.name!r} already", "rename the input's with fields", "fields")
    first = lowering.inputs[0][1]
    if lowering.failed or first.key is None:
        return None
    fields = [_field(name, pick, lowering, absent) for name, pick in named.items()]
    schema = Schema(f"{lowering.name.title().replace('_', '')}Row", (*fields, *more))
    key_name = next((name for name, pick in named.items() if pick.port is None), None)
    key = _key(first.key, schema, key_name)
    repeats = any(flow.repeats for _, flow in lowering.inputs)
    return tuple(named.values()), Flow(schema, key, key_name or first.key_name, repeats)


def _key(key: Expression, schema: Schema, name: str | None) -> Expression:
    """The key of what comes out: rows without one never get that far."""
    return field_expression(schema, name) if name is not None else replace(key, nullable=False)


def _pick(port: int, field: str, flow: Flow) -> Pick:
    return Pick(None, field) if field == flow.key_name else Pick(port, field)


def _all(prefixes: Mapping[str, str], lowering: Lowering) -> dict[str, Pick]:
    """Every field of every input; a key that all call the same is one field."""
    for name in prefixes:
        if name not in dict(lowering.inputs):
            inputs = ", ".join(each for each, _ in lowering.inputs)
            lowering.problem(f"{name!r} is no input", f"inputs are {inputs}", f"prefix.{name}")
    found: dict[str, Pick] = {}
    owners: dict[str, str] = {}
    key_name = lowering.inputs[0][1].key_name
    for port, (input_name, flow) in enumerate(lowering.inputs):
        for field in flow.schema.names:
            shared = field == flow.key_name and (port == 0 or field == key_name)
            name = field if shared else prefixes.get(input_name, "") + field
            if not shared and name in found:
                message = f"{owners[name]!r} and {input_name!r} both have a field {name!r}"
                remedy = f"give one a prefix, such as prefix: {{{input_name}: {input_name}_}}, or choose with fields"
                lowering.problem(message, remedy)
            owners.setdefault(name, input_name)
            found.setdefault(name, Pick(None, field) if shared else Pick(port, field))
    return found


def _chosen(fields: Mapping[str, str], lowering: Lowering) -> dict[str, Pick]:
    found: dict[str, Pick] = {}
    names = [name for name, _ in lowering.inputs]
    every = [f"{name}.{field}" for name, flow in lowering.inputs for field in flow.schema.names]
    for name, source in fields.items():
        input_name, _, field = source.partition(".")
        if source not in every:
            near = get_close_matches(source, every, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"write input.field; inputs are {', '.join(names)}"
            lowering.problem(f"unknown field {source!r}", remedy, f"fields.{name}")
            continue
        port = names.index(input_name)
        found[name] = _pick(port, field, lowering.inputs[port][1])
    return found


def _field(name: str, pick: Pick, lowering: Lowering, absent: Sequence[bool]) -> Field:
    if pick.port is None:
        key = lowering.inputs[0][1].key
        assert key is not None
        return Field(name, key.type)
    field = lowering.inputs[pick.port][1].schema.field(pick.field)
    assert field is not None
    return Field(name, field.type, field.nullable or absent[pick.port])
