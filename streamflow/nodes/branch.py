"""branch: sends every row to the first of several outputs whose condition holds."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from streamflow.model.expression import Expression
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind, TableName
from streamflow.nodes.operators import Switch


class BranchConfig(NodeConfig):
    """Configuration of a branch."""

    outputs: dict[TableName, str] = Field(
        min_length=1, max_length=20, description="name to condition, tried in this order; others read `node.name`"
    )
    otherwise: TableName | None = Field(
        None, description="name of the output for rows that fulfil none; they are dropped when left out"
    )


class Branch(NodeKind):
    """Splits rows: each goes to one output, the first whose condition it fulfils.

    Behind a branch named `router` others read `router.high`. Each output counts its rows; one that nobody reads drops
    them. A condition that fails makes the row one dead letter.
    """

    kind = "branch"
    display_name = "Branch"
    description = "Sends every row to the first of several outputs whose condition holds."
    category = Category.DATA_PROCESSING
    tags = ("stateless",)
    config_type = BranchConfig
    example = {"outputs": {"high": "value > 30", "low": "value < 5"}, "otherwise": "rest"}

    @classmethod
    def outputs_of(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Named outputs, then that for the rest."""
        outputs, otherwise = config.get("outputs"), config.get("otherwise")
        names = [*(outputs if isinstance(outputs, Mapping) else ()), otherwise]
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))

    def lower(self, config: BranchConfig, lowering: Lowering) -> Lowered | None:
        """Compile every condition."""
        before = lowering.input
        if config.otherwise in config.outputs:
            lowering.problem(f"there is an output {config.otherwise!r} already", "choose another name", "otherwise")
        cases: list[tuple[str, Expression | None]] = []
        flows: dict[str, Flow] = {}
        for name, source in config.outputs.items():
            found = lowering.condition(source, f"outputs.{name}")
            if found is not None:
                cases.append((f"{lowering.name}.{name}", found))
                narrowed = before.schema.with_non_null(found.narrows)
                flows[name] = Flow(narrowed, before.key, before.key_name, before.repeats)
        plain = Flow(before.schema, before.key, before.key_name, before.repeats)
        if config.otherwise is not None:
            cases.append((f"{lowering.name}.{config.otherwise}", None))
            flows[config.otherwise] = plain
        return None if lowering.failed else Lowered(Switch(tuple(cases)), plain, outputs=flows)
