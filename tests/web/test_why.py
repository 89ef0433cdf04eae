"""Why, over two workers: the key's owner answers, asks the others, and always has an answer in time."""

import asyncio
import time
from typing import Any

from streamflow.engine.history import History
from streamflow.plan.planner import make_plan
from streamflow.query.standing import Closing, EntryStanding, ProducerStanding, TaskStanding
from streamflow.topology.yaml_file import parse_topology
from tests.web.workers import HOUR_MS, PARTITIONS, StoredWorker, keys_of, workers

WHY = "/v1/topologies/t/tables/hourly/why"
PLAN = make_plan(
    parse_topology("""
topology: t
schemas: {Sale: {time: timestamp, shop: str, city: str}}
nodes:
  sales: {kind: source, topic: t.sales, schema: Sale, event_time: time, key: shop}
  by_city: {kind: key_by, input: sales, key: city}
  hourly: {kind: window, input: by_city, window: {type: tumbling, size: 1h}, aggregate: {n: count()}}
  five: {kind: window, input: by_city, window: {type: count, size: 5}, aggregate: {n: count()}}
""")
)


def _standing(worker: StoredWorker, stage: str, partition: int, times: list[int | None]) -> None:
    """A task on a worker: the source's partition at times[partition], or the reader of all of them."""
    reads = stage == "by_city"
    known = [each for each in times if each is not None]
    low = min(known) if len(known) == len(times) else None
    watermark = low if reads else times[partition]
    entry = EntryStanding(
        node=stage,
        topic="t.by_city" if reads else "t.sales",
        watermark_ms=watermark,
        idle=False,
        idle_after_ms=10_000,
        settled=True,
        settled_at_ms=0,
        position=10,
        end=10,
        high_ms=None if reads else watermark,
        last_active_at_ms=1_000,
        producer_stage="sales" if reads else "",
        producers=tuple(ProducerStanding(n, t, False) for n, t in enumerate(times)) if reads else (),
    )
    worker.standings[stage, partition] = TaskStanding(
        stage, partition, worker.url, 2_000, watermark, False, True, 0, 10_000, (entry,)
    )
    worker.histories[stage, partition] = History(1_000, 0)


def _deal(made: list[StoredWorker], times: list[int | None]) -> None:
    for worker in made:
        worker.plan = PLAN
    for partition in range(PARTITIONS):
        for stage in ("by_city", "sales"):
            _standing(made[partition % len(made)], stage, partition, times)


async def _ask(worker: StoredWorker, **parameters: Any) -> dict[str, Any]:
    answer = await worker.get(WHY, **parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_owner_answers_from_wherever_it_is_asked() -> None:
    """Partition 3 of the source is on worker two, and behind; the key is on worker one or two."""

    async def main() -> None:
        async with workers() as made:
            _deal(made, [2 * HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS, 1_800_000])
            for partition in range(PARTITIONS):
                key = keys_of(partition, 1)[0]
                made[partition % 2].hold(partition, {(0, key): 1})
                for asked in made:
                    body = await _ask(asked, key=key, window="0")
                    assert (body["status"], body["target_ms"]) == ("open", HOUR_MS)
                    (holder,) = body["holders"]
                    assert (holder["topic"], holder["partition"], holder["worker"]) == ("t.sales", 3, made[1].url)
                    assert holder["needs_event_ms"] == HOUR_MS
                    assert any("t.sales, partition 3" in sentence for sentence in body["sentences"])
                    assert "sales/3" in body["picture"]
                    assert body["window"]["key"] == key

    asyncio.run(main())


def test_without_a_moment_it_is_the_first_open_window() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            _deal([one, two], [0, 0, 0, 0])
            one.watermark_ms = 0
            key = keys_of(0, 1)[0]
            assert (await one.get(WHY, key=key)).status_code == 404
            one.hold(0, {(3 * HOUR_MS, key): 1, (5 * HOUR_MS, key): 1})
            assert (await _ask(two, key=key))["window"]["start_ms"] == 3 * HOUR_MS

    asyncio.run(main())


def test_closed_windows_say_what_closed_them_and_who_was_late() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            _deal([one, two], [2 * HOUR_MS] * 4)
            key = keys_of(0, 1)[0]
            one.hold(0, {(0, key): 1})
            history = one.histories["by_city", 0]
            history.closed(Closing(HOUR_MS, 1_500, "mark", "by_city", "t.by_city", 2))
            history.was_late(0, key, 5)
            history.was_late(0, key, HOUR_MS + 5)
            body = await _ask(two, key=key, window="1970-01-01T00:30:00Z")
            assert (body["status"], body["window"]["late"]["count"]) == ("closed", 1)
            assert body["window"]["closing"]["producer"] == 2
            assert body["holders"] == []

    asyncio.run(main())


def test_a_worker_that_is_gone_or_slow_is_named_within_the_deadline() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            _deal([one, two], [2 * HOUR_MS, 0, 2 * HOUR_MS, 0])
            key = keys_of(0, 1)[0]
            one.hold(0, {(0, key): 1})
            one.owners[1] = "http://127.0.0.1:9"
            del one.owners[3]
            began = time.monotonic()
            body = await _ask(one, key=key, window="0")
            assert time.monotonic() - began < 15
            assert [holder["holding"] for holder in body["holders"]] == ["unknown", "unknown"]
            text = " ".join(body["sentences"])
            assert "its worker could not tell" in text
            assert "being assigned" in text

            async with await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0) as silent:
                one.owners[1] = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
                began = time.monotonic()
                body = await _ask(one, key=key, window="0")
                assert time.monotonic() - began < 15
            assert "no answer within 1.5 s" in " ".join(body["sentences"])

    asyncio.run(main())


def test_what_is_refused() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            _deal([one, two], [0] * 4)
            for status, path, parameters in (
                (404, "/v1/topologies/t/tables/nope/why", {"key": "a"}),
                (404, "/v1/topologies/x/tables/hourly/why", {"key": "a"}),
                (422, WHY, {}),
                (422, WHY, {"key": ""}),
                (422, WHY, {"key": "a", "window": "soon"}),
                (422, "/v1/topologies/t/tables/five/why", {"key": "a"}),
                (422, "/v1/topologies/t/standings", {"tasks": "sales"}),
                (404, "/v1/topologies/x/standings", {"tasks": "sales/0"}),
            ):
                answer = await one.get(path, **parameters)
                assert answer.status_code == status, (path, parameters, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
            key = keys_of(1, 1)[0]
            one.owners[1] = "http://127.0.0.1:9"
            assert (await one.get(WHY, key=key, window="0")).status_code == 503
            gone = (await one.get("/v1/topologies/t/standings", tasks="sales/1")).json()["standings"][0]
            assert gone["missing"]

    asyncio.run(main())
