"""flat_map: a row for every element of a list."""

from typing import Literal

from pydantic import Field as Option

from streamflow.model.schema import Field, FieldType, Schema, parse_fields
from streamflow.nodes.kind import Category, FieldName, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Unfold


class FlatMapConfig(NodeConfig):
    """Configuration of a flat_map."""

    elements: str = Option(alias="list", description="json field, or an expression such as split(words, ' ')")
    into: FieldName | None = Option(None, description="field for each element, when elements are plain values")
    type: Literal["str", "int", "float", "bool", "timestamp", "json"] = Option(
        "json", description="type of such elements"
    )
    fields: dict[FieldName, str] | None = Option(
        None, min_length=1, description="fields of each element with their types, when elements are objects"
    )
    keep: list[str] | None = Option(None, description="input fields that stay; all but the list when left out")
    position: FieldName | None = Option(None, description="field for the element's place in the list, from 0")
    max_rows: int = Option(1_000, ge=1, le=10_000, description="elements that a list may have")


class FlatMap(NodeKind):
    """Gives a row per element, in their order, with the key and time of the row it came from; null is an empty list.

    Elements are checked against their types, all before the first is given: a list with one that does not fit, or with
    more than `max_rows`, makes its row one dead letter (`elements`). Fields of an object that are not named are left
    out.
    """

    kind = "flat_map"
    display_name = "Flat map"
    description = "Gives a row for every element of a list."
    category = Category.DATA_PROCESSING
    tags = ("stateless",)
    config_type = FlatMapConfig
    example = {"list": "tags", "into": "tag", "type": "str", "position": "place"}

    def lower(self, config: FlatMapConfig, lowering: Lowering) -> Lowered | None:
        """Put the row together from what stays and what an element has."""
        before, elements = lowering.input, lowering.expression(config.elements, "list")
        if elements is not None and elements.type is not FieldType.JSON:
            remedy = "use a json field, or split(text, ',')"
            lowering.problem(f"a list is json, this is {elements.type}", remedy, "list")
        if (config.into is None) == (config.fields is None):
            lowering.problem("an element goes into one field, or has fields", "give either into or fields", "into")
        stays = config.keep
        if stays is None:
            stays = [name for name in before.schema.names if name != config.elements]
        for name in stays:
            lowering.has_field(name, "keep")
        parsed, problems = parse_fields(config.fields or {config.into or "": config.type})
        for name, message in problems:
            lowering.problem(message, key=f"fields.{name}")
        own = tuple(field for field in before.schema.fields if field.name in stays)
        place = () if config.position is None else (Field(config.position, FieldType.INT),)
        fields = (*own, *parsed, *place)
        names = [field.name for field in fields]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            lowering.problem(f"the row would have {name!r} twice", "rename it, or leave it out of keep", "keep")
        if lowering.failed or elements is None:
            return None
        title = lowering.name.title().replace("_", "")
        flow = Flow(Schema(f"{title}Row", fields), before.key, before.key_name, before.repeats)
        element, kept = Schema(f"{title}Element", parsed), tuple(field.name for field in own)
        operator = Unfold(elements, kept, element, config.fields is None, config.position, config.max_rows)
        return Lowered(operator, flow)
