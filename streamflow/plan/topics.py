"""Which topics a plan needs, with which partitions and configuration."""

from streamflow.nodes.join_operators import Combine, Join, VersionLookup
from streamflow.nodes.operators import Await, Distinct, Emit, Fold, Limit, Operator
from streamflow.plan.plan import Entry, EntryKind, GlobalTablePlan, Stage, TablePlan, TopicPlan, TopicRole
from streamflow.topology.names import (
    control_topic,
    dead_letter_topic,
    kept_results_topic,
    letter_decision_topic,
    outcome_topic,
    publish_key_topic,
)
from streamflow.windows.count import Counted
from streamflow.windows.unbounded import Unbounded

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MINUTE_MS = 60_000
#: Bound of one record, in bytes: as large as a record may be, so that a dead letter of any record fits.
RECORD_MAX_BYTES = 4 << 20
#: The headers of a dead letter of the largest record.
LETTER_ROOM_BYTES = 64 << 10
_CHANGELOG_SLACK_MS = DAY_MS
#: Whose clock a topic's records have: the broker's, where a source runs on processing time.
TIMESTAMP_TYPE, APPEND_TIME = "message.timestamp.type", "LogAppendTime"


def plan_topics(
    topology: str,
    stages: tuple[Stage, ...],
    partitions: dict[str, int],
    tables: tuple[GlobalTablePlan, ...] = (),
) -> tuple[TopicPlan, ...]:
    """Every topic of the stages and global tables, each once."""
    topics: dict[str, TopicPlan] = {}
    leaders = _leaders(stages)
    for stage in stages:
        leader = leaders[stage.name]
        for entry in stage.entries:
            made = _entry_topic(entry, leader, partitions)
            if entry.topic not in topics or entry.processing_time:
                topics[entry.topic] = made
        for table in stage.tables:
            topics[table.changelog_topic] = _changelog(table, leader)
        for node in stage.nodes:
            for name in written_topics(node.operator):
                like = None if name in partitions else leader
                topics.setdefault(name, TopicPlan(name, TopicRole.SINK, partitions.get(name), like, _limits(), False))
    for each in tables:
        compacted = (("cleanup.policy", "compact"), *_limits())
        count = partitions[each.topic]
        topics[each.topic] = TopicPlan(each.topic, TopicRole.GLOBAL_TABLE, count, None, compacted, False)
    own = _of_the_topology(topology, leaders[stages[0].name])
    return (*topics.values(), *own, *_kept_results(topology, stages))


def _of_the_topology(topology: str, leader: str) -> tuple[TopicPlan, ...]:
    """Topics that every topology has."""
    letters = (
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("max.message.bytes", str(RECORD_MAX_BYTES + LETTER_ROOM_BYTES)),
    )
    compacted = (("cleanup.policy", "compact"), *_limits())
    keys = (("cleanup.policy", "delete"), ("retention.ms", str(2 * DAY_MS)), ("segment.ms", str(DAY_MS // 4)))
    # Whoever waits for an outcome waits seconds; an hour lets a client come back for it.
    outcomes = (("cleanup.policy", "delete"), ("retention.ms", str(HOUR_MS)), *_limits())
    named = (
        (dead_letter_topic(topology), TopicRole.DEAD_LETTERS, letters),
        (letter_decision_topic(topology), TopicRole.LETTER_DECISIONS, compacted),
        (outcome_topic(topology), TopicRole.OUTCOMES, outcomes),
        (control_topic(topology), TopicRole.CONTROL, compacted),
    )
    ones = (TopicPlan(name, role, 1, None, config, True) for name, role, config in named)
    return (*ones, TopicPlan(publish_key_topic(topology), TopicRole.PUBLISH_KEYS, None, leader, keys, True))


def _kept_results(topology: str, stages: tuple[Stage, ...]) -> list[TopicPlan]:
    """The topic of results that workers share, if any node's are: as old and as many as the largest node keeps."""
    policies = (node.operator.policy for stage in stages for node in stage.nodes if isinstance(node.operator, Await))
    plans = [policy.cache for policy in policies if policy.cache is not None and policy.cache.shared]
    if not plans:
        return []
    keep_ms, keep_bytes = max(plan.ttl_ms for plan in plans), sum(plan.disk_bytes for plan in plans)
    # Whole segments are deleted, so they are short; Kafka takes none below a MiB.
    config = (
        ("cleanup.policy", "delete"),
        ("retention.ms", str(keep_ms)),
        ("retention.bytes", str(keep_bytes)),
        ("segment.ms", str(min(max(keep_ms // 4, MINUTE_MS), DAY_MS))),
        ("segment.bytes", str(min(max(keep_bytes // 8, 1 << 20), 1 << 30))),
    )
    return [TopicPlan(kept_results_topic(topology), TopicRole.KEPT_RESULTS, 1, None, config, True)]


def _leaders(stages: tuple[Stage, ...]) -> dict[str, str]:
    """For every stage the source topic that its topics have as many partitions as.

    Topics that meet in a stage need equally many: its first source says how many, and without one the leader of the
    stage that writes its first repartition topic.
    """
    leaders: dict[str, str] = {}
    for stage in stages:  # writers first
        sources = [entry.topic for entry in stage.entries if entry.kind is EntryKind.SOURCE]
        leaders[stage.name] = sources[0] if sources else leaders[stage.entries[0].producer_stage]
    return leaders


def _entry_topic(entry: Entry, leader: str, partitions: dict[str, int]) -> TopicPlan:
    if entry.kind is EntryKind.SOURCE:
        clock = ((TIMESTAMP_TYPE, APPEND_TIME),) if entry.processing_time else ()
        return TopicPlan(entry.topic, TopicRole.SOURCE, partitions.get(entry.topic), None, (*clock, *_limits()), False)
    role = TopicRole.DECISIONS if entry.kind is EntryKind.DECISIONS else TopicRole.REPARTITION
    # Records are worked off within seconds; a week lets a stopped topology come back.
    config = (("cleanup.policy", "delete"), ("retention.ms", str(7 * DAY_MS)), *_limits())
    return TopicPlan(entry.topic, role, None, leader, config, True)


def _changelog(table: TablePlan, leader: str) -> TopicPlan:
    policy: tuple[tuple[str, str], ...] = (("cleanup.policy", "compact"),)
    if table.windowed:
        assert not isinstance(table.window, Counted | Unbounded | None)
        # Deleted only after it has left the store too: retention counts event time there, wall clock here.
        keep_ms = table.retention_ms + table.window.span_ms + _CHANGELOG_SLACK_MS
        policy = (("cleanup.policy", "compact,delete"), ("retention.ms", str(keep_ms)))
    elif table.passing:
        # Rows wait for the slowest input, and so does their leaving: a week lets a stopped one come back.
        policy = (("cleanup.policy", "compact,delete"), ("retention.ms", str(table.retention_ms + 7 * DAY_MS)))
    config = (*policy, *_limits())
    return TopicPlan(table.changelog_topic, TopicRole.CHANGELOG, None, leader, config, True)


def written_topics(operator: Operator) -> list[str]:
    """Topics of somebody else that an operator writes to."""
    match operator:
        case Emit() | Limit():
            names: tuple[str | None, ...] = (operator.topic,)
        case Fold() | Distinct() | Join() | VersionLookup():
            names = (operator.late_topic,)
        case Combine():
            names = operator.incomplete_topic, operator.late_topic
        case _:
            names = ()
    return [name for name in names if name is not None]


def _limits() -> tuple[tuple[str, str], ...]:
    return (("max.message.bytes", str(RECORD_MAX_BYTES)),)
