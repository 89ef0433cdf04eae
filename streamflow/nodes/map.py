"""map: computes fields, and keeps or drops others."""

from pydantic import Field as Option

from streamflow.model.expression import Expression, field_expression
from streamflow.model.schema import Field, Schema
from streamflow.nodes.kind import Category, FieldName, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Project


class MapConfig(NodeConfig):
    """Configuration of a map: which input fields stay, and which are computed."""

    set: dict[FieldName, str] = Option(default_factory=dict, description="new or replaced fields: name to expression")
    keep: list[str] | None = Option(None, description="input fields that stay; all others go")
    drop: list[str] | None = Option(None, description="input fields that go; all others stay")


class Map(NodeKind):
    """Builds new rows. The key travels on, also when its field is dropped.

    What lies inside of a json field is read by a path of members and places: at(customer, 'address.city') puts the row
    aside where there is nothing, at_or(…, default) takes the default, try_at(…) gives null; as_str(…) and the other
    casts give it a type.

    reduction(text, strip(text)) is by how many percent the second is shorter than the first, 0 when it is not; of json
    their texts count.
    """

    kind = "map"
    display_name = "Map"
    description = "Computes fields by expressions and keeps or drops others."
    category = Category.DATA_PROCESSING
    tags = ("stateless",)
    config_type = MapConfig
    example = {"set": {"fahrenheit": "value * 1.8 + 32"}, "drop": ["unit"]}

    def lower(self, config: MapConfig, lowering: Lowering) -> Lowered | None:
        """Compile every expression over the input's fields."""
        schema = lowering.input.schema
        if config.keep is not None and config.drop is not None:
            lowering.problem("keep and drop exclude each other", "use one of them", "keep")
        for key, names in (("keep", config.keep or ()), ("drop", config.drop or ())):
            for name in names:
                lowering.has_field(name, key)
        stays = [
            n for n in schema.names if (n in config.keep if config.keep is not None else n not in (config.drop or ()))
        ]
        computed: dict[str, Expression] = {}
        for name, source in config.set.items():
            value = lowering.expression(source, f"set.{name}")
            if value is not None:
                computed[name] = value
        if lowering.failed:
            return None
        return project(lowering, stays, computed)


def project(lowering: Lowering, stays: list[str], computed: dict[str, Expression]) -> Lowered | None:
    """A Project that keeps the fields `stays` and sets the computed ones, replaced fields in their old place."""
    before = lowering.input
    names = [*stays, *(name for name in computed if name not in stays)]
    if not names:
        lowering.problem("no field is left", "keep or set at least one")
        return None
    values = tuple(computed.get(name) or field_expression(before.schema, name) for name in names)
    fields = tuple(Field(name, value.type, value.nullable) for name, value in zip(names, values, strict=True))
    schema = Schema(f"{lowering.name.title().replace('_', '')}Row", fields)
    return Lowered(Project(values), Flow(schema, before.key, before.key_name, before.repeats))
