"""cast: gives fields other types."""

from typing import Literal

from pydantic import Field

from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType
from streamflow.nodes.kind import Category, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project

_WORDS = {FieldType.TIMESTAMP: "time"}


class CastConfig(NodeConfig):
    """Configuration of a cast."""

    fields: dict[str, Literal["str", "int", "float", "bool", "timestamp"]] = Field(
        min_length=1, description="field to type"
    )
    on_error: Literal["dead_letter", "null"] = Field(
        "dead_letter", description="what becomes of a row with a value that has no such form"
    )


class Cast(NodeKind):
    """Converts fields where something exact comes out: 1.5 is no int, use round(…) in a map.

    int takes whole numbers, bools and decimal text; float numbers, bools and decimal text; bool 0, 1, "true" and
    "false"; timestamp milliseconds and ISO 8601 text; str everything, timestamps as ISO 8601, lists as JSON. Null stays
    null. In expressions the same is as_int(x), as_float, as_bool, as_time, as_str, and try_int(x), … for null in place
    of an error.
    """

    kind = "cast"
    display_name = "Cast"
    description = "Gives fields other types; what has no such form is put aside or becomes null."
    category = Category.DATA_PROCESSING
    tags = ("stateless", "schema")
    config_type = CastConfig
    example = {"fields": {"value": "str", "unit": "float"}, "on_error": "null"}

    def lower(self, config: CastConfig, lowering: Lowering) -> Lowered | None:
        """Write each as an expression."""
        attempt = "try" if config.on_error == "null" else "as"
        computed: dict[str, Expression] = {}
        for name, wanted in config.fields.items():
            field = lowering.input.schema.field(name)
            if field is None:
                lowering.has_field(name, f"fields.{name}")
            elif field.type != wanted:
                text = f"{attempt}_{_WORDS.get(FieldType(wanted), wanted)}({name})"
                if field.type is FieldType.TIMESTAMP and wanted == "str":
                    text = f"iso({name})"
                elif field.type is FieldType.INT and wanted == "float":
                    text = f"float({name})"
                value = lowering.or_null(text, name, f"fields.{name}")
                computed |= {} if value is None else {name: value}
        return None if lowering.failed else project(lowering, list(lowering.input.schema.names), computed)
