"""Creates or checks the topics of a plan at start. Nothing is ever created by use.

Topics of our own (repartition, changelog, dead letters) must be as the plan says; sources, sinks and global tables are
created when missing and otherwise taken as they are, as long as partitions that meet are equally many and the topics of
global tables are compacted.
"""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code

from streamflow.bus.topics import bus_topics, with_bus
from streamflow.errors import KafkaRefusal, TopicError
from streamflow.plan.cluster import IN_SYNC, REPLICAS, replica_count
from streamflow.plan.plan import Plan, TopicPlan, TopicRole
from streamflow.plan.planner import check_partitions
from streamflow.plan.topics import TIMESTAMP_TYPE
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

DEFAULT_PARTITIONS = 4
_ATTEMPTS = 8
_BACKOFF_S = 0.25
#: Timed out, too few brokers (they may be starting), no controller; or somebody was faster, and what is there now is
#: checked: tried again.
_MAY_HEAL = (7, 36, 38, 41)


async def ensure_topics(plan: Plan, settings: Settings) -> dict[str, int]:
    """Partition count of every topic of the plan and of the bus, after creating what is missing.

    Raises TopicError with everything that does not fit, KafkaRefusal when Kafka does not take us, BrokerUnavailable
    when it does not answer (8 attempts).
    """
    plan = with_bus(plan, settings)
    for attempt in range(1, _ATTEMPTS + 1):
        admin = AIOKafkaAdminClient(**connection(settings))
        try:
            await admin.start()
            return await _ensure(admin, plan, settings.replication_factor)
        except KafkaError as error:
            found = await unavailable(settings, error)
            # Twice: users and permissions take a moment to be known to all brokers.
            if attempt == _ATTEMPTS or (attempt > 1 and isinstance(found, KafkaRefusal)):
                raise found from error
            log.warning("Kafka at %s does not answer yet (attempt %s): %r", settings.brokers, attempt, error)
            await asyncio.sleep(_BACKOFF_S * 2**attempt)
        finally:
            await disconnect(admin)
    raise AssertionError("unreachable")


async def ensure_bus(settings: Settings) -> int:
    """Partitions of the bus, created if need be, for processes without a plan. Raises TopicError, BrokerUnavailable."""
    admin = AIOKafkaAdminClient(**connection(settings))
    topics = bus_topics(settings)
    try:
        await admin.start()
        existing = await _existing(admin, [topic.name for topic in topics])
        count = existing.get(topics[0].name, settings.events_partitions)
        counts = {topic.name: count for topic in topics}
        if missing := [topic for topic in topics if topic.name not in existing]:
            await _create(admin, missing, counts, settings.replication_factor)
        return count
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)


async def _ensure(admin: AIOKafkaAdminClient, plan: Plan, replication: int) -> dict[str, int]:
    existing = await _existing(admin, [topic.name for topic in plan.topics])
    counts = wanted_partitions(plan, existing)
    missing = [topic for topic in plan.topics if topic.name not in existing]
    problems = [str(problem) for problem in check_partitions(plan, existing)]
    for topic in plan.topics:
        if topic.name in existing and topic.owned and existing[topic.name] != counts[topic.name]:
            problems.append(_wrong_count(topic, existing[topic.name], counts[topic.name]))
    problems += await _wrong_configs(admin, [topic for topic in plan.topics if topic.name in existing])
    if problems:
        raise TopicError("; ".join(problems))
    if missing:
        await _create(admin, missing, counts, replication)
    return {topic.name: existing.get(topic.name, counts[topic.name]) for topic in plan.topics}


async def _existing(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    known = set(await admin.list_topics())
    found = [name for name in names if name in known]
    described = await admin.describe_topics(found) if found else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


def wanted_partitions(plan: Plan, existing: dict[str, int]) -> dict[str, int]:
    """Partition count of every topic: as it exists (sources, sinks), as declared, or as the topic it follows.

    Sources that meet in one stage and do not exist yet follow one that does.
    """
    counts: dict[str, int] = {}
    for topic in plan.topics:
        if topic.name in existing and not topic.owned:
            counts[topic.name] = existing[topic.name]
        elif topic.partitions is not None:
            counts[topic.name] = topic.partitions
    for stage in plan.stages:
        known = [counts[name] for name in stage.input_topics if name in counts]
        for topic in plan.topics:
            if topic.name in stage.input_topics and topic.role is TopicRole.SOURCE:
                counts.setdefault(topic.name, known[0] if known else DEFAULT_PARTITIONS)
    while len(counts) < len(plan.topics):
        for topic in plan.topics:
            if topic.name not in counts and topic.partitions_like in counts:
                counts[topic.name] = counts[topic.partitions_like]
    return counts


def _wrong_count(topic: TopicPlan, found: int, wanted: int) -> str:
    why = f"topic {topic.name} has {found} partitions, the plan needs {wanted}"
    return f"{why}: delete it (`kafka-topics --delete --topic {topic.name}`) while the topology is stopped and reset"


async def _wrong_configs(admin: AIOKafkaAdminClient, topics: list[TopicPlan]) -> list[str]:
    """Cleanup policies of our own topics, and the clock of whoever's topics are read on processing time."""
    if not topics:
        return []
    found = await _configs(admin, [topic.name for topic in topics])
    problems = []
    for topic in topics:
        for name in ("cleanup.policy", TIMESTAMP_TYPE):
            wanted, has = dict(topic.config).get(name), found.get(topic.name, {}).get(name)
            if wanted and has and set(has.split(",")) != set(wanted.split(",")):
                command = f"kafka-configs --alter --topic {topic.name} --add-config {name}=[{wanted}]"
                problems.append(f"topic {topic.name} has {name} {has}, the plan needs {wanted}: {command}")
    return problems


async def _create(
    admin: AIOKafkaAdminClient, topics: list[TopicPlan], counts: dict[str, int], replication: int
) -> None:
    replication = replica_count(replication, len((await admin.describe_cluster())["brokers"]))
    in_sync = {"min.insync.replicas": str(IN_SYNC)} if replication >= REPLICAS else {}
    new = [NewTopic(t.name, counts[t.name], replication, topic_configs={**in_sync, **dict(t.config)}) for t in topics]
    response = await admin.create_topics(new, timeout_ms=15_000)
    problems = []
    for name, code, *message in response.topic_errors:
        if code in _MAY_HEAL:
            raise for_code(code)(f"topic {name} cannot be created yet")
        if code == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(f"{name} is missing and may not be created, or it may not be seen")
        if code:
            problems.append(f"topic {name} cannot be created: {(message[0] if message else None) or f'error {code}'}")
    if problems:
        raise TopicError("; ".join(problems))
    log.info("created topics %s", ", ".join(topic.name for topic in topics))


async def record_limits(plan: Plan, settings: Settings) -> dict[str, int]:
    """max.message.bytes of every topic of the plan and of the bus. Raises BrokerUnavailable."""
    plan = with_bus(plan, settings)
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        found = await _configs(admin, [topic.name for topic in plan.topics])
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)
    return {name: int(config["max.message.bytes"]) for name, config in found.items() if "max.message.bytes" in config}


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for resource in response.resources:
            if resource[0] == TopicAuthorizationFailedError.errno:
                raise TopicAuthorizationFailedError(f"the configuration of {resource[3]} may not be read")
            found[resource[3]] = {entry[0]: entry[1] for entry in resource[4]}
    return found


async def partition_counts(settings: Settings, names: list[str]) -> dict[str, int]:
    """Partitions of those topics that exist. Raises BrokerUnavailable."""
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        return await _existing(admin, names)
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)


async def read_topics(settings: Settings, names: Sequence[str]) -> dict[str, tuple[int, dict[str, str]]]:
    """Partitions and configuration of those topics that exist. Raises BrokerUnavailable, KafkaRefusal."""
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        existing = await _existing(admin, list(names))
        configs = await _configs(admin, list(existing)) if existing else {}
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)
    return {name: (count, configs[name]) for name, count in existing.items()}


async def create_topics(settings: Settings, topics: list[TopicPlan], counts: dict[str, int]) -> None:
    """Create topics that are missing. Raises TopicError, BrokerUnavailable, KafkaRefusal."""
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        await _create(admin, topics, counts, settings.replication_factor)
    except KafkaError as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)


async def broker_count(settings: Settings) -> int | None:
    """How many brokers answer, None when none does within a few seconds."""
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=5_000)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    except KafkaError:
        return None
    finally:
        await disconnect(admin)
