"""A program: a stage compiled once, ready to be bound to the state of each task.

Compiling generates the source, compiles it to a code object and makes the row classes; binding executes that code
object in a namespace that holds one task's tables and outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from types import CodeType
from typing import Any

import msgspec

from streamflow.engine.ahead import AheadCode
from streamflow.engine.fusion import Fusion
from streamflow.engine.source_code import SourceCode
from streamflow.model.codec import RowCodec
from streamflow.model.expression import FUNCTIONS
from streamflow.model.schema import Schema
from streamflow.model.wire import WireCodec
from streamflow.nodes.foreign_operators import Settle
from streamflow.nodes.join_operators import Apart
from streamflow.nodes.operators import Count, Fold, Lookup, Park, Project, Rescued, Score, Unfold
from streamflow.plan.plan import Entry, EntryKind, Plan, PlannedNode, Stage
from streamflow.windows.count import Counted
from streamflow.windows.layout import AccumulatorLayout, Slot
from streamflow.windows.session import Session
from streamflow.windows.unbounded import Unbounded


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled stage. `source` is the generated module; `layouts` by window node; `decoders` per entry;
    `ahead` per entry the functions that score its rows ahead (ahead.py), none nearly always. `probed`: a second module
    that tells of every row at every node (docs/decisions/0049-executions.md), made when it is asked for first."""

    plan: Plan
    stage: Stage
    source: SourceCode
    code: CodeType
    layouts: dict[str, AccumulatorLayout]
    decoders: tuple[Callable[[list[bytes | None]], tuple[list[int] | None, Any]], ...]
    row_types: dict[str, type[Any]]
    numbers: dict[str, int]
    ahead: tuple[tuple[str, ...], ...]
    probed: Callable[[], tuple[SourceCode, CodeType]]

    def place(self, partition: int, code: CodeType, line: int) -> dict[str, str]:
        """Where a line of generated code of a task stands, for the log."""
        source = self.source if code.co_filename == self.source.filename else self.probed()[0]
        return {"task": f"{self.stage.name}/{partition}", "node": source.owner_of(line)}

    def bind(self, names: dict[str, Any], code: CodeType | None = None) -> dict[str, Any]:
        """Run a module, the usual one unless given, in a namespace with these names; it has the functions."""
        namespace: dict[str, Any] = {**FUNCTIONS, **names}
        for layout in self.layouts.values():
            namespace |= layout.names
        for node, row_type in self.row_types.items():
            namespace[f"Row_{self.numbers[node]}"] = row_type
        exec(code or self.code, namespace)  # noqa: S102 - the source is generated from checked expressions only
        return namespace


def compile_stage(stage: Stage, plan: Plan, *, fused: bool = True) -> Program:
    """Compile a stage of a plan. `fused=False` joins the nodes by calls instead of inlining them: same results."""
    layouts = {node.name: layout_of(node.operator) for node in stage.nodes if isinstance(node.operator, Fold)}
    fusion = Fusion(stage, layouts, fused=fused)
    source = fusion.generate()
    ahead = AheadCode(stage, source, fusion.number).generate()
    return Program(
        plan=plan,
        stage=stage,
        source=source,
        code=compile(source.text, source.filename, "exec"),
        layouts=layouts,
        decoders=tuple(_decoder(entry) for entry in stage.entries),
        row_types={node.name: _row_type(node) for node in stage.nodes if _makes_rows(node)},
        numbers={node.name: fusion.number(node) for node in stage.nodes},
        ahead=ahead,
        probed=cache(partial(_compile_probed, stage, layouts)),
    )


def _compile_probed(stage: Stage, layouts: dict[str, AccumulatorLayout]) -> tuple[SourceCode, CodeType]:
    source = Fusion(stage, layouts, fused=True, probed=True).generate()
    return source, compile(source.text, source.filename, "exec")


def layout_of(fold: Fold) -> AccumulatorLayout:
    """Accumulator layout of a window; queries decode rows of the store with it."""
    far = 1 << 62
    extras: dict[str, int] = {}
    match fold.window:
        case Session():
            extras = {"start": far, "last": -far} | ({"revision": -1} if fold.corrects else {})
        case Counted():
            extras = {"number": 0, "count": 0, "start": far, "last": -far} | ({"seen": -far} if fold.keeps_seen else {})
        case Unbounded():
            extras = {"last": -far}
        case _:
            extras = {"revision": 0} if fold.corrects else {}
    if fold.trigger_rows:
        extras["rows"] = 0
    slots = [Slot(e.name, e.aggregate, e.argument.source if e.argument else "") for e in fold.aggregates]
    return AccumulatorLayout(slots, tuple(extras.items()))


def _makes_rows(node: PlannedNode) -> bool:
    return isinstance(node.operator, Project | Lookup | Count | Fold | Unfold | Park | Score | Settle | Apart | Rescued)


def _row_type(node: PlannedNode) -> type[Any]:
    """Row class built by position, which is faster than by keyword; encodes to the same names as the schema."""
    schema: Schema = node.schema
    return msgspec.defstruct(f"Row_{node.name}", [(name, Any) for name in schema.names], gc=False)


def _decoder(entry: Entry) -> Callable[[list[bytes | None]], tuple[list[int] | None, Any]]:
    """values -> (event times or None, Decoded)."""
    if entry.kind is EntryKind.REPARTITION:
        return WireCodec(entry.schema).decode
    decode = RowCodec(entry.schema, reject_unknown=entry.reject_unknown_fields).decode
    return lambda values: (None, decode(values))
