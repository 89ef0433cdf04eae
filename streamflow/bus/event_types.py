"""What can be said on the bus: one type per thing that happens, each with a versioned model of its data.

A data model grows by optional fields only; whoever needs another change raises `version`, which is part of the event's
`dataschema`. Data never carries payloads: positions say where they are.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from streamflow.errors import InternalError


class EventType(StrEnum):
    """Every type of event, in the order of `execution_events.py` and `service_events.py`."""

    NODE_STATE_CHANGED = "NODE_STATE_CHANGED"
    DATA_AVAILABLE = "DATA_AVAILABLE"
    EXECUTION_STARTED = "EXECUTION_STARTED"
    EXECUTION_FORKED = "EXECUTION_FORKED"
    EXECUTION_COMPLETED = "EXECUTION_COMPLETED"
    EXECUTION_CANCELLED = "EXECUTION_CANCELLED"
    ERROR_OCCURRED = "ERROR_OCCURRED"
    WIDGET_UPDATE_REQUESTED = "WIDGET_UPDATE_REQUESTED"

    WORKER_STARTED = "WORKER_STARTED"
    WORKER_STOPPED = "WORKER_STOPPED"
    TOPOLOGY_DEPLOYED = "TOPOLOGY_DEPLOYED"
    TOPOLOGY_STATE_CHANGED = "TOPOLOGY_STATE_CHANGED"
    PARTITION_ASSIGNED = "PARTITION_ASSIGNED"
    PARTITION_REVOKED = "PARTITION_REVOKED"
    RESTORED = "RESTORED"
    CHECKPOINT_FAILED = "CHECKPOINT_FAILED"
    WINDOW_CLOSED = "WINDOW_CLOSED"
    LATE_DROPPED = "LATE_DROPPED"
    VERSIONS_DROPPED = "VERSIONS_DROPPED"
    DEAD_LETTER_ADDED = "DEAD_LETTER_ADDED"
    DEAD_LETTER_EDITED = "DEAD_LETTER_EDITED"
    DEAD_LETTER_REDRIVEN = "DEAD_LETTER_REDRIVEN"
    DEAD_LETTER_DISCARDED = "DEAD_LETTER_DISCARDED"
    KEY_PARKED = "KEY_PARKED"
    KEY_RELEASED = "KEY_RELEASED"
    ALERT_RAISED = "ALERT_RAISED"
    ALERT_CLEARED = "ALERT_CLEARED"
    ALERT_ACKNOWLEDGED = "ALERT_ACKNOWLEDGED"
    ALERT_SILENCED = "ALERT_SILENCED"
    ALERT_NOTIFIED = "ALERT_NOTIFIED"
    ALERT_RULES_CHANGED = "ALERT_RULES_CHANGED"
    APPROVAL_REQUESTED = "APPROVAL_REQUESTED"
    APPROVAL_DECIDED = "APPROVAL_DECIDED"
    SCALED = "SCALED"
    CONFIGURATION_CHANGED = "CONFIGURATION_CHANGED"
    REQUEST_REFUSED = "REQUEST_REFUSED"
    RUN_RESET = "RUN_RESET"
    SNAPSHOT_TAKEN = "SNAPSHOT_TAKEN"
    SNAPSHOT_RESTORED = "SNAPSHOT_RESTORED"
    EVENTS_LOST = "EVENTS_LOST"


class Severity(StrEnum):
    """How much an event should worry somebody, least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """Place in the order."""
        return list(Severity).index(self)


class EventData(BaseModel):
    """Base of all data models."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


_Model = TypeVar("_Model", bound=EventData)
_models: dict[EventType, tuple[int, type[EventData]]] = {}


def data_of(kind: EventType, version: int = 1) -> Callable[[type[_Model]], type[_Model]]:
    """Class decorator: the model of a type's data."""

    def register(model: type[_Model]) -> type[_Model]:
        if kind in _models:
            raise InternalError(f"{kind} has a data model already")
        _models[kind] = version, model
        return model

    return register


def models() -> Mapping[EventType, tuple[int, type[EventData]]]:
    """(version, data model) of every type."""
    from streamflow.bus import alert_events, execution_events, service_events  # noqa: F401 - they register their models

    return _models


def checked(kind: EventType, data: EventData | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(dataschema, data as JSON types) of an event. Raises InternalError when the data is not of its type."""
    version, model = models()[kind]
    try:
        made = data if isinstance(data, model) else model.model_validate(dict(data))
    except ValidationError as error:
        raise InternalError(f"data of {kind} does not fit {model.__name__}: {error}") from error
    return schema_name(kind, version), made.model_dump(mode="json", exclude_none=True)


def schema_name(kind: EventType, version: int = 1) -> str:
    """`dataschema` of a type."""
    return f"urn:streamflow:event:{kind}:{version}"
