"""pass_through: passes every row on unchanged; a place to name a point of the graph or to merge branches."""

from streamflow.nodes.kind import Category, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.operators import Pass


class PassThroughConfig(NodeConfig):
    """A pass_through has no options."""


class PassThrough(NodeKind):
    """Passes every row on."""

    kind = "pass_through"
    display_name = "Pass through"
    description = "Passes every row on unchanged. With several inputs of one schema it merges them."
    category = Category.UTILITY
    tags = ("stateless", "merge")
    config_type = PassThroughConfig
    example = {}

    def lower(self, config: PassThroughConfig, lowering: Lowering) -> Lowered | None:
        """Nothing to check."""
        return Lowered(Pass(), lowering.input)
