"""The table of executions: what the log says about each event that has an id, as a fold over its events.

Like the status table it has no store of its own. All events of one execution are in one partition, in order. What is
kept is bounded: ended executions leave first, the oldest ended first; then the ones that run, the oldest first.

    {"id", "topology", "key", "state", "attempt", "version", "started", "ended", "reason", "pieces", "waiting",
     "totals", "outputs", "nodes": [{"node", "state", "moves": [[state, time], …], …}], "left_out", "refused"}

pieces: parts that go on; waiting: those that wait at approvals. When all that go on wait, it is PAUSED. An id that
comes again joins what runs, and begins the next attempt of what has ended. An execution whose beginning is not known,
as the log keeps it no more or the table had no room, is not in it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from streamflow.bus.event_types import EventType
from streamflow.bus.states import State, moved, way
from streamflow.errors import IllegalMove

#: Executions, and bytes of their rows as JSON, that are kept: some 120 MiB of memory at most.
EXECUTIONS_MAX, BYTES_MAX = 20_000, 24 << 20
#: Entries of nodes in one execution; further ones are counted as `left_out`.
NODES_MAX = 200
#: Types of events that it is made of.
EXECUTION_TYPES: frozenset[str] = frozenset(
    {
        EventType.EXECUTION_STARTED,
        EventType.EXECUTION_FORKED,
        EventType.EXECUTION_COMPLETED,
        EventType.NODE_STATE_CHANGED,
    }
)
_SHOWN = (
    "attempt",
    "recovered",
    "from_cache",
    "reason",
    "error",
    "approval",
    "started",
    "took_us",
    "rows_in",
    "rows_out",
    "input",
    "outputs",
)
_PLACE = ("stage", "partition", "worker")
#: Bytes of a row beside its nodes, and of what is remembered of an event, about.
_ROW_BYTES, _EVENT_BYTES = 600, 100


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Executions that match all that is given. since, until: RFC 3339 texts in UTC, of their beginning."""

    topology: str = ""
    state: State | None = None
    key: str | None = None
    since: str = ""
    until: str = ""

    def matches(self, row: dict[str, Any]) -> bool:
        """Whether a row matches."""
        return (
            (not self.topology or row["topology"] == self.topology)
            and (self.state is None or row["state"] == self.state)
            and (self.key is None or row["key"] == self.key)
            and row["started"] >= self.since
            and (not self.until or row["started"] < self.until)
        )


class ExecutionTable:
    """Rows by id."""

    def __init__(self, executions_max: int = EXECUTIONS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._running: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._ended: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._max, self._bytes_max = executions_max, bytes_max
        #: Ids of events by execution that runs, so that what is said twice counts once.
        self._seen: dict[str, set[str]] = {}
        self._sizes: dict[str, int] = {}
        self._size_bytes = self._left_out = self._unknown = 0

    def add(self, event: dict[str, Any]) -> None:
        """Fold an event, as `plain_event` gives it, in."""
        if event.get("type") not in EXECUTION_TYPES:
            return
        try:
            data, execution = event["data"], str(event["data"].get("execution", ""))
            if execution:
                self._fold(execution, event, data)
        except (KeyError, TypeError, ValueError, AttributeError):  # somebody else's
            self._unknown += 1

    def _fold(self, execution: str, event: dict[str, Any], data: dict[str, Any]) -> None:
        kind, time = event["type"], str(event["time"])
        known = self._running.get(execution) or self._ended.get(execution)
        if known is not None and event["id"] in self._seen[execution]:
            return
        starts = kind == EventType.EXECUTION_STARTED
        if known is None and not starts:
            self._unknown += 1
            return
        if known is None:
            row = self._begin(execution, event, 1)
        elif execution in self._running:
            row = known
            row["pieces"] += starts
        elif starts:
            row = self._begin(execution, event, known["attempt"] + 1)
        else:
            known["refused"] += 1  # it has ended: nothing may follow
            return
        self._seen[execution].add(event["id"])
        self._grow(execution, _EVENT_BYTES)
        if starts:
            row |= {"version": data["version"], "key": str(data["key"])}
            self._move(row, State.RUNNING)
        elif kind == EventType.NODE_STATE_CHANGED:
            self._node(row, event, data, time)
        elif kind == EventType.EXECUTION_FORKED:
            row["pieces"] += int(data["pieces"]) - 1
        else:
            self._piece_ended(row, data, time)
        self._settle(row)
        self._bound()

    def _begin(self, execution: str, event: dict[str, Any], attempt: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": execution,
            "topology": str(event["subject"]).partition("/")[0],
            "key": "",
            "state": State.PENDING,
            "attempt": attempt,
            "version": 0,
            "started": str(event["time"]),
            "ended": "",
            "reason": "",
            "pieces": 1,
            "waiting": 0,
            "failed": 0,
            "cancelled": 0,
            "totals": {},
            "outputs": {},
            "nodes": [],
            "left_out": 0,
            "refused": 0,
        }
        self._forget(execution)
        self._move(row, State.RUNNING)
        self._running[execution], self._seen[execution] = row, set()
        self._grow(execution, _ROW_BYTES)
        return row

    def _node(self, row: dict[str, Any], event: dict[str, Any], data: dict[str, Any], time: str) -> None:
        node, path = event["subject"].partition("/")[2], data.get("path") or [data["new"]]
        shown = {name: data[name] for name in _SHOWN if data.get(name)} | {n: data[n] for n in _PLACE if n in data}
        entry = next((each for each in row["nodes"] if each["node"] == node and _same(each, data)), None)
        row["waiting"] += (data["new"] == State.PAUSED) - (data["old"] == State.PAUSED)
        if entry is None:
            if len(row["nodes"]) >= NODES_MAX:
                row["left_out"] += 1
                return
            entry = {"node": node, "moves": []}
            row["nodes"].append(entry)
            path = ([] if data["old"] == "" else [data["old"]]) + path
        for state in path:
            if entry["moves"]:
                try:
                    moved(node, State(entry["moves"][-1][0]), State(state))
                except IllegalMove:
                    row["refused"] += 1
                    return
            entry["moves"].append([state, time])
        entry |= {**shown, "state": path[-1]}
        self._grow(row["id"], len(orjson.dumps(shown)))

    def _piece_ended(self, row: dict[str, Any], data: dict[str, Any], time: str) -> None:
        row["pieces"] -= 1
        row["failed"] += data["status"] == State.FAILED
        row["cancelled"] += data["status"] == State.CANCELLED
        row["reason"] = row["reason"] or str(data.get("reason", ""))
        for name in ("totals", "outputs"):
            for what, count in data.get(name, {}).items():
                row[name][what] = row[name].get(what, 0) + count
        if row["pieces"] <= 0:
            row["ended"] = time

    def _settle(self, row: dict[str, Any]) -> None:
        """What the execution is, after an event."""
        if row["ended"]:
            whole = State.CANCELLED if row["cancelled"] else State.COMPLETED
            self._move(row, State.FAILED if row["failed"] else whole)
            self._ended[row["id"]] = self._running.pop(row["id"])
        else:
            self._move(row, State.PAUSED if row["waiting"] >= row["pieces"] else State.RUNNING)

    @staticmethod
    def _move(row: dict[str, Any], after: State) -> None:
        if row["state"] is after:
            return
        row["state"] = way(row["id"], row["state"], after)[-1]

    def _grow(self, execution: str, size: int) -> None:
        self._sizes[execution] = self._sizes.get(execution, 0) + size
        self._size_bytes += size

    def _forget(self, execution: str) -> None:
        self._running.pop(execution, None)
        self._ended.pop(execution, None)
        self._seen.pop(execution, None)
        self._size_bytes -= self._sizes.pop(execution, 0)

    def _bound(self) -> None:
        while len(self._sizes) > self._max or self._size_bytes > self._bytes_max:
            self._forget(next(iter(self._ended or self._running)))
            self._left_out += 1

    # -- looked at ----------------------------------------------------------------------------------------------------

    def row(self, execution: str) -> dict[str, Any] | None:
        """One execution, whole; None when it is not known."""
        return self._running.get(execution) or self._ended.get(execution)

    def newest(self, wanted: ExecutionFilter) -> Iterator[dict[str, Any]]:
        """Those that match, the latest begun first; not to be changed."""
        found = [row for rows in (self._running, self._ended) for row in rows.values() if wanted.matches(row)]
        return iter(sorted(found, key=lambda row: (row["started"], row["id"]), reverse=True))

    @property
    def left_out(self) -> int:
        """Executions that are kept no more."""
        return self._left_out

    def encode(self) -> bytes:
        """The table as JSON, the same bytes for the same events."""
        rows = dict(self._running) | self._ended
        told = {"rows": rows, "left_out": self._left_out, "unknown": self._unknown}
        return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def _same(entry: dict[str, Any], data: dict[str, Any]) -> bool:
    """Whether an event goes on with an entry: of the same approval, or of what has not ended."""
    if data.get("approval") or entry.get("approval"):
        return bool(entry.get("approval") == data.get("approval"))
    return False
