"""What a checkpoint says of executions whose rows a database refused after it was taken, before anybody reads it.

A row that was handed over counts as done: EXECUTION_COMPLETED, and a part of the outcome without faults. Both are
still in the checkpoint, as is the letter, so all three are of one transaction.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from streamflow.bus.event_types import EventType, Severity, schema_name
from streamflow.bus.states import State
from streamflow.checkpoint.checkpoint import Checkpoint, Output
from streamflow.errors import EventError
from streamflow.model.outcome import refused_part

Origin = tuple[str, int, int]
Faults = Mapping[tuple[bytes, Origin], EventError]


def amend(checkpoint: Checkpoint, topic: str | None, outcome_topic: str, node: str, faults: Faults) -> None:
    """Tell of faults by (id of the execution, position of the row). topic: of the bus, None where it is off."""
    for (place, _), records in checkpoint.outputs.items():
        if place == outcome_topic:
            records[:] = [_outcome(each, node, faults) for each in records]
        elif place == topic:
            records[:] = [told for each in records for told in _events(each, node, faults)]


def _outcome(record: Output, node: str, faults: Faults) -> Output:
    key, value, headers = record
    if key is None or value is None or not any(key == execution for execution, _ in faults):
        return record
    error = faults.get((key, tuple(orjson.loads(value)["from"])))
    return record if error is None else (key, refused_part(value, node, error.reason, str(error)), headers)


def _events(record: Output, node: str, faults: Faults) -> list[Output]:
    """The record, or what is said instead: the node has failed, and so has the execution."""
    key, value, headers = record
    if key is None or value is None or not any(key == execution for execution, _ in faults):
        return [record]
    event = orjson.loads(value)
    at = event.get("position")
    found = [error for (execution, origin), error in faults.items() if execution == key and _position(origin) == at]
    if not found:
        return [record]
    data, reason = event["data"], found[0].reason
    if event["type"] == EventType.NODE_STATE_CHANGED and event["subject"].endswith(f"/{node}"):
        return []  # it said that the node did its work
    if event["type"] != EventType.EXECUTION_COMPLETED:
        return [record]
    path = [State.PENDING, State.QUEUED, State.RUNNING, State.FAILED]
    place: dict[str, Any] = {name: data[name] for name in ("execution", "stage", "partition", "worker")}
    # Without the database's words: they repeat values, which the letter may show, and the log may not.
    failed = {**place, "old": "", "new": State.FAILED, "path": path, "reason": reason}
    kind = EventType.NODE_STATE_CHANGED
    more = {"type": kind, "subject": f"{event['subject']}/{node}", "dataschema": schema_name(kind), "data": failed}
    moved = {**event, "id": f"{event['id']}/refused", "severity": Severity.WARNING, **more}
    totals = {**data["totals"], "dead": data["totals"]["dead"] + 1}
    ended = {**data, "status": State.FAILED, "totals": totals, "reason": data["reason"] or reason}
    said = [moved, {**event, "severity": Severity.WARNING, "data": ended}]
    return [(key, orjson.dumps(each), headers) for each in said]


def _position(at: Origin) -> str:
    return "/".join(map(str, at))
