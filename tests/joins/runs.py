"""Ways to run a topology of several inputs: chunks, partitions, fused or not, crashes, and what is read first."""

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.joins.model import Event


@dataclass(frozen=True)
class Run:
    """How a topology is run. `order` seeds how the streams are mixed."""

    partitions: int
    chunk_size: int
    fused: bool
    every: int
    order: int
    crashes: tuple[tuple[int, CrashPoint], ...]


RUNS = st.builds(
    Run,
    st.integers(1, 4),
    st.sampled_from([1, 3, 17, 500]),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 1_000),
    st.dictionaries(st.integers(1, 40), st.sampled_from(CrashPoint), max_size=5).map(lambda d: tuple(d.items())),
)


def run(topology: str, streams: dict[str, list[Event]], shape: Run, now_ms: int = 1_000_000) -> Driver:
    """Publish the streams a piece at a time, in an order that the run says, and work in between."""
    driver = Driver(
        make_plan(parse_topology(topology)),
        partitions=shape.partitions,
        chunk_size=shape.chunk_size,
        fused=shape.fused,
        checkpoint_every=shape.every,
    )
    driver.now_ms = now_ms
    driver.crash_at = dict(shape.crashes)
    chance = random.Random(shape.order)
    left = {topic: list(events) for topic, events in streams.items()}
    while any(left.values()):
        topic = chance.choice([topic for topic, events in left.items() if events])
        count = chance.choice([1, 7, 40])
        driver.publish(topic, left[topic][:count])
        del left[topic][:count]
        driver.run()
    return driver


def of_partition(events: list[Event], partition: int, shape: Run, key: str = "k") -> list[Event]:
    """The events of one partition."""
    return [e for e in events if partition_of(str(e[key]).encode(), shape.partitions) == partition]


def late_ids(driver: Driver, topic: str) -> list[Any]:
    """Ids of rows of a late topic, sorted."""
    return sorted(row["id"] for row in driver.output(topic))
