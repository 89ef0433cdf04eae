"""Data of what happens to executions, nodes, and what people watch."""

from typing import Any

from pydantic import Field

from streamflow.bus.event_types import EventData, EventType, data_of


class _Told(EventData):
    """Which task says it, on which worker."""

    stage: str = ""
    partition: int | None = None
    worker: str = ""


@data_of(EventType.NODE_STATE_CHANGED)
class NodeStateChanged(_Told):
    """A node of an execution, or of the topology, moved to another state.

    What nobody could see in between, as it is of one transaction, is one event: `path` has all states it went through.
    """

    old: str = Field(description="state before, empty for the first")
    new: str
    reason: str = ""
    execution: str = Field("", description="id of the keyed execution, empty for the topology's own node")
    attempt: int = Field(1, ge=1, description="of a call to the outside: how often it was made")
    recovered: str = Field("", description="what helped where a call failed: retry, fallback or fallback_node")
    from_cache: bool = Field(False, description="whether the answer of a call was one that had been kept")
    path: list[str] = Field(default_factory=list, description="states it went through, this one last")
    error: str = Field("", max_length=2_000)
    approval: str = Field("", description="id of what waits for people, or has waited")
    started: str = Field("", description="when it got its first row (UTC)")
    took_us: int = Field(0, ge=0, description="processor time, without that of the nodes behind it")
    rows_in: int = Field(0, ge=0)
    rows_out: int = Field(0, ge=0)
    input: Any = Field(None, description="first row, bounded and masked")
    outputs: list[Any] = Field(default_factory=list, description="first rows that it gave, bounded and masked")


@data_of(EventType.DATA_AVAILABLE)
class DataAvailable(EventData):
    """Records of a sink's topic, one batch of one checkpoint: where they are, never the data."""

    topic: str
    partition: int
    offset: int = Field(description="first offset of the output")
    count: int = Field(1, ge=1)


@data_of(EventType.EXECUTION_STARTED)
class ExecutionStarted(_Told):
    """An execution began: its event was taken in."""

    execution: str
    version: int
    key: str = Field("", description="of the event, masked like its field")
    parameters: dict[str, Any] = Field(default_factory=dict, description="masked")


@data_of(EventType.EXECUTION_FORKED)
class ExecutionForked(_Told):
    """What was one piece goes on as several, or as some while others end here; each ends by itself."""

    execution: str
    pieces: int = Field(ge=2)


@data_of(EventType.EXECUTION_COMPLETED)
class ExecutionCompleted(_Told):
    """An execution ended, well or not; or one piece of it, where it was forked."""

    execution: str
    status: str = Field(description="completed, failed, or cancelled")
    piece: bool = Field(False, description="whether it is one of several: the whole ends with the last")
    totals: dict[str, int] = Field(default_factory=dict, description="rows, late, dead")
    outputs: dict[str, int] = Field(
        default_factory=dict, description="records by topic; there they have the id in a header"
    )
    reason: str = ""


@data_of(EventType.EXECUTION_CANCELLED)
class ExecutionCancelled(EventData):
    """Somebody ordered that it ends; each of its pieces then says EXECUTION_COMPLETED, where it is found."""

    execution: str
    reason: str = Field("", max_length=2_000)


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
