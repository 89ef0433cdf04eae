"""Topics of a plan against those of a cluster: partitions, replicas, retention, configuration."""

from collections.abc import Iterator, Mapping

from streamflow.deploy.findings import Finding, KafkaCommands, Weight
from streamflow.model.durations import format_duration
from streamflow.plan.cluster import ClusterFacts, TopicFacts, replica_count
from streamflow.plan.plan import Entry, EntryKind, Plan, Stage, TopicPlan, TopicRole
from streamflow.plan.planner import check_partitions
from streamflow.plan.topics import DAY_MS, TIMESTAMP_TYPE
from streamflow.settings.settings import Settings
from streamflow.windows.count import Counted
from streamflow.windows.unbounded import Unbounded

_RETENTION, _CLEANUP, _LIMIT = "retention.ms", "cleanup.policy", "max.message.bytes"
#: A topology may stand still for so long, over a weekend, and go on without a gap.
STANDSTILL_MS = 3 * DAY_MS


def topic_findings(
    plan: Plan, settings: Settings, facts: ClusterFacts, counts: Mapping[str, int], commands: KafkaCommands
) -> Iterator[Finding]:
    """Everything about topics. Those that do not exist yet are created well; only brokers' defaults may not fit."""
    yield from _copartition_findings(plan, counts, commands)
    keep = needed_retention(plan)
    for topic in plan.topics:
        found = facts.topics.get(topic.name)
        if topic.name in keep:
            yield from _source_findings(topic, found, facts, keep[topic.name], commands)
        if found is not None:
            yield from _count_findings(topic, found, counts[topic.name], commands)
            yield from _replica_findings(topic.name, found, settings, facts, commands)
            yield from _config_findings(topic, found, commands)
    for name, found in facts.topics.items():
        if name.startswith("__"):
            yield from _replica_findings(name, found, settings, facts, commands)


def needed_retention(plan: Plan) -> dict[str, int]:
    """Per source topic how long its events are needed, ms: until the last window they can be in has closed.

    size of the window + allowed lateness + the source's watermark delay, the longest of all windows behind it.
    """
    need: dict[str, int] = {}
    for stage in plan.stages:
        for entry in stage.entries:
            if entry.kind is EntryKind.SOURCE:
                span_ms = _longest_window_ms(plan, stage, entry) + entry.watermark_delay_ms
                need[entry.topic] = max(need.get(entry.topic, 0), span_ms)
    return need


def _longest_window_ms(plan: Plan, stage: Stage, entry: Entry) -> int:
    """Of the windows that an entry's rows come to, in its stage and behind repartition topics."""
    reached, spans = {entry.node}, [0]
    for node in stage.nodes:  # in topological order
        if reached.isdisjoint(node.inputs):
            continue
        reached.add(node.name)
        for reader in plan.stages:
            for way in reader.entries:
                if way.topic == node.repartition_topic:
                    spans.append(_longest_window_ms(plan, reader, way))
    for table in stage.tables:
        if table.node in reached and table.windowed and not isinstance(table.window, Counted | Unbounded | None):
            spans.append(table.window.span_ms + table.lateness_ms)
    return max(spans)


def _copartition_findings(plan: Plan, counts: Mapping[str, int], commands: KafkaCommands) -> Iterator[Finding]:
    stages = {f"stage {stage.name}": stage for stage in plan.stages}
    for problem in check_partitions(plan, counts):
        most = max(stages[problem.place].input_topics, key=lambda topic: counts[topic])
        few = [topic for topic in stages[problem.place].input_topics if counts[topic] < counts[most]]
        message = f"{problem.message}; keys would not meet. Add partitions only to an empty topic: keys move"
        command = " && ".join(commands.partitions(topic, counts[most]) for topic in few)
        yield Finding(Weight.ERROR, "co_partitioning", problem.place, message, command)


def _count_findings(topic: TopicPlan, found: TopicFacts, wanted: int, commands: KafkaCommands) -> Iterator[Finding]:
    has = found.partition_count
    if topic.owned and has != wanted:
        message = f"has {has} partitions, the plan needs {wanted}; state and topic go together"
        command = f"stop the topology, then {commands.delete(topic.name)} and streamflow reset TOPOLOGY"
        yield Finding(Weight.ERROR, "partitions", topic.name, message, command)
    elif not topic.owned and topic.partitions is not None and has != topic.partitions:
        message = f"has {has} partitions, the topology says {topic.partitions}; what is there counts"
        yield Finding(Weight.WARNING, "partitions", topic.name, message, f"partitions: {has} in the topology")


def _replica_findings(
    name: str, found: TopicFacts, settings: Settings, facts: ClusterFacts, commands: KafkaCommands
) -> Iterator[Finding]:
    brokers = len(facts.brokers)
    has, wanted = found.replica_count, min(replica_count(settings.replication_factor, brokers), brokers)
    least_isr = int(found.config.get("min.insync.replicas", 1))
    if least_isr > has:
        message = f"min.insync.replicas is {least_isr}, but it has {has} replicas: nothing can be written"
        command = commands.configure(name, {"min.insync.replicas": str(max(1, has - 1))})
        yield Finding(Weight.ERROR, "min_insync_replicas", name, message, command)
    elif 1 < least_isr == has:
        message = f"min.insync.replicas is {least_isr} of {has} replicas: one broker less, and nothing can be written"
        command = commands.configure(name, {"min.insync.replicas": str(has - 1)})
        yield Finding(Weight.WARNING, "min_insync_replicas", name, message, command)
    if has < wanted:
        message = f"has {has} replicas, topics shall have {wanted}"
        command = commands.replicate(name, found, facts.brokers, wanted)
        yield Finding(Weight.WARNING, "replicas", name, message, command)


def _source_findings(
    topic: TopicPlan, found: TopicFacts | None, facts: ClusterFacts, need_ms: int, commands: KafkaCommands
) -> Iterator[Finding]:
    config = found.config if found is not None else {_CLEANUP: "delete", _RETENTION: _default_retention(facts)}
    if found is not None and "compact" in config.get(_CLEANUP, "delete"):
        message = "is compacted: of events with one key only the last is certain to be read"
        command = commands.configure(topic.name, {_CLEANUP: "delete"})
        yield Finding(Weight.WARNING, "cleanup_policy", topic.name, message, command)
    keeps_ms = int(config.get(_RETENTION, "-1"))
    if keeps_ms < 0 or "delete" not in config.get(_CLEANUP, "delete"):
        return
    keeps = f"keeps events for {format_duration(keeps_ms)}" + ("" if found is not None else " once it is created")
    wanted = commands.configure(topic.name, {_RETENTION: str(need_ms + STANDSTILL_MS)})
    if keeps_ms < need_ms:
        message = f"{keeps}, windows need them for {format_duration(need_ms)}: a replay cannot give the same results"
        yield Finding(Weight.WARNING, "retention", topic.name, message, wanted)
    elif keeps_ms < STANDSTILL_MS:
        message = f"{keeps}: a topology that stands still for longer loses some"
        yield Finding(Weight.WARNING, "retention", topic.name, message, wanted)


def _default_retention(facts: ClusterFacts) -> str:
    """retention.ms of a topic that is created without one: the most exact of the brokers' three settings."""
    for name, size in (("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)):
        if name in facts.config:
            return str(int(facts.config[name]) * size)
    return str(7 * DAY_MS)


def _config_findings(topic: TopicPlan, found: TopicFacts, commands: KafkaCommands) -> Iterator[Finding]:
    """Where an existing topic differs from the plan in what matters; stricter or longer than needed is fine."""
    for name, wanted in topic.config:
        has = found.config.get(name)
        if has is None or _is_enough(name, has, wanted):
            continue
        weight = Weight.ERROR
        if (name == _RETENTION and topic.role is not TopicRole.CHANGELOG) or (name == _LIMIT and not topic.owned):
            weight = Weight.WARNING
        elif name == _CLEANUP and not topic.owned and topic.role is not TopicRole.GLOBAL_TABLE:
            continue  # whoever owns the topic decides
        message = f"{name} is {has}, the plan needs {wanted}" + _because(name, topic.role)
        command = commands.configure(topic.name, {name: wanted})
        yield Finding(weight, name.replace(".", "_"), topic.name, message, command)


def _is_enough(name: str, has: str, wanted: str) -> bool:
    if name == _LIMIT:
        return int(has) >= int(wanted)
    if name == _RETENTION:
        return int(has) < 0 or 0 <= int(wanted) <= int(has)
    if name == TIMESTAMP_TYPE:
        return has == wanted
    return set(has.split(",")) == set(wanted.split(","))


def _because(name: str, role: TopicRole) -> str:
    if role is TopicRole.CHANGELOG and name in (_RETENTION, _CLEANUP):
        return ": a restored worker would miss state"
    if name == _LIMIT:
        return ": larger records become dead letters"
    return ""
