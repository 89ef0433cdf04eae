"""Data of what happens to the service itself: workers, topologies, partitions, dead letters, requests."""

from typing import Any, Literal

from pydantic import Field

from streamflow.bus.event_types import EventData, EventType, data_of


@data_of(EventType.WORKER_STARTED)
class WorkerStarted(EventData):
    """A worker process runs. `predecessor`: how the last one on the same state folder ended."""

    worker: str
    version: int = Field(description="of the topology")
    predecessor: Literal["none", "stopped", "failed", "killed"] = "none"


@data_of(EventType.WORKER_STOPPED)
class WorkerStopped(EventData):
    """A worker process ended in order."""

    worker: str


@data_of(EventType.TOPOLOGY_DEPLOYED)
class TopologyDeployed(EventData):
    """A worker runs another topology than the last one on its state folder did; the first such worker deployed it."""

    worker: str
    version: int
    digest: str = Field(description="SHA-256 of the topology as it was declared")
    previous_version: int | None = None


@data_of(EventType.TOPOLOGY_STATE_CHANGED)
class TopologyStateChanged(EventData):
    """A topology was paused, resumed, stopped or cancelled."""

    old: str
    new: str
    reason: str = ""


@data_of(EventType.PARTITION_ASSIGNED)
class PartitionAssigned(EventData):
    """A task works on this worker from now on."""

    worker: str
    stage: str
    partition: int


@data_of(EventType.PARTITION_REVOKED)
class PartitionRevoked(EventData):
    """A task works on this worker no more."""

    worker: str
    stage: str
    partition: int
    reason: Literal["rebalance", "fenced", "failed", "stop"] = "rebalance"


@data_of(EventType.RESTORED)
class Restored(EventData):
    """The state of a task was brought up to its changelog."""

    worker: str
    stage: str
    partition: int
    records: int = Field(description="changelog records that were replayed")
    took_ms: int


@data_of(EventType.CHECKPOINT_FAILED)
class CheckpointFailed(EventData):
    """A transaction did not come through: what it held is done again."""

    worker: str
    stage: str
    partition: int
    error: str
    message: str = Field("", max_length=2_000)


@data_of(EventType.WINDOW_CLOSED)
class WindowClosed(EventData):
    """A window of a task closed and gave its results."""

    stage: str
    partition: int
    start: int = Field(description="ms")
    end: int = Field(description="ms")
    rows: int


@data_of(EventType.LATE_DROPPED)
class LateDropped(EventData):
    """Rows came when their windows were closed; `count` of one checkpoint."""

    stage: str
    partition: int
    count: int
    to_topic: str | None = Field(None, description="where they went, if anywhere")


@data_of(EventType.VERSIONS_DROPPED)
class VersionsDropped(EventData):
    """Versions left a table by a bound of their keys, before its retention: joins do not find them any more."""

    stage: str
    partition: int
    count: int = Field(description="in one checkpoint")


@data_of(EventType.DEAD_LETTER_ADDED)
class DeadLetterAdded(EventData):
    """Records were put aside; `count` with one reason in one checkpoint. `position` of the event is the first's."""

    stage: str
    partition: int
    reason: str
    count: int
    topic: str = Field(description="of the dead letters")
    error_class: str = Field("", description="of the first: transient, permanent, system or user")
    attempts: int = Field(1, description="how often the first has failed, this time included")


@data_of(EventType.DEAD_LETTER_EDITED)
class DeadLetterEdited(EventData):
    """Another event was put beside that of a dead letter."""

    count: int
    reason: str = ""
    letters: list[str] = Field(default_factory=list, max_length=1_000, description="their ids")


@data_of(EventType.DEAD_LETTER_REDRIVEN)
class DeadLetterRedriven(EventData):
    """Dead letters were published again."""

    count: int
    reason: str = ""
    letters: list[str] = Field(default_factory=list, max_length=1_000, description="their ids")
    to_topic: str = ""


@data_of(EventType.DEAD_LETTER_DISCARDED)
class DeadLetterDiscarded(EventData):
    """Dead letters were given up."""

    count: int
    reason: str = ""
    letters: list[str] = Field(default_factory=list, max_length=1_000, description="their ids")


@data_of(EventType.KEY_PARKED)
class KeyParked(EventData):
    """A key waits behind a record that became a dead letter, first or again. `position` is the record's."""

    stage: str
    partition: int
    failures: int = Field(description="of records that it waited behind since it was parked")
    waiting: int = Field(description="events that wait behind it")


@data_of(EventType.KEY_RELEASED)
class KeyReleased(EventData):
    """What waited behind a dead letter goes on. `position` is that of the letter's record."""

    stage: str
    partition: int
    outcome: Literal["redriven", "discarded", "cancelled"] = Field(
        description="what became of the letter, or of its event when it came again"
    )
    waiting: int = Field(description="events that go on")


@data_of(EventType.APPROVAL_REQUESTED)
class ApprovalRequested(EventData):
    """An event is parked until somebody decides."""

    approval: str
    deadline: str = ""
    approvers: list[str] = Field(default_factory=list)


@data_of(EventType.APPROVAL_DECIDED)
class ApprovalDecided(EventData):
    """Somebody, or the deadline, decided. The event's actor is whose word settled it, nobody's at a deadline."""

    approval: str
    decision: str
    comment: str = Field("", max_length=2_000)
    votes: list[dict[str, Any]] = Field(default_factory=list, description="actor, decision, comment, at_ms; in order")
    delegations: list[tuple[str, str]] = Field(default_factory=list, description="(who gave it on, to whom)")


@data_of(EventType.SCALED)
class Scaled(EventData):
    """The group has another number of workers: some were added or ended, or one has died. Told by who leads the group;
    not when nobody is left who knew the number before."""

    old: int
    new: int


@data_of(EventType.CONFIGURATION_CHANGED)
class ConfigurationChanged(EventData):
    """Settings of a worker differ from those of its last run; secrets are masked."""

    worker: str
    changes: dict[str, tuple[Any, Any]] = Field(description="(old, new) by setting")


@data_of(EventType.REQUEST_REFUSED)
class RequestRefused(EventData):
    """Requests were refused, summed up over a few seconds."""

    worker: str
    status: int
    operation: str
    client: str
    count: int


@data_of(EventType.RUN_RESET)
class RunReset(EventData):
    """Offsets, internal topics and state of a run were deleted."""

    run: str
    topics: list[str]
    groups: list[str]


@data_of(EventType.SNAPSHOT_TAKEN)
class SnapshotTaken(EventData):
    """The state of a topology was kept."""

    snapshot: str
    records: int
    size_bytes: int


@data_of(EventType.SNAPSHOT_RESTORED)
class SnapshotRestored(EventData):
    """A run was made that goes on from a snapshot."""

    snapshot: str
    run: str


@data_of(EventType.EVENTS_LOST)
class EventsLost(EventData):
    """Events that found the emitter's queue full, by type: the log has a hole here."""

    counts: dict[str, int]
