"""Some queries on a real Kafka, as bounded runs of two processes: the same rows as DuckDB."""

import asyncio
from pathlib import Path

import pytest

from bench.nexmark import AuctionHouse
from topologies.nexmark.reference import Reference

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]


def test_queries_on_kafka_give_what_duckdb_gives(kafka: str, tmp_path: Path, unique: str) -> None:
    """Joins, a process with timers, windows over windows, and the broker's clock."""
    house = AuctionHouse(kafka, tmp_path)
    asyncio.run(house.open(20_000, 1_000, 1_000, lambda count: None))
    reference = Reference(tmp_path)
    for query in ("q4", "q5", "q8", "q12"):
        run = house.run(query, unique, "--processes", "2")
        assert run.report["completed"]
        assert run.report["dead_letters"] == {}
        compared = reference.compare(query, asyncio.run(house.results(query, unique)))
        assert compared.expected > 2, query
        assert (compared.missing, compared.extra) == (0, 0), query
