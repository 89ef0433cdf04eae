"""Where a round begins, on a real Kafka, without the workers of any."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from streamflow.cli.runs import round_of
from streamflow.errors import StateMismatch
from streamflow.plan.plan import Plan
from streamflow.runtime.rounds import begin_round, end_round, last_round
from streamflow.settings.settings import load_settings
from streamflow.topology.yaml_file import parse_topology

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

_TOPOLOGY = """
topology: {name}
schemas: {{A: {{t: timestamp, k: str}}}}
nodes:
  rows: {{kind: source, topic: {name}.rows, schema: A, event_time: t, key: k, partitions: 1}}
  out:  {{kind: sink, input: rows, topic: {name}.out}}
"""


def test_partitions_that_a_source_gets_between_two_rounds_are_read_from_their_beginning(
    kafka: str, tmp_path: Path, unique: str
) -> None:
    spec, settings = parse_topology(_TOPOLOGY.format(name=unique)), load_settings(brokers=kafka, state_dir=tmp_path)
    topic = f"{unique}.rows"

    def plan_of(number: int) -> Plan:
        return round_of("daily", number).plan(spec)

    async def widen(count: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_partitions({topic: NewPartitions(count)})
        await admin.delete_topics([f"{unique}.publish_keys"])  # which has as many, and is refused otherwise
        await admin.close()

    async def act() -> None:
        first = await begin_round(plan_of, settings, None, None, None)
        await end_round(first, settings)
        await widen(2)
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        for partition in range(2):
            await producer.send_and_wait(topic, b"{}", partition=partition)
        await producer.stop()
        last = await last_round(plan_of, settings)
        assert last is not None
        assert last.record.is_over
        second = await begin_round(plan_of, settings, last, None, None)
        assert second.record.starts == {(topic, 0): 0, (topic, 1): 0}
        assert second.record.ends == {(topic, 0): 1, (topic, 1): 1}
        # One that is under way has its tasks already.
        await widen(3)
        with pytest.raises(StateMismatch, match="other partitions than when the run began"):
            await last_round(plan_of, settings)

    asyncio.run(act())
