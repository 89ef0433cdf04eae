"""Data of what happens to executions, nodes, and what people watch."""

from typing import Any

from pydantic import Field

from streamflow.bus.event_types import EventData, EventType, data_of


@data_of(EventType.NODE_STATE_CHANGED)
class NodeStateChanged(EventData):
    """A node of an execution, or of the topology, moved to another state."""

    old: str = Field(description="state before, empty for the first")
    new: str
    reason: str = ""
    execution: str = Field("", description="id of the keyed execution, empty for the topology's own node")
    attempt: int = Field(1, ge=1)
    worker: str = ""


@data_of(EventType.DATA_AVAILABLE)
class DataAvailable(EventData):
    """Records of a sink's topic, one batch of one checkpoint: where they are, never the data."""

    topic: str
    partition: int
    offset: int = Field(description="first offset of the output")
    count: int = Field(1, ge=1)


@data_of(EventType.EXECUTION_STARTED)
class ExecutionStarted(EventData):
    """An execution began."""

    execution: str
    version: int
    parameters: dict[str, Any] = Field(default_factory=dict, description="masked")


@data_of(EventType.EXECUTION_COMPLETED)
class ExecutionCompleted(EventData):
    """An execution ended, well or not."""

    execution: str
    status: str
    totals: dict[str, int] = Field(default_factory=dict)
    reason: str = ""


@data_of(EventType.ERROR_OCCURRED)
class ErrorOccurred(EventData):
    """Something failed. What becomes a dead letter is a DEAD_LETTER_ADDED instead."""

    error: str = Field(description="class of the error")
    message: str = Field("", max_length=2_000)
    blame: str = Field("internal", description="user, external or internal")
    lasting: str = Field("permanent", description="transient or permanent")
    attempt: int = Field(1, ge=1)


@data_of(EventType.WIDGET_UPDATE_REQUESTED)
class WidgetUpdateRequested(EventData):
    """Whoever shows this view should refresh it; all changes of a checkpoint make one request."""

    view: str = Field(description="table that is shown")
    keys: list[str] = Field(default_factory=list, max_length=1_000, description="keys that changed; empty: any")
    count: int = Field(1, ge=1, description="changes in this request")
