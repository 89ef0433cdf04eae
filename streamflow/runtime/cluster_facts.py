"""Reads what the preflight judges. Changes nothing."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from streamflow.plan.cluster import ClusterFacts, TopicFacts
from streamflow.plan.plan import Plan
from streamflow.runtime.connection import connection, unavailable
from streamflow.runtime.hooks.ending import disconnect
from streamflow.settings.settings import Settings

_TIME_OUT_MS = 10_000
#: Kafka's own topics that transactions and groups need; there after the first use.
INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state")


async def read_cluster(plan: Plan, settings: Settings) -> ClusterFacts:
    """The cluster at `settings.brokers`. Raises BrokerUnavailable when it does not answer within 10 s a request."""
    admin = AIOKafkaAdminClient(**connection(settings), request_timeout_ms=_TIME_OUT_MS)
    try:
        await admin.start()
        return await _read(admin, [topic.name for topic in plan.topics])
    except (KafkaError, TimeoutError) as error:
        raise await unavailable(settings, error) from error
    finally:
        await disconnect(admin)


async def _read(admin: AIOKafkaAdminClient, names: list[str]) -> ClusterFacts:
    brokers = sorted(broker["node_id"] for broker in (await admin.describe_cluster())["brokers"])
    known = set(await admin.list_topics())
    found = [name for name in (*names, *INTERNAL_TOPICS) if name in known]
    described = await admin.describe_topics(found) if found else []
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
    configs: dict[str, dict[str, str]] = {}
    broker = ConfigResource(ConfigResourceType.BROKER, str(brokers[0]))
    for response in await admin.describe_configs([broker, *resources]):
        for _, _, kind, name, entries in response.resources:
            place = name if kind == ConfigResourceType.TOPIC else ""
            configs[place] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    topics = {
        topic["topic"]: TopicFacts(
            tuple(tuple(part["replicas"]) for part in sorted(topic["partitions"], key=lambda each: each["partition"])),
            configs.get(topic["topic"], {}),
        )
        for topic in described
    }
    return ClusterFacts(tuple(brokers), configs.get("", {}), topics)
