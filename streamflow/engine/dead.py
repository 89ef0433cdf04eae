"""What becomes of rows that cannot be used: letters among a task's outputs, counted, and told on the bus."""

from collections.abc import Sequence
from dataclasses import replace

from streamflow.checkpoint.checkpoint import Checkpoint, Output
from streamflow.checkpoint.progress import Progress
from streamflow.engine.amending import amend
from streamflow.engine.counters import TaskCounters
from streamflow.engine.letters import Headers, Letters
from streamflow.engine.outputs import Outputs
from streamflow.engine.program import Program
from streamflow.engine.task_bus import TaskBus
from streamflow.errors import EventError
from streamflow.model.chunk import Chunk
from streamflow.model.outcome import CORRELATION
from streamflow.sinks.delivery import Batch, Refusal


class Dead:
    """Of one task."""

    def __init__(self, program: Program, outputs: Outputs, counters: TaskCounters, bus: TaskBus | None) -> None:
        self._topic, self._letters = program.plan.dead_letter_topic, Letters(program.plan, program.stage)
        self._outputs, self._counters, self._bus = outputs, counters, bus
        self._outcome_topic = program.plan.outcome_topic

    def record(self, chunk: Chunk, index: int, node: str, error: EventError, more: Headers = ()) -> None:
        """`chunk.values[index]` cannot be used; `more` headers say what is particular to the reason."""
        self._outputs.append(self._topic, self._letter(chunk, index, node, error, more))
        self._counters.count_dead(node, error.reason)

    def row(self, value: bytes, node: str, error: EventError) -> None:
        """A row that has no record of its own."""
        self._outputs.append(self._topic, self._letters.of_row(value, node, error))
        self._counters.count_dead(node, error.reason)

    def refused(self, checkpoint: Checkpoint, refusals: Sequence[Refusal], node: str) -> None:
        """Rows of a checkpoint that was taken already are not taken outside: their letters go in its transaction."""
        letters, followed = [], {}
        for each in refusals:
            correlation = each.chunk.correlations.get(each.index)
            more = ((CORRELATION, correlation),) if correlation is not None else ()
            if correlation is not None:
                origin = (each.chunk.topic, each.chunk.partition, each.chunk.offset_at(each.index))
                followed[correlation, origin] = each.error
            letters.append(self._letter(each.chunk, each.index, node, each.error, more))
            self._counters.count_dead(node, each.error.reason)
        checkpoint.outputs.setdefault((self._topic, 0), []).extend(letters)
        checkpoint.output_count += len(letters)
        progress = Progress.decode(checkpoint.progress)
        if progress.counts:
            counts = self._counters.with_dead(progress.counts, node, len(letters))
            checkpoint.progress = replace(progress, counts=counts).encode()
        if followed:
            topic = None if self._bus is None else self._bus.topic
            amend(checkpoint, topic, self._outcome_topic, node, followed)
        if self._bus is not None:
            for place, records in self._bus.told_dead(letters).items():
                checkpoint.outputs.setdefault(place, []).extend(records)

    def _letter(self, chunk: Chunk, index: int, node: str, error: EventError, more: Headers) -> Output:
        return self._letters.of_record(chunk.record(index), chunk.topic, chunk.partition, node, error, more)


class JudgedBatch:
    """A batch whose refused rows become letters."""

    def __init__(self, batch: Batch, dead: Dead, node: str) -> None:
        self._batch, self._dead, self._node = batch, dead, node
        self._refusals: Sequence[Refusal] = ()

    def prepare(self) -> None:
        """In a thread of its own."""
        self._refusals = self._batch.prepare()

    def put_aside(self, checkpoint: Checkpoint) -> None:
        """Between that and Kafka's commit, on the loop."""
        if self._refusals:
            self._dead.refused(checkpoint, self._refusals, self._node)

    def settle(self) -> None:
        """In a thread of its own."""
        self._batch.settle()
