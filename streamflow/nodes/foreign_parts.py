"""The nodes that a foreign_join is made of, before itself. Nobody declares them; the plan shows them.

orders ─► joined_subscriptions ┄by foreign key┄► joined_answers ┄by key┄► joined
                                 customers ─────────┘
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from streamflow.model.expression import field_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.foreign_join import table_problems
from streamflow.nodes.foreign_operators import FOREIGN, KEY, Answer, Subscribe, answer_schema, message_schema
from streamflow.nodes.kind import Category, Flow, Lowered, Lowering, NodeConfig, NodeKind, TableShape


class SubscriptionsConfig(NodeConfig):
    """From the configuration of the foreign_join."""

    key: str
    inputs: tuple[str, str]


class Subscriptions(NodeKind):
    """Tells the tasks of foreign keys what rows of the first table have become."""

    kind = "foreign_subscriptions"
    display_name = "Subscriptions of a foreign key join"
    description = "Sends the rows of the first table to the task of their foreign key."
    category = Category.DATA_PROCESSING
    config_type = SubscriptionsConfig
    example: ClassVar[Mapping[str, Any]] = {}
    stateful = True
    rekeys = True

    def lower(self, config: SubscriptionsConfig, lowering: Lowering) -> Lowered | None:
        """Compile the foreign key."""
        rows = lowering.input
        table_problems(config.inputs[0], rows, lowering)
        foreign = lowering.expression(config.key, "key")
        if foreign is not None and foreign.type not in ("str", "int"):
            lowering.problem(f"a key is str or int, this is {foreign.type}", "use str(…) or int(…)", "key")
        if lowering.failed or foreign is None or rows.key is None:
            return None
        schema = message_schema(foreign, rows.key, rows.schema)
        carried = ((config.inputs[0], rows),)
        output = Flow(schema, field_expression(schema, FOREIGN), FOREIGN, repeats=True, carries=carried)
        shape = TableShape(lowering.name, row_schema=_row("Versions", Field("version", FieldType.INT)))
        return Lowered(Subscribe(rows.schema, foreign, lowering.name), output, shape, rekeys=True)


class AnswersConfig(NodeConfig):
    """From the configuration of the foreign_join."""

    type: Literal["inner", "left"] = "inner"
    max_rows: int = 100_000
    inputs: tuple[str, str]


class Answers(NodeKind):
    """Answers every row of the first table with what the second has for it, whenever either changes."""

    kind = "foreign_answers"
    display_name = "Answers of a foreign key join"
    description = "Keeps who asked for a key, and answers whenever its row changes."
    category = Category.DATA_PROCESSING
    config_type = AnswersConfig
    example: ClassVar[Mapping[str, Any]] = {}
    inputs_apart = (2, 2)
    stateful = True
    rekeys = True

    def lower(self, config: AnswersConfig, lowering: Lowering) -> Lowered | None:
        """Check that the right side is a table of the foreign key's type."""
        (_, messages), (_, right) = lowering.inputs
        table_problems(config.inputs[1], right, lowering)
        foreign, (left,) = messages.key, messages.carries
        key = left[1].key
        assert foreign is not None
        if right.key is not None and right.key.type != foreign.type:
            message = f"the key of {config.inputs[1]!r} is {right.key.type}, this is {foreign.type}"
            lowering.problem(message, "bring it to that type, such as str(id)", "key")
        if lowering.failed or key is None:
            return None
        schema = answer_schema(key, (left[1].schema, right.schema))
        operator = Answer(
            (messages.schema, right.schema), left[1].schema, config.type == "left", lowering.name, config.max_rows
        )
        carried = (left, (config.inputs[1], right))
        output = Flow(schema, field_expression(schema, KEY), KEY, repeats=True, carries=carried)
        asked = _row("Asked", Field("key", foreign.type), Field("by", key.type), Field("row", FieldType.JSON))
        return Lowered(operator, output, TableShape(lowering.name, row_schema=asked), rekeys=True)


def _row(name: str, *fields: Field) -> Schema:
    return Schema(name, fields)


#: By kind.
PARTS: Mapping[str, NodeKind] = {part.kind: part for part in (Subscriptions(), Answers())}
