"""The plan: what will run, as frozen data. Made from a TopologySpec by `planner.py`; nothing here runs.

topology ──plan──► Plan
                   ├── stages: Stage        connected nodes between repartition edges; one Faust agent each
                   │     ├── entries: Entry       the topics it reads, co-partitioned
                   │     ├── nodes: PlannedNode   in topological order
                   │     └── tables: TablePlan    its stores and their changelogs
                   ├── global_tables: GlobalTablePlan   held whole by every worker, in no stage
                   └── topics: TopicPlan     what must exist before start
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType, Schema
from streamflow.nodes.operators import Operator
from streamflow.windows.count import Counted
from streamflow.windows.shape import WindowShape
from streamflow.windows.unbounded import Unbounded


class Guarantee(StrEnum):
    """What a crash may do to the results."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class EntryKind(StrEnum):
    """How an entry's records are written and where its watermark comes from."""

    SOURCE = "source"  # JSON objects of the schema; watermark = highest event time - delay
    DECISIONS = "decisions"  # JSON objects of model/approval.py or parking.py; takes no part in time
    REPARTITION = "repartition"  # [time, fields…] arrays of our own; watermark = min over the producers' marks


class TopicRole(StrEnum):
    """Why a topic is there; decides who creates it and with which configuration."""

    SOURCE = "source"
    SINK = "sink"
    REPARTITION = "repartition"
    DECISIONS = "decisions"
    CHANGELOG = "changelog"
    DEAD_LETTERS = "dead_letters"
    LETTER_DECISIONS = "letter_decisions"
    PUBLISH_KEYS = "publish_keys"
    OUTCOMES = "outcomes"
    CONTROL = "control"
    GLOBAL_TABLE = "global_table"
    KEPT_RESULTS = "kept_results"
    EVENTS = "events"


class FarPolicy(StrEnum):
    """What becomes of an event whose time is too far from its record's: put aside, or given the record's time."""

    DEAD_LETTER = "dead_letter"
    CLAMP = "clamp"


@dataclass(frozen=True, slots=True)
class TimeBound:
    """How far an event time may lie from when its record's batch was written."""

    limit_ms: int
    policy: FarPolicy


@dataclass(frozen=True, slots=True)
class ParkedKeys:
    """At an entry, events of a key wait behind one that has failed for good; see ParkingSpec.

    table: of the keys and of what waits. at_release: what waited is not before the watermark at its release.
    """

    table: str
    max_keys: int
    max_waiting: int
    at_release: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One input topic of a stage.

    node: the source node, or the key_by node whose output the repartition topic carries.
    key: expression of the key over the row, None when the source declares none.
    event_time: field with the event time; None means the record's own timestamp (sources only).
    processing_time: time is when the broker appended the record, and follows the clock where nothing comes.
    watermark_delay_ms, future, past, idle_after_ms: of sources; see docs/guarantees.md. None as a bound accepts all.
    producer_stage: for repartition topics the stage that writes it; its tasks are producers 0..n-1.
    held_back_ms: of repartition topics, how far its marks are behind the watermarks of those who write it.
    decides: for topics of decisions the node whose rows they are about; no node has the entry's own name.
    parks: whether and how its keys are parked. releases: for topics of releases the entry whose keys they are about.
    execution_id, execution_header: field with the id of an event's execution, and whether any record may have one in
    its header; of sources.
    level, share: of a topic of events that go before others of the same node (nodes/source.py), which have the share 1.
    """

    topic: str
    node: str
    kind: EntryKind
    schema: Schema
    key: Expression | None
    event_time: str | None = None
    processing_time: bool = False
    watermark_delay_ms: int = 0
    future: TimeBound | None = None
    past: TimeBound | None = None
    idle_after_ms: int = 10_000
    reject_unknown_fields: bool = False
    producer_stage: str = ""
    held_back_ms: int = 0
    decides: str = ""
    parks: ParkedKeys | None = None
    releases: str = ""
    execution_id: str | None = None
    execution_header: bool = False
    level: str = ""
    share: int = 1


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node of a stage. `inputs` are names of nodes in the same stage or of entries; outputs follow from them.

    A key_by whose rows leave through a repartition topic has `repartition_topic`; its operator is Rekey, and the
    nodes behind it live in another stage, whose entry has the same node name. Rows of level l leave through the topic
    that `level_topics` has for l.
    """

    name: str
    kind: str
    operator: Operator
    inputs: tuple[str, ...]
    schema: Schema
    key_name: str | None
    key: Expression | None
    repartition_topic: str | None = None
    level_topics: tuple[tuple[str, str], ...] = ()

    @property
    def onward_topics(self) -> tuple[str, ...]:
        """Topics by which its rows go to another stage."""
        if self.repartition_topic is None:
            return ()
        return (self.repartition_topic, *(topic for _, topic in self.level_topics))

    @property
    def key_type(self) -> FieldType:
        """Type of the key; what has none is keyed by nothing, as text."""
        return self.key.type if self.key is not None else FieldType.STR


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A table of a stage. Rows of panes are keyed by (start, key), others by key; state/keys.py draws the keys.

    layout: digest of key and value layout; state of another digest is refused.
    row_schema: schema of what a query shows as `value`; key_type the type of `key`.
    lateness_ms, retention_ms: how long after its end, by the watermark of the task, a window stays open and is kept.
    passing: rows wait for others and leave by time, `retention_ms` after their own.
    """

    name: str
    node: str
    changelog_topic: str
    layout: str
    row_schema: Schema
    key_name: str | None
    window: WindowShape | None = None
    lateness_ms: int = 0
    retention_ms: int = 0
    passing: bool = False

    @property
    def windowed(self) -> bool:
        """Whether its windows end some time, so that rows leave it by time."""
        return self.window is not None and not isinstance(self.window, Counted | Unbounded)


@dataclass(frozen=True, slots=True)
class GlobalTablePlan:
    """A table that every worker holds whole. `key_name`: its key field, whose text is the record's key.

    max_rows, max_bytes (keys and rows as JSON): bounds that end the worker.
    """

    name: str
    topic: str
    schema: Schema
    key_name: str
    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Nodes that stay connected when repartition edges are cut. One Faust agent, one task per partition.

    requires: of its nodes that require something of workers, the name and what.
    """

    name: str
    entries: tuple[Entry, ...]
    nodes: tuple[PlannedNode, ...]
    tables: tuple[TablePlan, ...]
    requires: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def capabilities(self) -> frozenset[str]:
        """What a worker must have to run it."""
        return frozenset(name for _, names in self.requires for name in names)

    @property
    def input_topics(self) -> tuple[str, ...]:
        """Topics it reads, in entry order."""
        return tuple(entry.topic for entry in self.entries)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of its sources; one with levels has several entries."""
        return tuple(dict.fromkeys(entry.node for entry in self.entries if entry.kind is EntryKind.SOURCE))

    @property
    def leveled(self) -> tuple[Entry, ...]:
        """Entries of nodes whose rows come by several levels."""
        nodes = {entry.node for entry in self.entries if entry.level}
        return tuple(entry for entry in self.entries if entry.node in nodes)

    def keeper(self, table: TablePlan) -> Operator | ParkedKeys:
        """What keeps a table of the stage: the operator of a node, or an entry that parks."""
        parking = (entry.parks for entry in self.entries if entry.parks is not None)
        kept = next((each for each in parking if each.table == table.name), None)
        return kept or next(node.operator for node in self.nodes if node.name == table.node)


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic that must exist. `partitions` None: as many as the topic named by `partitions_like` has.

    config: broker configuration for topics that we create (cleanup.policy, retention.ms, max.message.bytes, …).
    owned: ours to create and to check strictly; sources and sinks are created when missing, else only checked. Those of
    global tables likewise, but they must be compacted.
    """

    name: str
    role: TopicRole
    partitions: int | None
    partitions_like: str | None
    config: tuple[tuple[str, str], ...]
    owned: bool


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Dead letters of a node that are allowed within the last `per_ms`, on one worker; see ErrorBudgetSpec."""

    node: str
    failures: int | None
    percent: float | None
    at_least: int
    per_ms: int


@dataclass(frozen=True, slots=True)
class TimerPlan:
    """Rows that workers publish into a source topic every so often: JSON objects, `time` is filled in.

    key: field with their key, None: they have none. makes_up: whether moments that were missed are made up for.
    """

    node: str
    topic: str
    time: str
    key: str | None
    every_ms: int
    rows: tuple[Mapping[str, Any], ...]
    makes_up: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the runtime needs to know of a topology.

    run: name of a run of its own (plan/runs.py), empty for the live one. repairs: notes on repartitions that were not
    declared. unmetered: nodes without series in the metrics.
    """

    topology: str
    version: int
    guarantee: Guarantee
    stages: tuple[Stage, ...]
    topics: tuple[TopicPlan, ...]
    dead_letter_topic: str
    letter_decision_topic: str
    publish_key_topic: str
    outcome_topic: str
    control_topic: str
    run: str = ""

    @property
    def identity(self) -> str:
        """Name that groups, transactional ids and state folders are made of."""
        return f"{self.topology}.{self.run}" if self.run else self.topology

    global_tables: tuple[GlobalTablePlan, ...] = ()
    repairs: tuple[str, ...] = ()
    error_budgets: tuple[ErrorBudget, ...] = ()
    timers: tuple[TimerPlan, ...] = ()
    unmetered: frozenset[str] = frozenset()

    def stage(self, name: str) -> Stage:
        """Stage by name; KeyError when unknown."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def table(self, name: str) -> tuple[Stage, TablePlan] | None:
        """The stage and table of that name, None when there is none."""
        for stage in self.stages:
            for table in stage.tables:
                if table.name == name:
                    return stage, table
        return None
