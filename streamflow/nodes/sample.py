"""sample: passes a share of the rows, always the same ones."""

from pydantic import Field

from streamflow.model.schema import FieldType
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Filter


class SampleConfig(NodeConfig):
    """Configuration of a sample."""

    rate: float = Field(gt=0, lt=1, description="share of the rows that passes, such as 0.1")
    by: list[str] | None = Field(
        None,
        min_length=1,
        description="fields or expressions; rows that agree in them pass together; all fields when left out",
    )


class Sample(NodeKind):
    """Passes a row when the hash of what it is sampled by lies below the rate.

    So the same rows pass in every run, on every worker and after a crash, a larger rate passes all that a smaller one
    does, and with `by` all rows of a user pass or none. The share is that of the distinct values.
    """

    kind = "sample"
    display_name = "Sample"
    description = "Passes a share of the rows, chosen by a hash: always the same ones."
    category = Category.UTILITY
    tags = ("stateless",)
    config_type = SampleConfig
    example = {"rate": 0.4, "by": ["sensor"]}

    def lower(self, config: SampleConfig, lowering: Lowering) -> Lowered | None:
        """Write it as an expression."""
        before, parts = lowering.input, []
        for number, source in enumerate(config.by or before.schema.names):
            place = f"by.{number}" if config.by else "rate"
            part = lowering.expression(source, place)
            if part is None:
                continue
            text = source if part.type is FieldType.STR else f"as_str({source})"
            if part.nullable and source not in before.schema.names:
                lowering.problem(f"{source} may be null", "use coalesce(…, …)", place)
            parts.append(f'({text} if {source} is not None else "")' if part.nullable else f"({text})")
        if lowering.failed:
            return None
        joined = ' + "\t" + '.join(parts)  # a tab keeps ("ab", "c") from being ("a", "bc")
        predicate = lowering.expression(f"share({joined}) < {config.rate!r}", "by")
        flow = Flow(before.schema, before.key, before.key_name, before.repeats)
        return None if predicate is None else Lowered(Filter(predicate), flow)
