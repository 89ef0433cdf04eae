"""What a task says on the bus of executions that come through it: written in its transaction, keyed by the id.

Events are made as plain JSON here, some 3 µs each; a test holds them against the models of `bus/execution_events.py`.
Ids are positions, so that what is done again after a crash is said again under the same ids.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zlib import crc32

import msgspec
import orjson

from streamflow.bus.detail import DataPathBus, Detail
from streamflow.bus.event import HEADERS, rfc3339
from streamflow.bus.event_types import EventType, Severity, schema_name
from streamflow.bus.masking import MASK, is_secret, masked
from streamflow.bus.states import State
from streamflow.engine.answers import Answers
from streamflow.engine.outputs import Outputs
from streamflow.engine.program import Program
from streamflow.engine.walk import Walk
from streamflow.model.partitioner import partition_of
from streamflow.model.wire import TIME
from streamflow.nodes.operators import Rescued
from streamflow.plan.plan import EntryKind

#: Of one execution in so many each node is told of at Detail.SAMPLED: the same ones in every task.
SAMPLED_ONE_IN = 100
#: Bounds of what a node's event shows of its rows.
ROW_MAX_BYTES, ROWS_SHOWN = 2_000, 3
#: Of a key; longer ones are cut.
KEY_MAX_CHARS = 200
_BEGUN = [State.PENDING, State.QUEUED, State.RUNNING]
_SCHEMAS = {kind: schema_name(kind) for kind in EventType}


class WalkEvents:
    """Adds events of executions to a task's outputs. source, topology, place: what all of them say."""

    def __init__(self, bus: DataPathBus, program: Program, partition: int, outputs: Outputs) -> None:
        plan, stage = program.plan, program.stage
        self._detail, self._secret = bus.detail, bus.secret_fields
        self.topology, self._version, self._dead_topic = plan.topology, plan.version, plan.dead_letter_topic
        self.source = f"urn:streamflow:task:{plan.identity}/{stage.name}/{partition}"
        self.place: dict[str, Any] = {"stage": stage.name, "partition": partition, "worker": bus.worker}
        self._lists = outputs.lists(bus.topic)
        self._onward = {topic for node in stage.nodes for topic in node.onward_topics}
        self._names, self._numbers = [node.name for node in stage.nodes], program.numbers
        self._rescues = [isinstance(node.operator, Rescued) for node in stage.nodes]
        #: Nodes that get the rows of each entry first.
        self._behind = {
            entry.node: [node.name for node in stage.nodes if entry.node in node.inputs] for entry in stage.entries
        }
        self._keys = {
            entry.node: entry.key.source
            for entry in stage.entries
            if entry.kind is EntryKind.SOURCE and entry.key is not None and entry.key.source in entry.schema.names
        }
        self._second, self._second_text = 0, ""
        #: What calls gave, by async node.
        self.answers: Mapping[str, Answers] = {}
        #: What went wrong last at each node whose failed rows go on, by number.
        self.rescued: Mapping[int, str] = {}

    def begin(self, walk: Walk) -> None:
        """Prepare for a walk whose execution has an id."""
        assert walk.correlation is not None
        if walk.is_start and walk.row is not None and walk.entry in self._keys:
            key = getattr(walk.row, self._keys[walk.entry])
            walk.key = (
                "" if key is None else MASK if self._is_secret(self._keys[walk.entry]) else str(key)[:KEY_MAX_CHARS]
            )
        is_sample = self._detail is Detail.SAMPLED and not crc32(walk.correlation) % SAMPLED_ONE_IN
        if self._detail is Detail.EVERY or is_sample:
            walk.steps = []

    def _is_secret(self, name: str) -> bool:
        return name in self._secret or is_secret(name)

    def tell(self, walk: Walk, onward: int, pieces: int) -> None:
        """A walk has ended here. onward: rows for other stages; pieces: what it leaves as, at least one."""
        told = _Told(self, walk)
        if walk.is_start:
            parameters = {"topic": walk.origin[0], "partition": walk.origin[1], "offset": walk.origin[2]}
            data = {"version": self._version, "key": walk.key, "parameters": parameters}
            told.say(EventType.EXECUTION_STARTED, "", data)
        dead = self._dead(walk)
        if walk.left is not None:
            left = walk.left
            moved = {"old": State.PAUSED, "new": State.COMPLETED, "path": [State.RUNNING, State.COMPLETED]}
            if walk.cancelled is not None:
                moved = {"old": State.PAUSED, "new": State.CANCELLED, "path": [State.CANCELLED]}
            reason = left.outcome if walk.cancelled is None else walk.cancelled
            told.say(EventType.NODE_STATE_CHANGED, walk.entry, {**moved, "reason": reason, "approval": left.approval})
        elif walk.cancelled is not None:
            moved = {"old": "", "new": State.CANCELLED, "path": [State.PENDING, State.CANCELLED]}
            for node in self._behind.get(walk.entry, ()):
                told.say(EventType.NODE_STATE_CHANGED, node, {**moved, "reason": walk.cancelled})
        if walk.steps is not None and walk.cancelled is None:
            self._tell_nodes(told, walk, dead)
        elif dead:
            for node, letter in dead.items():
                told.say(EventType.NODE_STATE_CHANGED, node, self._failed(letter, walk), Severity.WARNING)
        for approval, (node, _) in walk.parked.items():
            path = [*_BEGUN, State.PAUSED]
            waits = {"old": "", "new": State.PAUSED, "path": path, "reason": "approval", "approval": approval}
            told.say(EventType.NODE_STATE_CHANGED, node, waits)
        if pieces > 1:
            told.say(EventType.EXECUTION_FORKED, "", {"pieces": pieces})
        going = onward + len(walk.parked)
        if not going or len(walk.added) > onward:
            self._tell_end(told, walk, going > 0 or walk.is_piece, onward)

    def _dead(self, walk: Walk) -> dict[str, dict[str, str]]:
        """Headers of the first dead letter of each node."""
        found: dict[str, dict[str, str]] = {}
        for topic, _, _, headers in walk.added:
            if topic == self._dead_topic:
                known = {name: value.decode(errors="replace") for name, value in headers}
                found.setdefault(known["sf-node"], known)
        return found

    def _tell_end(self, told: "_Told", walk: Walk, is_piece: bool, onward: int) -> None:
        totals = {"rows": 0, "late": 0, "dead": 0}
        outputs: dict[str, int] = {}
        reason = ""
        for topic, _, _, headers in walk.added:
            if topic == self._dead_topic:
                totals["dead"] += 1
                reason = reason or dict(headers)["sf-reason"].decode()
            elif headers and headers[0] == ("sf-reason", b"late"):
                totals["late"] += 1
            else:
                totals["rows"] += 1
            if topic not in self._onward:
                outputs[topic] = outputs.get(topic, 0) + 1
        totals["rows"] -= onward
        status, severity = (State.FAILED, Severity.WARNING) if totals["dead"] else (State.COMPLETED, Severity.INFO)
        if walk.cancelled is not None:
            status, reason = State.CANCELLED, walk.cancelled
        data = {"status": status, "totals": totals, "outputs": outputs, "reason": reason}
        told.say(EventType.EXECUTION_COMPLETED, "", {**data, "piece": True} if is_piece else data, severity)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _tell_nodes(self, told: "_Told", walk: Walk, dead: dict[str, dict[str, str]]) -> None:
        """One event per node that got a row, in the order in which they did."""
        assert walk.steps is not None
        ended = time.perf_counter_ns()
        nodes: dict[str, _Node] = {}
        if walk.left is None:
            nodes[walk.entry] = _Node(told.began(walk.start_ns), [walk.row] if walk.row is not None else [])
        first = walk.steps[0][3] if walk.steps else ended
        # What is no row, or too far off in time, has come to no node.
        for (number, before, row, at), follower in zip(walk.steps, [*walk.steps[1:], None], strict=False):
            node = nodes.setdefault(self._names[number], _Node(told.began(walk.start_ns + at - first), []))
            node.rows_in.append(row)
            node.took_ns += (ended if follower is None else follower[3]) - at
            if before in nodes:
                nodes[before].rows_out[id(row)] = row
        rescued = {before: self._numbers[before] for number, before, _, _ in walk.steps if self._rescues[number]}
        waiting = {node for node, _ in walk.parked.values()}
        for name in dead:
            nodes.setdefault(name, _Node(told.began(walk.start_ns), []))
        for name, node in nodes.items():
            if name in waiting and name not in dead:
                continue  # it is told of as PAUSED
            end = (
                self._failed(dead[name], walk) if name in dead else {"old": "", "new": State.COMPLETED, "path": _PASSED}
            )
            shown = {
                "started": node.started,
                "took_us": node.took_ns // 1_000,
                "rows_in": max(1, len(node.rows_in)),
                "rows_out": len(node.rows_out),
                "input": self._shown(node.rows_in[0]) if node.rows_in else None,
                "outputs": [self._shown(row) for row in islice(node.rows_out.values(), ROWS_SHOWN)],
            }
            if name in self.answers and name not in dead:
                shown |= self.answers[name].told()
            if name in rescued:
                error = self._without_secrets(self.rescued.get(rescued[name], ""), walk)
                shown |= {"recovered": "fallback_node", "error": error}
            severity = Severity.WARNING if name in dead else Severity.DEBUG
            told.say(EventType.NODE_STATE_CHANGED, name, {**end, **shown}, severity)

    def _failed(self, letter: dict[str, str], walk: Walk) -> dict[str, Any]:
        calls = letter.get("sf-calls", "")
        return {
            "old": "",
            "new": State.FAILED,
            "path": [*_BEGUN, State.FAILED],
            "reason": letter["sf-reason"],
            "error": self._without_secrets(letter.get("sf-error", ""), walk),
            "attempt": max(1, int(calls)) if calls.isdigit() else 1,
        }

    def _without_secrets(self, error: str, walk: Walk) -> str:
        """What failed, without values of secret fields: functions and servers repeat what they were given."""
        for row in (walk.row, *(row for _, _, row, _ in walk.steps or ())):
            for name in getattr(row, "__struct_fields__", ()):
                value = getattr(row, name) if self._is_secret(name) else None
                if value is not None and value != "":
                    error = error.replace(str(value), MASK)
        return error

    def _shown(self, row: Any) -> Any:
        """A row as JSON types, masked; its beginning as text when it is large."""
        fields = {name: getattr(row, name) for name in row.__struct_fields__ if name != TIME}
        text = msgspec.json.encode(masked(fields, self._secret), enc_hook=repr)
        whole = len(text) <= ROW_MAX_BYTES
        return orjson.Fragment(text) if whole else {"cut": text[:ROW_MAX_BYTES].decode(errors="replace")}

    # -- encoding -----------------------------------------------------------------------------------------------------

    def said(self, event: dict[str, Any], execution: bytes) -> None:
        """Add an event to the outputs."""
        lists = self._lists
        records = lists[0] if len(lists) == 1 else lists[partition_of(execution, len(lists))]
        records.append((execution, orjson.dumps(event), HEADERS))

    def text_of(self, time_ns: int) -> str:
        """Time in ns as RFC 3339 text with milliseconds."""
        second, rest = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second, self._second_text = second, rfc3339(datetime.fromtimestamp(second, UTC))[:-4]
        return f"{self._second_text}{rest // 1_000_000:03}Z"


_PASSED = [*_BEGUN, State.COMPLETED]


class _Node:
    """A node in one walk."""

    __slots__ = ("rows_in", "rows_out", "started", "took_ns")

    def __init__(self, started: str, rows_in: list[Any]) -> None:
        self.started, self.rows_in, self.took_ns = started, rows_in, 0
        #: By identity, as several nodes behind it get the same row.
        self.rows_out: dict[int, Any] = {}


class _Told:
    """The events of one walk, numbered."""

    __slots__ = ("_events", "_execution", "_key", "_number", "_origin", "_position", "_time")

    def __init__(self, events: WalkEvents, walk: Walk) -> None:
        assert walk.correlation is not None
        self._events, self._key = events, walk.correlation
        self._execution = walk.correlation.decode(errors="replace")
        topic, partition, offset = walk.origin
        self._origin = topic if walk.left is not None else f"{topic}/{partition}/{offset}"
        self._position = "" if walk.left is not None else self._origin
        self._time, self._number = events.text_of(time.time_ns()), 0

    def began(self, time_ns: int) -> str:
        """A time as text."""
        return self._events.text_of(time_ns)

    def say(self, kind: EventType, node: str, data: dict[str, Any], severity: Severity = Severity.INFO) -> None:
        """One event, of a node or of the execution."""
        events = self._events
        self._number += 1
        event = {
            "specversion": "1.0",
            "id": f"{self._origin}/{self._number}",
            "source": events.source,
            "type": kind,
            "subject": f"{events.topology}/{node}" if node else events.topology,
            "time": self._time,
            "datacontenttype": "application/json",
            "dataschema": _SCHEMAS[kind],
            "severity": severity,
            "correlationid": self._execution,
            "partitionkey": self._execution,
            "data": {"execution": self._execution, **events.place, **data},
        }
        if self._position:
            event["position"] = self._position
        events.said(event, self._key)
