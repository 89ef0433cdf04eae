"""accept: takes a write only in view of the newest version of its key."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field as Option

from streamflow.kit.declaration import Declaration
from streamflow.model.expression import compile_expression
from streamflow.model.schema import Field, FieldType, Schema
from streamflow.nodes.kind import (
    Category,
    FieldName,
    Flow,
    Lowered,
    Lowering,
    NodeConfig,
    NodeKind,
    TableName,
    TableShape,
)
from streamflow.nodes.operators import Process
from streamflow.nodes.running import row_class
from streamflow.nodes.versioned_writes import VersionedWrites

ACCEPTED, CONFLICTS = "accepted", "conflicts"


class AcceptConfig(NodeConfig):
    """Configuration of an accept."""

    expected: FieldName = Option(
        description="integer field with the version that the writer saw; 0: the key is not there yet; null: any"
    )
    required: bool = Option(False, description="whether a write that expects nothing (null) is a conflict")
    version: FieldName = Option("version", description="field for the newest version: the new one if it was taken")
    table: TableName | None = Option(None, description="name of the table to query; the node's name when left out")


class Accept(NodeKind):
    """Compares the version that a write expects with that of its key, in the order of the topic: one of two wins.

    Others read `node.accepted` and `node.conflicts`: the row, its newest version, and `accepted`, whether it was taken.
    Versions of a key count from 1. The table has the last row that was taken, and its version as `row_version`;
    comparing and writing are one transaction. A publish over HTTP with `If-Match` waits for the outcome (docs/live.md).
    """

    kind = "accept"
    display_name = "Accept"
    description = "Takes a write only in view of the newest version of its key."
    category = Category.DATA_PROCESSING
    tags = ("stateful", "table")
    config_type = AcceptConfig
    example = {"expected": "seen", "required": True, "table": "documents"}
    stateful = True

    @classmethod
    def outputs_of(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """What was taken, and what was not."""
        return ACCEPTED, CONFLICTS

    def lower(self, config: AcceptConfig, lowering: Lowering) -> Lowered | None:
        """Check what belongs together."""
        before = lowering.input
        if before.key is None:
            lowering.problem("rows have no key here", "put a key_by before it, or declare the source's key")
        field = before.schema.field(config.expected) if lowering.has_field(config.expected, "expected") else None
        if field is not None and field.type is not FieldType.INT:
            lowering.problem(f"versions are integers, {field.name!r} is {field.type}", "declare it as int?", "expected")
        for name, key in ((config.version, "version"), (ACCEPTED, "")):
            if name in before.schema.names:
                lowering.problem(f"there is a field {name!r} already", "choose another name, or rename it before", key)
        if config.version == ACCEPTED:
            lowering.problem(f"the field {ACCEPTED!r} says whether it was taken", "choose another name", "version")
        if lowering.failed or before.key is None:
            return None
        added = (Field(config.version, FieldType.INT), Field(ACCEPTED, FieldType.BOOL))
        output = Schema(f"{lowering.name.title().replace('_', '')}Outcome", (*before.schema.fields, *added))
        given, table = row_class(output), config.table or lowering.name
        arguments = {"expected": config.expected, "required": config.required, "given": given}
        cases = (
            (f"{lowering.name}.{ACCEPTED}", compile_expression(ACCEPTED, output)),
            (f"{lowering.name}.{CONFLICTS}", None),
        )
        operator = Process(Declaration(VersionedWrites, None, given), tuple(arguments.items()), table, cases)
        flow = Flow(output, before.key, before.key_name, before.repeats)
        key = before.key_name or "key"
        shown = [Field(name, kind) for name, kind in _SHOWN if name != key]
        rows = Schema(f"{output.name}Kept", (Field(key, before.key.type), *shown))
        shape = TableShape(table, row_schema=rows)
        return Lowered(operator, flow, shape, outputs=dict.fromkeys((ACCEPTED, CONFLICTS), flow))


_SHOWN = (("row_version", FieldType.INT), ("row", FieldType.JSON))
