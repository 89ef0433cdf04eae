"""What a task says on the bus: gathered when a checkpoint is taken, written in its transaction.

So the log agrees with the results: an event is there exactly if what it tells of is committed. Nothing is done per
event of the data path; where events are off, there is no TaskBus.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

from streamflow.bus.alert_events import ALERTS_KEY, EVENT_SEVERITY
from streamflow.bus.detail import DataPathBus, Detail
from streamflow.bus.event import HEADERS, new_event
from streamflow.bus.event_types import EventType, Severity, checked
from streamflow.bus.masking import is_secret, masked
from streamflow.checkpoint.checkpoint import Output
from streamflow.engine.counters import TaskCounters
from streamflow.engine.outputs import Outputs
from streamflow.engine.program import Program
from streamflow.model.partitioner import partition_of
from streamflow.state.store import TableChanges

#: One window in so many is told of at Detail.SAMPLED: the same ones in every task.
SAMPLED_ONE_IN = 100


class TaskBus:
    """Adds events to a task's outputs."""

    def __init__(
        self, bus: DataPathBus, program: Program, partition: int, outputs: Outputs, counters: TaskCounters
    ) -> None:
        plan, stage = program.plan, program.stage
        self._detail, self.topic, self._outputs, self._counters = bus.detail, bus.topic, outputs, counters
        self._topology, self._dead_topic = plan.topology, plan.dead_letter_topic
        self._source = f"urn:streamflow:task:{plan.identity}/{stage.name}/{partition}"
        self._place = {"stage": stage.name, "partition": partition}
        self._late = [
            (program.numbers[node.name], node.name, getattr(node.operator, "late_topic", None)) for node in stage.nodes
        ]
        self._late_told, self._dropped_told = list(counters.late), list(counters.dropped)
        self._closed: list[tuple[str, int, int, int]] = []
        self._approvals: list[tuple[str, bool, dict[str, Any], str]] = []
        self._alerts: list[tuple[str, bool, dict[str, Any]]] = []
        self._parking: list[tuple[EventType, str, dict[str, Any], str]] = []
        self._secret_fields = bus.secret_fields
        self._views = {table.name: table.node for table in stage.tables}

    def closing(self, node: str, start: int, end: int, rows: Iterable[Any]) -> Iterable[Any]:
        """A window gives its results; the same rows, counted if this window is told of."""
        if self._detail < Detail.SAMPLED:
            return rows
        if self._detail is Detail.SAMPLED and crc32(b"%s/%d" % (node.encode(), end)) % SAMPLED_ONE_IN:
            return rows
        counted = list(rows)
        self._closed.append((node, start, end, len(counted)))
        return counted

    def approval(self, node: str, is_request: bool, data: dict[str, Any], actor: str) -> None:
        """A row waits for people from now on, or waits no more, by the word of `actor`."""
        self._approvals.append((node, is_request, data, actor))

    def parking(self, kind: EventType, node: str, data: dict[str, Any], position: str) -> None:
        """A key is parked at a node, or released."""
        self._parking.append((kind, node, data, position))

    def alert(self, node: str, is_raised: bool, field: str, data: dict[str, Any]) -> None:
        """An alert of a node is raised, or over. field: the value's; one that is secret is not told."""
        labels = masked(data["labels"], self._secret_fields)
        if field in self._secret_fields or is_secret(field):
            data = {**data, "value": None}
        named = {"alert": f"{self._topology}.{data['alert']}", "labels": labels}
        self._alerts.append((node, is_raised, {**data, **named}))

    def gather(self, tables: Sequence[TableChanges]) -> None:
        """Everything since the last checkpoint, which changed these tables."""
        for each in tables if self._detail is Detail.EVERY else ():
            node = self._views.get(each.table)
            if node is not None and each.changes:
                changed = {"view": each.table, "count": len(each.changes)}
                self._say(EventType.WIDGET_UPDATE_REQUESTED, node, changed, Severity.DEBUG, placed=False)
        for node, is_request, data, actor in self._approvals:
            kind = EventType.APPROVAL_REQUESTED if is_request else EventType.APPROVAL_DECIDED
            self._say(kind, node, data, placed=False, actor=actor)
        self._approvals.clear()
        for node, is_raised, data in self._alerts:
            kind = EventType.ALERT_RAISED if is_raised else EventType.ALERT_CLEARED
            severity = EVENT_SEVERITY[data["severity"]] if is_raised else Severity.INFO
            self._say(kind, node, data, severity, placed=False, key=ALERTS_KEY)
        self._alerts.clear()
        for kind, node, data, position in self._parking:
            self._say(kind, node, data, Severity.WARNING if kind is EventType.KEY_PARKED else Severity.INFO, position)
        self._parking.clear()
        for node, start, end, count in self._closed:
            self._say(EventType.WINDOW_CLOSED, node, {"start": start, "end": end, "rows": count}, Severity.DEBUG)
        self._closed.clear()
        self._tell_late()
        self._tell_dropped()
        letters = [each for records in self._outputs.lists(self._dead_topic) for each in records]
        if letters:
            self._tell_dead(letters)

    def told_dead(self, letters: list[Output]) -> dict[tuple[str, int], list[Output]]:
        """What is said of letters that a checkpoint gets after it was taken, by topic and partition."""
        lists = self._outputs.lists(self.topic)
        before = [len(records) for records in lists]
        self._tell_dead(letters)
        told: dict[tuple[str, int], list[Output]] = {}
        for partition, (records, length) in enumerate(zip(lists, before, strict=True)):
            if len(records) > length:
                told[self.topic, partition] = records[length:]
                del records[length:]
        return told

    def _tell_late(self) -> None:
        for node, to_topic, count in self._news(self._counters.late, self._late_told):
            self._say(EventType.LATE_DROPPED, node, {"count": count, "to_topic": to_topic})

    def _tell_dropped(self) -> None:
        for node, _, count in self._news(self._counters.dropped, self._dropped_told):
            self._say(EventType.VERSIONS_DROPPED, node, {"count": count}, Severity.WARNING)

    def _news(self, counts: list[int], told: list[int]) -> list[tuple[str, str | None, int]]:
        """(node, topic of its late rows, count) of what has come since it was told; it is told now."""
        if told == counts:
            return []
        found = [(node, to_topic, counts[number] - told[number]) for number, node, to_topic in self._late]
        told[:] = counts
        return [each for each in found if each[-1]]

    def _tell_dead(self, letters: list[Output]) -> None:
        sums: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for number, (_, _, headers) in enumerate(letters):
            known = {name: text.decode(errors="replace") for name, text in headers or ()}
            group = (known["sf-node"], known["sf-reason"])
            sums.setdefault((*group, str(number)) if self._detail is Detail.EVERY else group, []).append(known)
        for (node, reason, *_), found in sums.items():
            first = found[0]
            position = "/".join(first[name] for name in ("sf-topic", "sf-partition", "sf-offset") if name in first)
            data = {"reason": reason, "count": len(found), "topic": self._dead_topic}
            # Results of windows are no record that could have failed before.
            data |= {"error_class": first["sf-class"], "attempts": int(first.get("sf-attempts", 1))}
            self._say(EventType.DEAD_LETTER_ADDED, node, data, Severity.WARNING, position)

    def _say(
        self,
        kind: EventType,
        node: str,
        data: dict[str, Any],
        severity: Severity = Severity.INFO,
        position: str = "",
        *,
        placed: bool = True,
        key: str = "",
        actor: str = "",
    ) -> None:
        subject = f"{self._topology}/{node}"
        schema, body = checked(kind, {**self._place, **data} if placed else data)
        together = key or subject
        event = new_event(
            self._source,
            kind,
            subject,
            schema,
            body,
            severity=severity,
            partitionkey=together,
            position=position,
            actor=actor,
        )
        place, lists = together.encode(), self._outputs.lists(self.topic)
        lists[partition_of(place, len(lists))].append((place, event.encode(), HEADERS))
