"""The topology test driver: runs a plan in this process, without Kafka, on the engine that production uses.

    driver = Driver(make_plan(load_topology("topologies/flights")), partitions=2)
    driver.publish("flights.departures", [{"time": 0, "carrier": "UA", …}])
    driver.run()
    driver.output("flights.hourly_delays")        # [{"carrier": "UA", "start": …}]
    driver.table("hourly_delays")                 # {("UA", 0): {"departures": 1, …}}

The same input must give the same results in every shape: any `chunk_size`, fused or not, any number of partitions, and
with `crash()` at any point between checkpoints. The clock is moved by hand.
"""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from streamflow.bus.cancellations import Cancellation, Cancellations
from streamflow.bus.detail import DataPathBus, Detail
from streamflow.calls.caller import Outside
from streamflow.checkpoint.checkpoint import Checkpoint
from streamflow.checkpoint.progress import Progress
from streamflow.engine.async_entry import AsyncEntry
from streamflow.engine.async_nodes import AsyncNodes
from streamflow.engine.delivering import Resources
from streamflow.engine.levels import PIECE, Levels
from streamflow.engine.program import compile_stage
from streamflow.engine.table_readers import reader_of
from streamflow.engine.task import Task
from streamflow.inference.models import Models
from streamflow.model.approval import partition_of_id
from streamflow.model.chunk import Record
from streamflow.model.letter import Decision, Letter, LetterState
from streamflow.model.outcome import CORRELATION, Outcome
from streamflow.model.partitioner import partition_of
from streamflow.model.redrive import event_again, release
from streamflow.model.trace_context import TRACEPARENT, Span, TraceContext
from streamflow.nodes.operators import Count
from streamflow.plan.plan import EntryKind, Plan, Stage
from streamflow.query.request import TableQuery
from streamflow.state.keys import key_bytes
from streamflow.state.memory import MemoryStore
from streamflow.state.store import StoreMeta, TableChanges
from streamflow.testing.global_tables import DriverTables
from streamflow.testing.log import MemoryLog
from streamflow.testing.payloads import MemoryPayloads
from streamflow.testing.watched import Watch, watched

#: Name of the bus in a driver.
EVENTS = "events"


class CrashPoint(StrEnum):
    """Where a task may die around a checkpoint."""

    BEFORE_COMMIT = "before_commit"  # the transaction is lost, everything of it happens again
    BEFORE_STORE = "before_store"  # committed, the store is one checkpoint behind: replayed from the changelog


class Driver:
    """Runs every task of a plan in one thread.

    partitions: of every topic. chunk_size: records per chunk; checkpoint_every: chunks per checkpoint of a task.
    overlap: a checkpoint reaches the store only after one more chunk, as in production, where work goes on meanwhile.
    call_steps: how often async nodes hand over answers before a checkpoint may come while others are under way; all are
    waited for when left out.
    outside: what async nodes may reach and know; nothing but payloads in memory unless given. Their calls are real;
    `close` ends them.
    now_ms: the wall clock; raise it to let sources become idle. events: what goes to the topic EVENTS, where
    secret_fields are masked. models: what model nodes load theirs with. files_dir: folder of file sinks. watch: told of
    every row at every node, while the task waits.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        partitions: int = 1,
        chunk_size: int = 1_000,
        checkpoint_every: int = 1,
        fused: bool = True,
        overlap: bool = False,
        call_steps: int | None = None,
        outside: Outside | None = None,
        models: Models | None = None,
        files_dir: Path | None = None,
        events: Detail = Detail.OFF,
        secret_fields: frozenset[str] = frozenset(),
        watch: Watch | None = None,
    ) -> None:
        self.plan = plan
        self.now_ms = 1_000_000
        self._chunk_size = chunk_size
        self._checkpoint_every = checkpoint_every
        self._overlap, self._call_steps = overlap, call_steps
        #: Executions that were cancelled.
        self.cancelled = Cancellations()
        self._resources = Resources(models, files_dir, self.cancelled)
        self._flights: dict[tuple[str, int], tuple[Checkpoint, StoreMeta]] = {}
        programs = {stage.name: compile_stage(stage, plan, fused=fused) for stage in plan.stages}
        self._programs = programs if watch is None else {name: watched(programs[name], watch) for name in programs}
        self._bus = None if events is Detail.OFF else DataPathBus(EVENTS, events, "", secret_fields)
        topics = {topic.name for topic in plan.topics} | {plan.dead_letter_topic, EVENTS}
        self.log = MemoryLog(dict.fromkeys(sorted(topics), partitions))
        self._partitions = partitions
        self._global = DriverTables(plan, self.log)
        self._stores: dict[tuple[str, int], MemoryStore] = {}
        self._tasks: dict[tuple[str, int], Task] = {}
        self.calls = AsyncNodes(plan, outside or Outside(payloads=MemoryPayloads()))
        self._runner: asyncio.Runner | None = None
        self._entries: dict[tuple[str, int], Mapping[str, AsyncEntry]] = {}
        self._levels: dict[tuple[str, int], Levels] = {}
        self._chunks_since: dict[tuple[str, int], int] = {}
        self._ends: dict[tuple[str, int], int] | None = None
        self.crash_at: dict[int, CrashPoint] = {}
        self._commits = 0
        #: Spans of what was committed.
        self.spans: list[Span] = []

    # -- input --------------------------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        events: Iterable[dict[str, Any] | bytes],
        key: str | None = None,
        timestamp_ms: int | None = None,
        correlation: str | None = None,
        trace: TraceContext | None = None,
    ) -> None:
        """Append events to a topic, each to the partition of its key (field `key`, or the source's key), else to 0.

        correlation: id that follows the event, as `execute` gives one; `outcome` tells what became of it.
        trace: context that follows the event; `spans` has what became of it.
        """
        headers: tuple[tuple[str, bytes], ...] = ()
        if correlation is not None:
            headers += ((CORRELATION, correlation.encode()),)
        if trace is not None:
            headers += ((TRACEPARENT, trace.header),)
        field = key or self._key_field(topic)
        for event in events:
            data = event if isinstance(event, bytes) else orjson.dumps(event)
            value = event.get(field) if field is not None and isinstance(event, dict) else None
            record_key = None if value is None else key_bytes(value)
            partition = 0 if record_key is None else partition_of(record_key, self._partitions)
            self.log.partitions[topic, partition].append(record_key, data, timestamp_ms or self.now_ms, headers)

    def delete(self, topic: str, key: str | int) -> None:
        """Append a record without a value, which deletes the row of a global table."""
        self.put(topic, key_bytes(key), None)

    def put(self, topic: str, key: bytes, value: bytes | None) -> None:
        """Append a record as it is, to the partition of its key."""
        self.log.partitions[topic, partition_of(key, self._partitions)].append(key, value, self.now_ms)

    def decide(self, node: str, approval: str, decision: str, actor: str, **more: str) -> None:
        """Say something about a row that an approval has parked; more: `comment`, `to`."""
        entries = [entry for stage in self.plan.stages for entry in stage.entries]
        topic = next(entry.topic for entry in entries if entry.decides == node)
        body = {"at": self.now_ms, "id": approval, "decision": decision, "actor": actor, **more}
        partition = partition_of_id(approval) or 0
        self.log.partitions[topic, partition].append(None, orjson.dumps(body), self.now_ms)

    def cancel(self, execution: str, reason: str) -> None:
        """Cancel an execution; approvals hear of it at the next `idle`."""
        for key, value in self.cancelled.records(execution.encode(), Cancellation("", reason, self.now_ms)):
            self.cancelled.apply(key, value)

    def redrive(self, letter: Record, value: dict[str, Any] | None = None) -> None:
        """Send a dead letter's event again, as `dlq redrive` does; value: as edited."""
        edited = None if value is None else Decision(LetterState.EDITED, 0, 0, value=orjson.dumps(value))
        known = Letter(letter, edited)
        assert known.source is not None
        key, data, headers, _ = event_again(known, f"again-{known.source[:2]}-{letter.offset}", self.now_ms)
        self.log.partitions[known.source[:2]].append(key, data, self.now_ms, tuple(headers))

    def discard(self, letter: Record) -> None:
        """Let go what waits behind a dead letter, as `dlq discard` does."""
        known = Letter(letter)
        released = release(known, self.now_ms)
        if released is not None and known.source is not None:
            entries = [entry for stage in self.plan.stages for entry in stage.entries]
            topic = next(entry.topic for entry in entries if entry.releases == released[0])
            self.log.partitions[topic, known.source[1]].append(None, released[1], self.now_ms)

    def _key_field(self, topic: str) -> str | None:
        for table in self.plan.global_tables:
            if table.topic == topic:
                return table.key_name
        for stage in self.plan.stages:
            for entry in stage.entries:
                if entry.topic == topic and entry.key is not None and entry.key.source in entry.schema.names:
                    return entry.key.source
        return None

    # -- work ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until nothing is left to read and nothing to commit."""
        while self._pass():
            pass

    def idle(self, by_ms: int = 3_600_000) -> None:
        """Move the clock, let every source become idle, and work on."""
        self.now_ms += by_ms
        self._global.catch_up()
        for stage in self.plan.stages:
            for partition in range(self._partitions):
                self._task(stage, partition).tick(self.now_ms)
        self.run()

    def finish(self) -> None:
        """Run to the end of what is published now, close every window, and end (`--bounded`).

        For plans made by `plan.runs.bounded`. What is published later is not read.
        """
        if self._ends is None:
            entries = [entry for stage in self.plan.stages for entry in stage.entries]
            self._ends = {
                (entry.topic, partition): self.log.partitions[entry.topic, partition].next_offset
                for entry in entries
                if entry.kind is EntryKind.SOURCE
                for partition in range(self._partitions)
            }
            for task in self._tasks.values():
                task.end_at(self._ends)
        self.run()

    def crash(self) -> None:
        """Every task dies here: what was not committed is gone."""
        self._tasks.clear()
        self._chunks_since.clear()
        self._flights.clear()
        self._global.read_again()

    def _pass(self) -> bool:
        moved = False
        self._global.catch_up()
        for stage in self.plan.stages:
            for partition in range(self._partitions):
                moved |= self._step(stage, partition)
        return moved

    def _step(self, stage: Stage, partition: int) -> bool:
        task, place = self._task(stage, partition), (stage.name, partition)
        moved = task.is_closing
        if moved:
            self._land(place, task)
            task.go_on()
        for number, entry in enumerate(() if task.is_closing else stage.entries):
            if self._levels[place].holds(entry.topic):
                continue
            position = task.positions[entry.topic, partition]
            marks = entry.kind is EntryKind.REPARTITION
            chunk = self.log.chunk(entry.topic, partition, position, self._chunk_size, marks, self.now_ms)
            if chunk is not None and not task.is_read((entry.topic, partition)) and not task.is_closing:
                if self._orders(place, entry.topic):
                    self._levels[place].offer(chunk)
                    continue
                waiting = self._entries[place].get(entry.topic)
                if waiting is not None:
                    waiting.offer(chunk)
                    self._await(waiting.settle(self._call_steps))
                else:
                    task.process(number, chunk, 0, task.room(chunk))
                moved = True
        moved |= self._work_by_level(task, self._levels[place])
        self._land(place, task)
        self._chunks_since[place] = self._chunks_since.get(place, 0) + moved
        is_due = not moved or task.is_closing or self._chunks_since[place] >= self._checkpoint_every
        if is_due and task.has_changes:
            self._chunks_since[place] = 0
            self._checkpoint(stage, partition, task)
            return True
        return moved

    def _orders(self, place: tuple[str, int], topic: str) -> bool:
        return topic in self._levels[place] and topic not in self._entries[place]

    def _work_by_level(self, task: Task, levels: Levels) -> bool:
        """Process what is next by level; whether there was anything."""
        found = None if task.is_closing else levels.first()
        if found is None:
            return False
        number, chunk, start = found
        count = max(start, task.room(chunk))
        stop = task.process(number, chunk, start, min(start + PIECE, count))
        levels.done(chunk, stop, whole=stop >= count)
        return True

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        if self._runner is None:
            self._runner = asyncio.Runner()
            self._runner.run(self.calls.open())
        self._runner.run(work)

    def close(self) -> None:
        """End the connections of async nodes. Nothing to do without them."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            runner.run(self.calls.close())
            runner.close()

    def _checkpoint(self, stage: Stage, partition: int, task: Task) -> None:
        checkpoint = task.take_checkpoint(self.now_ms)
        if checkpoint is None:
            return
        self._commits += 1
        point = self.crash_at.get(self._commits)
        if checkpoint.batch is not None:
            checkpoint.batch.prepare()
            checkpoint.batch.put_aside(checkpoint)
        if point is CrashPoint.BEFORE_COMMIT:
            self.crash()
            return
        changelogs = {table.name: (table.changelog_topic, partition) for table in stage.tables}
        offsets = self.log.commit(checkpoint, changelogs, self.now_ms)
        self.spans += checkpoint.spans
        if point is CrashPoint.BEFORE_STORE:
            self.crash()
            return
        if checkpoint.batch is not None:
            checkpoint.batch.settle()
        inputs = {f"{topic}/{part}": offset for (topic, part), offset in checkpoint.positions.items()}
        meta = StoreMeta(changelog=offsets, inputs=inputs, progress=checkpoint.progress)
        self._flights[stage.name, partition] = checkpoint, meta
        if not self._overlap:
            self._land((stage.name, partition), task)

    def _land(self, place: tuple[str, int], task: Task) -> None:
        """A checkpoint in flight reaches the store."""
        if place in self._flights:
            checkpoint, meta = self._flights.pop(place)
            self._stores[place].write(checkpoint.tables, meta)
            task.committed(checkpoint.sequence)

    def _task(self, stage: Stage, partition: int) -> Task:
        place = (stage.name, partition)
        if place not in self._tasks:
            self._tasks[place] = self._open(stage, partition)
        return self._tasks[place]

    def _open(self, stage: Stage, partition: int) -> Task:
        store = self._stores.setdefault((stage.name, partition), MemoryStore())
        self._replay(stage, partition, store)
        inputs = [(topic, partition) for topic in stage.input_topics]
        committed = {place: self.log.committed.get(place, (0, "")) for place in inputs}
        task = Task(
            self._programs[stage.name],
            partition,
            store=store,
            partition_counts=self.log.partition_counts,
            progress=Progress.decode(committed[inputs[0]][1]),
            now_ms=self.now_ms,
            positions={place: offset for place, (offset, _) in committed.items()},
            tables=self._global.tables,
            resources=self._resources,
            bus=self._bus,
        )
        if self._ends is not None:
            task.end_at(self._ends)
        self._entries[stage.name, partition] = self.calls.entries(stage, task)
        self._levels[stage.name, partition] = Levels(stage, lambda topic: task.positions.get((topic, partition), 0))
        return task

    def _replay(self, stage: Stage, partition: int, store: MemoryStore) -> None:
        """Bring the store up to the changelog, as recovery does."""
        meta = store.read_meta() or StoreMeta()
        changelog = dict(meta.changelog)
        for table in stage.tables:
            log = self.log.partitions[table.changelog_topic, partition]
            start = changelog.get(table.name, 0)
            changes = [(r.key or b"", r.value) for r in log.records if r.offset >= start]
            changelog[table.name] = log.next_offset
            store.write([TableChanges(table.name, changes)], StoreMeta(changelog=changelog))

    def tasks(self) -> list[Task]:
        """Tasks that are open, for their counters and watermarks."""
        return list(self._tasks.values())

    # -- results ------------------------------------------------------------------------------------------------------

    def records(self, topic: str) -> list[Record]:
        """Every record of a topic, partition by partition."""
        return [record for (name, _), log in self.log.partitions.items() if name == topic for record in log.records]

    def output(self, topic: str) -> list[dict[str, Any]]:
        """Every event of a topic as a dictionary, partition by partition."""
        return [orjson.loads(record.value) for record in self.records(topic) if record.value is not None]

    def dead_letters(self) -> list[dict[str, str]]:
        """Headers of every dead letter."""
        return [{name: value.decode() for name, value in r.headers} for r in self.records(self.plan.dead_letter_topic)]

    def outcome(self, correlation: str) -> Outcome:
        """What became of the event published with that correlation."""
        outcome = Outcome()
        for record in self.records(self.plan.outcome_topic):
            if record.key == correlation.encode() and record.value is not None:
                outcome.add(orjson.loads(record.value), len(record.value))
        return outcome

    def table(self, name: str) -> dict[Any, Any]:
        """A table as queries show it: {(key, start): results} of a windowed one, {key: results} of others.

        The table of an `echo` gives {key: count}, that of a `process` its states by name.
        """
        if name in self._global.tables:
            self._global.catch_up()
            return self._global.tables[name].values()
        found = self.plan.table(name)
        if found is None:
            raise KeyError(name)
        stage, table = found
        operator = stage.keeper(table)
        rows: dict[Any, Any] = {}
        for partition in range(self._partitions):
            store = self._stores.get((stage.name, partition), MemoryStore())
            page = reader_of(table, operator).read(store, 0, TableQuery(limit=sys.maxsize))
            for row in (each.row for each in page.rows):
                value = row["value"][operator.field] if isinstance(operator, Count) else row["value"]
                rows[(row["key"], row["start"]) if "start" in row else row["key"]] = value
        return rows
