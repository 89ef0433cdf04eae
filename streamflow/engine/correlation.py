"""Follows events that somebody waits for, looks at, or traces, through a task, at no cost for all others.

The fused code knows nothing of it. Such a row is worked on alone; whatever the output lists have more afterwards is
its doing, and gets the row's headers: the id of its execution, with one part of its outcome (model/outcome.py), and the
context of the span of this stage (docs/decisions/0038-tracing.md). What windows gave meanwhile is left out: a result of
many events is nobody's. What the bus is told is in walk_events.py.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Protocol

from streamflow.bus.cancellations import Cancellations
from streamflow.bus.detail import DataPathBus
from streamflow.bus.states import State
from streamflow.engine.answers import Answers
from streamflow.engine.outputs import Outputs
from streamflow.engine.program import Program
from streamflow.engine.walk import STEPS_MAX, Left, Walk
from streamflow.engine.walk_events import WalkEvents
from streamflow.logs.trace import in_trace
from streamflow.model.approval import Parked
from streamflow.model.chunk import Chunk
from streamflow.model.outcome import CORRELATION, PIECE, Headers, Write, bounded_id, encode_part, is_awaited
from streamflow.model.trace_context import TRACEPARENT, Span, TraceContext
from streamflow.nodes.operators import Score
from streamflow.nodes.sink_operators import Deliver
from streamflow.plan.plan import EntryKind

#: A generated function: (rows, their event times or None, the bounds of near event times).
Run = Callable[[list[Any], list[int] | None, int, int], None]
#: Place in the chunk before which work has stopped, None when it goes on.
Stopped = Callable[[], int | None]

#: Spans of one checkpoint; events beyond are followed, but not told of.
SPANS_MAX = 1_000
_LINKS_MAX = 32


class Parks(Protocol):
    """An entry that parks keys (parking.py), which takes rows in its own way."""

    def through(self, functions: Mapping[str, Any]) -> Run:
        """What works through rows by these generated functions."""

    def passed_over(self, rows: list[Any], times: list[int] | None, behind: int, ahead: int) -> None:
        """Takes a row that is not worked on, as its execution was cancelled."""


class Correlator:
    """Of one task, which is a partition of a stage."""

    def __init__(
        self,
        outputs: Outputs,
        program: Program,
        partition: int,
        bus: DataPathBus | None,
        cancelled: Cancellations,
    ) -> None:
        stage = program.stage
        self._outputs, self._topic, self._place = outputs, program.plan.outcome_topic, (stage.name, partition)
        self._program, self._names = program, dict[str, Any]()
        self._probed: dict[str, Any] | None = None
        self._events = None if bus is None else WalkEvents(bus, program, partition, outputs)
        self._entries = {entry.topic: (number, entry) for number, entry in enumerate(stage.entries)}
        self._onward = frozenset(topic for node in stage.nodes for topic in node.onward_topics)
        self.cancelled = cancelled
        #: What is handed to a sink, or scored, in the order of the rows cannot leave one of them out.
        self._in_step = any(isinstance(node.operator, Deliver | Score) for node in stage.nodes)
        self._answers: Mapping[str, Answers] = {}
        self._lengths: list[int] = []
        self._walk: Walk | None = None
        self._used = False
        self._spans: list[Span] = []
        #: Traced events since a node's results left last, for links.
        self._recent: deque[TraceContext] = deque(maxlen=_LINKS_MAX)
        self._linked: dict[str, TraceContext] = {}

    def bind(self, names: dict[str, Any], answers: Mapping[str, Answers]) -> None:
        """Take what the names in the generated code stand for, and answers by async node. Call before any work."""
        self._names, self._answers = names, answers
        if self._events is not None:
            self._events.answers, self._events.rescued = answers, names["rescue"].said

    def name(self, chunk: Chunk, start: int, rows: list[Any], kept: list[int] | None, field: str) -> None:
        """Follow rows of `chunk.values[start:]` whose `field` has an id; a header comes first."""
        known = chunk.correlations
        for place, row in enumerate(rows):
            found = getattr(row, field)
            if found is not None:
                index = start + (place if kept is None else kept[place])
                known.setdefault(index, bounded_id(str(found).encode()))

    def alone(
        self,
        function: Run,
        chunk: Chunk,
        start: int,
        rows: list[Any],
        kept: list[int] | None,
        stopped: Stopped,
        parked: Parks | None = None,
    ) -> Run:
        """`function` over these rows of `chunk.values[start:]`, where each row that is followed is worked on alone.

        parked: the entry, when it parks keys. What is returned takes the rows in their order.
        """
        correlations, traces = chunk.correlations, chunk.traces
        entry = f"entry_{self._entries[chunk.topic][0]}"
        through = parked.through if parked is not None else lambda functions: functions[entry]
        ignored: Run = parked.passed_over if parked is not None else lambda *_: None
        begun = 0

        def split(rows: list[Any], times: list[int] | None, behind: int, ahead: int) -> None:
            nonlocal begun
            first, done = begun, 0
            begun += len(rows)
            for place, row in enumerate(rows):
                index = start + (first + place if kept is None else kept[first + place])
                if index not in correlations and index not in traces:
                    continue
                if place > done:
                    function(rows[done:place], times and times[done:place], behind, ahead)
                    if stopped() is not None:
                        return
                done = place + 1
                walk = self._begin(chunk, index, row)
                if self._is_cancelled(walk, row):
                    run = ignored
                elif walk.steps is None:
                    run = function
                else:
                    run = through(self._probed_functions())
                with _logged(walk):
                    run([row], times and times[place:done], behind, ahead)
                stopped_at = stopped()
                if stopped_at is not None and stopped_at <= index:  # it will be worked on again
                    self._walk = None
                elif self._walk is not None:
                    self._end(walk)
                if stopped_at is not None:
                    return
            if done < len(rows):
                function(rows[done:], times and times[done:], behind, ahead)

        return split

    def _is_cancelled(self, walk: Walk, row: Any) -> bool:
        if not self.cancelled or self._in_step:
            return False
        walk.cancelled = self.cancelled.reason_of(walk.correlation)
        if walk.cancelled is None:
            return False
        for answers in self._answers.values():
            answers.drop(row)
        return True

    def _probed_functions(self) -> Mapping[str, Any]:
        if self._probed is None:
            self._probed = self._program.bind({**self._names, "walk": self._step}, self._program.probed()[1])
        return self._probed

    def _step(self, number: int, before: str, row: Any) -> None:
        steps = None if self._walk is None else self._walk.steps
        if steps is not None and len(steps) < STEPS_MAX:
            steps.append((number, before, row, time.perf_counter_ns()))

    def node_of(self, trace: TracebackType | None) -> str:
        """Node whose line raised, when it was worked on to be seen."""
        return "" if self._probed is None else self._program.probed()[0].node_of(trace)

    @contextmanager
    def about(self, chunk: Chunk, index: int) -> Iterator[None]:
        """What is added to the outputs meanwhile is due to `chunk.values[index]`, which is no row."""
        if index not in chunk.correlations and index not in chunk.traces:
            yield
            return
        walk = self._begin(chunk, index, None)
        with _logged(walk):
            yield  # an exception ends the task, and what is in the outputs with it
        self._end(walk)

    # -- one walk -----------------------------------------------------------------------------------------------------

    def _begin(self, chunk: Chunk, index: int, row: Any) -> Walk:
        origin = (chunk.topic, chunk.partition, chunk.offset_at(index))
        _, entry = self._entries[chunk.topic]
        parent = chunk.traces.get(index)
        walk = Walk(origin, entry.node, chunk.correlations.get(index), parent, row=row)
        walk.is_start, walk.is_piece = entry.kind is EntryKind.SOURCE, index in chunk.pieces
        if parent is not None:
            walk.span = parent.child(self._place[0], *map(str, origin))
            walk.traceparent = walk.span.header
        self._open(walk)
        return walk

    def _open(self, walk: Walk) -> None:
        walk.start_ns = time.time_ns()
        if self._events is not None and walk.correlation is not None:
            self._events.begin(walk)
        self._walk = walk
        self._measure()

    def _end(self, walk: Walk) -> None:
        self._gather(walk)
        self._walk = None
        onward = sum(topic in self._onward for topic, *_ in walk.added)
        going = onward + len(walk.parked)
        pieces = going + (len(walk.added) > onward or not going)
        stamp: Headers = ()
        if walk.correlation is not None:
            stamp = ((CORRELATION, walk.correlation),)
            if walk.is_piece or pieces > 1:
                stamp += ((PIECE, b"1"),)
        if walk.traceparent is not None:
            stamp += ((TRACEPARENT, walk.traceparent),)
        for records, place in walk.places:
            key, value, headers = records[place]
            records[place] = (key, value, (*(headers or ()), *stamp))
        for _, parked in walk.parked.values():
            parked.headers = list(stamp)
        self._used = True
        if walk.correlation is not None:
            if is_awaited(walk.correlation):
                part = encode_part(
                    walk.correlation,
                    walk.origin,
                    walk.added,
                    self._onward,
                    len(walk.parked),
                    walk.writes,
                    walk.cancelled,
                )
                self._outputs.append(self._topic, (walk.correlation, part, None))
            if self._events is not None:
                self._events.tell(walk, onward, pieces)
        if walk.span is not None:
            self._tell_span(walk)

    # -- what is no row's, or another's, in between -------------------------------------------------------------------

    @contextmanager
    def apart(self, node: str, left: Left | None = None) -> Iterator[Mapping[str, Any] | None]:
        """What is added meanwhile is due to `node`, or to the row that has `left` it after it was parked there.

        Gives what has the generated functions for that, None for the usual ones.
        """
        before = self._walk
        if left is not None and before is not None and left.approval in before.parked:
            del before.parked[left.approval]
            yield None if before.steps is None else self._probed_functions()  # it never waited
            return
        self._walk = None
        if before is not None:
            self._gather(before)
        if self._recent:
            self._link(node)
        walk = self._released(node, left) if left is not None and left.headers else None
        yield None if walk is None or walk.steps is None else self._probed_functions()
        if walk is not None:
            self._end(walk)
        self._walk = before
        if before is not None:
            self._measure()

    def _released(self, node: str, left: Left) -> Walk:
        headers = dict(left.headers)
        walk = Walk((left.approval, self._place[1], 0), node, headers.get(CORRELATION), left=left)
        walk.is_piece, walk.traceparent = PIECE in headers, headers.get(TRACEPARENT)
        if left.outcome == State.CANCELLED:
            walk.cancelled = self.cancelled.reason_of(walk.correlation)
        self._open(walk)
        return walk

    def parks(self, node: str, approval: str, parked: Parked) -> None:
        """The row that is worked on waits for people from now on."""
        if self._walk is not None:
            self._walk.parked[approval] = (node, parked)

    def leave_out(self) -> None:
        """The row that is worked on waits, and is followed when it goes on."""
        self._walk = None

    def judged(self, node: str, key: Any, is_taken: bool, version: int) -> None:
        """The row that is worked on was taken as a write, or not; the newest version of its key."""
        if self._walk is not None:
            self._walk.writes.append(Write(node, str(key), is_taken, version))

    # -- for the checkpoint -------------------------------------------------------------------------------------------

    def take_apart(self) -> frozenset[str]:
        """Topics that got records with headers since the last call, if any may have."""
        used, self._used = self._used, False
        return self._onward if used else frozenset()

    def take_spans(self) -> list[Span]:
        """Spans since the last call; they end with the commit."""
        spans, self._spans = self._spans, []
        return spans

    def _tell_span(self, walk: Walk) -> None:
        assert walk.span is not None
        self._recent.append(walk.span)
        if len(self._spans) >= SPANS_MAX:
            return
        topic, partition, offset = walk.origin
        told = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
            "streamflow.stage": self._place[0],
            "streamflow.partition": self._place[1],
            "streamflow.outputs": sorted({topic for topic, *_ in walk.added}),
            "streamflow.output_count": len(walk.added),
        }
        self._spans.append(Span(f"process {self._place[0]}", walk.span, walk.start_ns, walk.parent, attributes=told))

    def _link(self, node: str) -> None:
        """Results of `node` leave: a trace of their own, with links to what was traced since its last ones."""
        newest = self._recent[-1]
        if not node or self._linked.get(node) is newest or len(self._spans) >= SPANS_MAX:
            return
        before = self._linked.get(node)
        recent = list(self._recent)
        since = recent[recent.index(before) + 1 :] if before in recent else recent
        self._linked[node] = newest
        stage, partition = self._place
        context = TraceContext.of(stage, str(partition), node, newest.trace_id, newest.span_id)
        told = {"streamflow.stage": stage, "streamflow.partition": partition, "streamflow.node": node}
        span = Span(f"close {node}", context, time.time_ns(), kind="INTERNAL", attributes=told, links=tuple(since))
        self._spans.append(span)

    def _measure(self) -> None:
        self._lengths = self._outputs.count_of_each

    def _gather(self, walk: Walk) -> None:
        before = self._lengths
        for number, length in enumerate(self._outputs.count_of_each):
            start = before[number] if number < len(before) else 0
            if start == length:
                continue
            topic, records = self._outputs.each(number)
            for place in range(start, length):
                key, value, headers = records[place]
                walk.added.append((topic, key, value, headers or ()))
                walk.places.append((records, place))


def _logged(walk: Walk) -> AbstractContextManager[None]:
    """Log lines written meanwhile have the trace's id, if there is one."""
    return nullcontext() if walk.span is None else in_trace(walk.span.trace_id)
