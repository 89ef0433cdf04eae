"""Works a topology through event by event, in this process, and tells what came to each node and what it changed.

    feed(event) ──► Step, Step, … (on_step is called before the node works: it may wait for a person) ──► Told

Nothing outside is touched: state begins empty, outputs stay here, stages that write to files and databases are left
out. Async nodes reach what `outside` allows, which is nothing unless given. Memory: all that was fed and came of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import orjson

from streamflow.calls.caller import Outside
from streamflow.checkpoint.progress import END_OF_TIME, NO_TIME
from streamflow.engine.delivering import target_of
from streamflow.inference.models import Models
from streamflow.model.chunk import Record
from streamflow.plan.plan import Plan, TopicRole
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver

#: Roles of topics whose records are results.
_RESULTS = (TopicRole.SINK, TopicRole.DEAD_LETTERS)


@dataclass(frozen=True, slots=True)
class Step:
    """A row comes to a node. event: its number from 1, 0 at the end of data. watermark_ms: of the task, if it has one.

    before: the node that gave the row.
    """

    event: int
    stage: str
    node: str
    kind: str
    before: str
    row: dict[str, Any]
    watermark_ms: int | None


@dataclass(slots=True)
class Told:
    """What came of one event. outputs: records in sinks, late and dead letters, with their reasons. state: rows of
    tables that changed, with what they were. watermarks: of each stage, in ms, None when it has none. late: counts of
    rows that came too late, by node."""

    event: int
    topic: str
    value: Any
    steps: list[Step] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    state: list[dict[str, Any]] = field(default_factory=list)
    watermarks: dict[str, int | None] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)


class Debugger:
    """Of one topology, whose topics have one partition each. Raises as the Driver does."""

    def __init__(
        self,
        plan: Plan,
        on_step: Callable[[Step], None] = lambda step: None,
        *,
        outside: Outside | None = None,
        models: Models | None = None,
    ) -> None:
        here = bounded(replace(plan, stages=tuple(each for each in plan.stages if target_of(each) is None)))
        self._driver = Driver(here, watch=self._step, outside=outside, models=models)
        self._on_step = on_step
        self._kinds = {node.name: node.kind for stage in here.stages for node in stage.nodes}
        self._results = {topic.name for topic in plan.topics if topic.role in _RESULTS}
        self._tables = {table.changelog_topic: table.name for stage in here.stages for table in stage.tables}
        self._rows: dict[str, dict[Any, Any]] = {}
        self._seen: dict[str, int] = {}
        self._late = dict.fromkeys(self._kinds, 0)
        self._number = 0
        self._told = Told(0, "", None)

    def feed(self, topic: str, event: bytes, timestamp_ms: int) -> Told:
        """Publish an event, written at a time in ms, and work until nothing of it is left to do."""
        self._number += 1
        value = _value(event)
        self._told = Told(self._number, topic, value)
        self._driver.now_ms = max(self._driver.now_ms, timestamp_ms)
        self._driver.publish(topic, [value if isinstance(value, dict) else event], timestamp_ms=timestamp_ms)
        self._driver.run()
        return self._gathered()

    def load(self, topic: str, records: dict[bytes, bytes]) -> None:
        """Rows of a global table, by key, that are there before the first event."""
        for key, value in records.items():
            self._driver.put(topic, key, value)

    def end(self) -> Told:
        """No more events: every window closes, as at the end of a bounded run."""
        self._told = Told(0, "", None)
        self._driver.finish()
        return self._gathered()

    def table(self, name: str) -> dict[Any, Any]:
        """Rows of a table as of the last event."""
        return self._driver.table(name)

    def close(self) -> None:
        """End the connections of async nodes."""
        self._driver.close()

    def _step(self, stage: str, node: str, before: str, row: Any) -> None:
        watermarks = self._watermarks()
        shown = {name: value for name, value in msgspec.structs.asdict(row).items() if not name.startswith("_")}
        step = Step(self._told.event, stage, node, self._kinds[node], before, shown, watermarks.get(stage))
        self._told.steps.append(step)
        self._on_step(step)

    def _watermarks(self) -> dict[str, int | None]:
        known = {task.stage.name: task.watermark_ms for task in self._driver.tasks()}
        return {stage: None if time == NO_TIME else min(time, END_OF_TIME) for stage, time in known.items()}

    def _gathered(self) -> Told:
        told = self._told
        for topic in sorted(self._results):
            told.outputs += [_output(topic, record) for record in self._new(topic)]
        for topic, table in self._tables.items():
            if any(True for _ in self._new(topic)):
                before, after = self._rows.get(table, {}), self._driver.table(table)
                self._rows[table] = after
                for key in sorted({*before, *after}, key=repr):
                    if before.get(key) != after.get(key):
                        change = {"table": table, "key": key, "before": before.get(key), "after": after.get(key)}
                        told.state.append(change)
        told.watermarks, late = self._watermarks(), self._late_counts()
        told.late = {node: late[node] - before for node, before in self._late.items() if late[node] > before}
        self._late |= late
        return told

    def _late_counts(self) -> dict[str, int]:
        found = dict.fromkeys(self._late, 0)
        for task in self._driver.tasks():
            found |= {name: each.late for name, each in task.counters.by_node().items() if name in self._kinds}
        return found

    def _new(self, topic: str) -> Iterator[Record]:
        records = self._driver.records(topic)
        start, self._seen[topic] = self._seen.get(topic, 0), len(records)
        return iter(records[start:])


def _output(topic: str, record: Record) -> dict[str, Any]:
    key = None if record.key is None else record.key.decode(errors="replace")
    reasons = {name.removeprefix("sf-"): text.decode(errors="replace") for name, text in record.headers}
    shown = {name: text for name, text in reasons.items() if name in ("reason", "node", "error", "late-ms")}
    return {"topic": topic, "key": key, "row": _value(record.value), **shown}


def _value(data: bytes | None) -> Any:
    try:
        return None if data is None else orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode(errors="replace") if data is not None else None
