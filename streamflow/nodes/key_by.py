"""key_by: sets the key; rows of one key come together before the next stateful node."""

from pydantic import Field

from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Rekey


class KeyByConfig(NodeConfig):
    """Configuration of a key_by."""

    key: str = Field(description="field or expression of type str or int")


class KeyBy(NodeKind):
    """Sets the key of rows. Rows whose key is null become dead letters."""

    kind = "key_by"
    display_name = "Key by"
    description = "Sets the key of rows; before a stateful node they travel through a repartition topic."
    category = Category.DATA_PROCESSING
    tags = ("partitioning",)
    config_type = KeyByConfig
    example = {"key": "sensor"}
    rekeys = True

    def lower(self, config: KeyByConfig, lowering: Lowering) -> Lowered | None:
        """Compile the key."""
        key = lowering.expression(config.key, "key")
        if key is None:
            return None
        if key.type not in ("str", "int"):
            lowering.problem(f"a key is str or int, this is {key.type}", "use str(…) or int(…)", "key")
            return None
        name = config.key if config.key in lowering.input.schema.names else "key"
        output = Flow(lowering.input.schema, key, name, lowering.input.repeats)
        return Lowered(Rekey(key), output, rekeys=True)
