"""One followed row on its way through one task: what it is, and what came of it so far."""

from dataclasses import dataclass, field
from typing import Any

from streamflow.checkpoint.checkpoint import Output
from streamflow.model.approval import Parked
from streamflow.model.outcome import Added, Headers, Write
from streamflow.model.trace_context import TraceContext

#: What a row of a record comes from: topic, partition and offset; of an approval: its id, the task's partition, 0.
Origin = tuple[str, int, int]
#: Steps of one walk that are noted; what goes on behind is not told of.
STEPS_MAX = 10_000
#: A row at a node: (number of the node, name of the one before, row, perf_counter ns).
Step = tuple[int, str, Any, int]


@dataclass(slots=True)
class Left:
    """A row that waited for people goes on. at_ms: when it was decided."""

    approval: str
    outcome: str
    at_ms: int
    headers: Headers


@dataclass(slots=True)
class Walk:
    """A row, and what is due to it.

    entry: node that it came in at; is_start: from a source. is_piece: other pieces of its execution go on elsewhere.
    left: of a row that comes from an approval. added, places: records it added to the outputs, and where they are.
    parked: what waits for people, by id, with its node. cancelled: why it is worked on no more. writes: as nodes of
    kind accept judged it. steps: nodes it came to, None when nobody wants to know.
    """

    origin: Origin
    entry: str
    correlation: bytes | None
    parent: TraceContext | None = None
    span: TraceContext | None = None
    traceparent: bytes | None = None
    row: Any = None
    key: str = ""
    is_start: bool = False
    is_piece: bool = False
    left: Left | None = None
    start_ns: int = 0
    added: list[Added] = field(default_factory=list)
    places: list[tuple[list[Output], int]] = field(default_factory=list)
    parked: dict[str, tuple[str, Parked]] = field(default_factory=dict)
    cancelled: str | None = None
    writes: list[Write] = field(default_factory=list)
    steps: list[Step] | None = None
