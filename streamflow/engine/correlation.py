"""Follows events that somebody waits for, or traces, through a task, at no cost for all others.

The fused code knows nothing of it. Such a row is worked on alone; whatever the output lists have more afterwards is
its doing, and gets the row's headers: the correlation id, with one part of its outcome (model/outcome.py), and the
context of the span of this stage (docs/decisions/0038-tracing.md). What windows gave meanwhile is left out: a result of
many events is nobody's.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from streamflow.engine.outputs import Outputs
from streamflow.logs.trace import in_trace
from streamflow.model.chunk import Chunk
from streamflow.model.outcome import CORRELATION, Added, encode_part
from streamflow.model.trace_context import TRACEPARENT, Span, TraceContext
from streamflow.plan.plan import Stage

#: A generated function: (rows, their event times or None, the bounds of near event times).
Run = Callable[[list[Any], list[int] | None, int, int], None]
#: Whether work has stopped before the last row it was given.
Stopped = Callable[[], bool]
#: Headers that a followed row's outputs get.
Stamp = tuple[tuple[str, bytes], ...]
#: Topic, partition and offset of a row's record.
Origin = tuple[str, int, int]

#: Spans of one checkpoint; events beyond are followed, but not told of.
SPANS_MAX = 1_000
_LINKS_MAX = 32


class Correlator:
    """Of one task, which is a partition of a stage."""

    def __init__(self, outputs: Outputs, stage: Stage, partition: int, outcome_topic: str) -> None:
        self._outputs, self._topic, self._place = outputs, outcome_topic, (stage.name, partition)
        onward = [node.repartition_topic for node in stage.nodes]
        self._onward = frozenset(topic for topic in onward if topic is not None)
        self._lengths: dict[int, int] = {}
        self._added: list[Added] = []
        self._stamp: Stamp | None = None
        self._used = False
        self._spans: list[Span] = []
        #: Traced events since a node's results left last, for links.
        self._recent: deque[TraceContext] = deque(maxlen=_LINKS_MAX)
        self._linked: dict[str, TraceContext] = {}

    def alone(
        self, function: Run, chunk: Chunk, start: int, rows: list[Any], kept: list[int] | None, stopped: Stopped
    ) -> Run:
        """`function` over these rows of `chunk.values[start:]`, where each row that is followed is worked on alone.

        stopped: whether `function` has stopped before its last row.
        """
        places = kept if kept is not None else range(len(rows))
        indices = {id(row): start + place for row, place in zip(rows, places, strict=True)}

        def split(rows: list[Any], times: list[int] | None, behind: int, ahead: int) -> None:
            done = 0
            for place, row in enumerate(rows):
                index = indices[id(row)]
                if index in chunk.correlations or index in chunk.traces:
                    function(rows[done:place], times and times[done:place], behind, ahead)
                    done = place + 1
                    if not stopped():
                        with self.about(chunk, index, stopped):
                            function(rows[place:done], times and times[place:done], behind, ahead)
                    if stopped():
                        return
            function(rows[done:], times and times[done:], behind, ahead)

        return split

    @contextmanager
    def about(self, chunk: Chunk, index: int, stopped: Stopped = lambda: False) -> Iterator[None]:
        """What is added to the outputs meanwhile is due to `chunk.values[index]`; its part of the outcome follows.

        When work stopped before it, there is none: it will be worked on again.
        """
        correlation, parent = chunk.correlations.get(index), chunk.traces.get(index)
        if correlation is None and parent is None:
            yield
            return
        start_ns, origin = time.time_ns(), (chunk.topic, chunk.partition, chunk.offset_at(index))
        span = None if parent is None else parent.child(self._place[0], *map(str, origin))
        self._stamp = stamp = (
            *(((CORRELATION, correlation),) if correlation is not None else ()),
            *(((TRACEPARENT, span.header),) if span is not None else ()),
        )
        self._added, self._used = [], True
        self._measure()
        with nullcontext() if span is None else in_trace(span.trace_id):
            yield  # an exception ends the task, and what is in the outputs with it
        if stopped():
            self._stamp = None
            return
        self._gather(stamp)
        if correlation is not None:
            part = encode_part(correlation, origin, self._added, self._onward)
            self._outputs.append(self._topic, (correlation, part, None))
        if span is not None:
            self._tell(span, parent, start_ns, origin)
        self._stamp = None

    def leave(self, node: str = "") -> Stamp | None:
        """What is added from now on is due to no single row, but to `node`. Gives what `come_back` takes."""
        stamp, self._stamp = self._stamp, None
        if stamp is not None:
            self._gather(stamp)
        if self._recent:
            self._link(node)
        return stamp

    def come_back(self, stamp: Stamp | None) -> None:
        """What is added from now on is the row's again."""
        self._stamp = stamp
        if stamp is not None:
            self._measure()

    def take_apart(self) -> frozenset[str]:
        """Topics that got records with headers since the last call, if any may have."""
        used, self._used = self._used, False
        return self._onward if used else frozenset()

    def take_spans(self) -> list[Span]:
        """Spans since the last call; they end with the commit."""
        spans, self._spans = self._spans, []
        return spans

    def _tell(self, span: TraceContext, parent: TraceContext | None, start_ns: int, origin: Origin) -> None:
        self._recent.append(span)
        if len(self._spans) >= SPANS_MAX:
            return
        topic, partition, offset = origin
        told = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
            "streamflow.stage": self._place[0],
            "streamflow.partition": self._place[1],
            "streamflow.outputs": sorted({topic for topic, *_ in self._added}),
            "streamflow.output_count": len(self._added),
        }
        self._spans.append(Span(f"process {self._place[0]}", span, start_ns, parent, attributes=told))

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
        self._lengths = {id(records): len(records) for _, records in self._outputs.all()}

    def _gather(self, stamp: Stamp) -> None:
        for topic, records in self._outputs.all():
            for place in range(self._lengths.get(id(records), 0), len(records)):
                key, value, headers = records[place]
                records[place] = (key, value, (*(headers or ()), *stamp))
                self._added.append((topic, key, value, headers or ()))
