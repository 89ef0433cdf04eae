"""Every query gives, row by row, what DuckDB gives over the same events, in several shapes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.load import load_topology
from topologies.nexmark.events import START_MS, TOPICS, Event, events
from topologies.nexmark.reference import FOLDER, QUERIES, Reference

#: 25 s of event time, so that windows close on the way.
_EVENTS, _RATE_PER_S = 10_000, 400
#: Events of one record time; the broker's clock goes on 2.5 s with each.
_BATCH = 1_000


@dataclass(frozen=True)
class Shape:
    """How a query is run; `disorder` as the generator takes it, within the four seconds that sources allow."""

    disorder: int
    partitions: int
    chunk_size: int
    fused: bool
    crashes: bool


SHAPES = {
    "in order": Shape(1, 1, 1_000, True, False),
    "disorder": Shape(1_000, 3, 37, True, False),
    "crashes": Shape(500, 2, 100, False, True),
}


@dataclass(frozen=True)
class Feed:
    """Batches of events, and the reference over them."""

    batches: list[list[tuple[str, Event]]]
    reference: Reference


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture(scope="module")
def feed(shape: Shape, tmp_path_factory: pytest.TempPathFactory) -> Feed:
    made = list(events(_EVENTS, rate_per_s=_RATE_PER_S, disorder_count=shape.disorder))
    folder: Path = tmp_path_factory.mktemp("events")
    for wanted in TOPICS:
        lines = (
            orjson.dumps({**event, "appended": _appended_ms(number // _BATCH)})
            for number, (topic, event) in enumerate(made)
            if topic == wanted
        )
        (folder / wanted).write_bytes(b"\n".join(lines))
    return Feed([made[start : start + _BATCH] for start in range(0, _EVENTS, _BATCH)], Reference(folder))


def _appended_ms(batch: int) -> int:
    return START_MS + 1_000 + batch * _BATCH * 1_000 // _RATE_PER_S


def _run(query: str, feed: Feed, shape: Shape) -> Driver:
    plan = bounded(make_plan(load_topology(FOLDER / f"{query}.yaml")))
    driver = Driver(plan, partitions=shape.partitions, chunk_size=shape.chunk_size, fused=shape.fused)
    if shape.crashes:
        driver.crash_at = {3: CrashPoint.BEFORE_COMMIT, 8: CrashPoint.BEFORE_STORE, 13: CrashPoint.BEFORE_COMMIT}
    for number, batch in enumerate(feed.batches):
        driver.now_ms = _appended_ms(number)
        for topic in driver.log.partition_counts.keys() & TOPICS.keys():
            driver.publish(topic, (event for name, event in batch if name == topic), key=TOPICS[topic])
        if number < len(feed.batches) - 1:
            driver.run()
    driver.finish()
    return driver


def _results(driver: Driver, query: str) -> Iterator[bytes]:
    return (record.value for record in driver.records(f"nexmark.{query}") if record.value is not None)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_gives_what_duckdb_gives(query: str, feed: Feed, shape: Shape) -> None:
    driver = _run(query, feed, shape)
    compared = feed.reference.compare(query, _results(driver, query))
    assert driver.dead_letters() == []
    assert compared.expected > 2, "the events ask for something"
    assert (compared.missing, compared.extra) == (0, 0)


def test_the_comparison_notices_what_is_missing_wrong_or_there_twice(feed: Feed, shape: Shape) -> None:
    rows = list(_results(_run("q2", feed, shape), "q2"))
    wrong = orjson.dumps({**orjson.loads(rows[0]), "price": 1})
    compared = feed.reference.compare("q2", rows[1:])
    assert (compared.missing, compared.extra) == (1, 0)
    compared = feed.reference.compare("q2", [*rows, rows[0]])
    assert (compared.missing, compared.extra) == (0, 1)
    compared = feed.reference.compare("q2", [wrong, *rows[1:]])
    assert (compared.missing, compared.extra) == (1, 1)
