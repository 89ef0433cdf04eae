"""Publishes with a key, without Kafka: what waits is bounded, and ids are nobody else's."""

import asyncio
from pathlib import Path

from streamflow.errors import BrokerUnavailable
from streamflow.model.names import node_problem
from streamflow.plan.planner import make_plan
from streamflow.runtime.keyed_publisher import WAITING_MAX, KeyedPublisher
from streamflow.runtime.record_limits import RecordLimits
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def test_what_waits_for_kafka_is_bounded_and_is_told(root: Path) -> None:
    plan = make_plan(load_topology(root / "topologies" / "readings"))
    counts = {topic.name: 2 for topic in plan.topics}
    source = plan.stages[0].entries[0].topic

    async def limits() -> dict[str, int]:
        return dict.fromkeys(counts, 1 << 20)

    async def main() -> None:
        keyed = KeyedPublisher(plan, load_settings(brokers="127.0.0.1:1"), counts, RecordLimits(limits))
        asked = [
            asyncio.create_task(keyed.publish(source, f"k{number}", b"digest", [(b"k", b"{}")]))
            for number in range(WAITING_MAX)
        ]
        busy = [keyed.is_busy]
        await asyncio.sleep(0)
        busy.append(keyed.is_busy)
        found = await asyncio.gather(*asked, return_exceptions=True)
        busy.append(keyed.is_busy)
        assert {type(each) for each in found} == {BrokerUnavailable}
        assert busy == [False, True, False]
        await keyed.stop()

    asyncio.run(main())


def test_no_stage_and_no_topology_is_called_like_what_ids_are_made_of() -> None:
    """Tasks have sf.APPLICATION.TOPOLOGY.STAGE.PARTITION, and groups APPLICATION.TOPOLOGY: a source may be `publish`."""
    assert all(node_problem(name) for name in ("publish-keys", "bus-sealer"))
