"""normalize: brings a numeric field to a common scale, by statistics that are given, or texts to one writing."""

from typing import Literal

from pydantic import Field

from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project


class NormalizeConfig(NodeConfig):
    """Configuration of a normalize."""

    field: str = Field(description="field to normalize: numeric, or with `text` a str or json")
    method: Literal["min_max", "z_score", "text"] = Field(
        description="to 0 … 1, to distances from the mean in deviations, or texts trimmed and in small letters"
    )
    minimum: float | None = Field(None, allow_inf_nan=False, description="what becomes 0, with min_max")
    maximum: float | None = Field(None, allow_inf_nan=False, description="what becomes 1, with min_max")
    mean: float | None = Field(None, allow_inf_nan=False, description="what becomes 0, with z_score")
    deviation: float | None = Field(None, gt=0, allow_inf_nan=False, description="standard deviation, with z_score")
    clamp: bool = Field(False, description="values outside become 0 or 1, with min_max")
    into: FieldName | None = Field(None, description="field for the result; the same field when left out")


class Normalize(NodeKind):
    """min_max: (x - minimum) / (maximum - minimum); z_score: (x - mean) / deviation. Null stays null.

    text: trimmed, in small letters; of JSON at any depth, keys too, with _ for their spaces. Numbers, truth values and
    nulls in it stay; two keys that would become one make the row fail. In expressions the same is tidied(x).

    Statistics that are learned from the stream are those of `normalize_running` and `normalize_window`.
    """

    kind = "normalize"
    display_name = "Normalize"
    description = (
        "Brings a numeric field to a common scale: min-max or z-score, with given statistics; or tidies texts."
    )
    category = Category.DATA_PROCESSING
    tags = ("stateless", "statistics")
    config_type = NormalizeConfig
    example = {"field": "value", "method": "min_max", "minimum": -20.0, "maximum": 50.0}

    def lower(self, config: NormalizeConfig, lowering: Lowering) -> Lowered | None:
        """Write it as an expression."""
        options = {"min_max": ("minimum", "maximum"), "z_score": ("mean", "deviation"), "text": ()}
        needed = options.pop(config.method)
        other = [name for names in options.values() for name in names]
        for name in needed:
            if getattr(config, name) is None:
                lowering.problem(f"{config.method} needs {name}", f"add `{name}: …`, or use normalize_running", name)
        for name in (*other, *(["clamp"] if config.method != "min_max" else [])):
            if getattr(config, name):
                lowering.problem(f"{config.method} has no {name}", "remove it", name)
        if not lowering.has_field(config.field, "field") or lowering.failed:
            return None
        value = lowering.or_null(self._formula(config, lowering), config.field, "field")
        if value is None or lowering.failed:
            return None
        return project(lowering, list(lowering.input.schema.names), {config.into or config.field: value})

    @staticmethod
    def _formula(config: NormalizeConfig, lowering: Lowering) -> str:
        name = config.field
        if config.method == "text":
            return f"tidied({name})"
        if config.method == "z_score":
            return f"({name} - {config.mean!r}) / {config.deviation!r}"
        low, high = config.minimum or 0.0, config.maximum or 0.0
        if not 0 < high - low < float("inf"):
            lowering.problem("maximum must be more than minimum", "correct them", "maximum")
            return name
        scaled = f"({name} - {low!r}) / {high - low!r}"
        return f"min(1.0, max(0.0, {scaled}))" if config.clamp else scaled
