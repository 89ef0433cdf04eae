"""Live tables over two workers: what a client has is what a query answers, whatever happened to it meanwhile."""

import asyncio
import random
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from streamflow.state.keys import pane_prefix
from streamflow.web import guard, server_sent_events
from streamflow.web.live import subscription
from streamflow.web.live.hub import LiveLimits
from tests.web.live.mirror import DEADLINE_S, Following, Mirror, following, until
from tests.web.workers import HOUR_MS, PARTITIONS, TABLE, StoredWorker, keys_of, workers

LIVE = TABLE + "/live"
GLOBAL = "/v1/topologies/t/tables/shops/live"


async def answered(worker: StoredWorker, **parameters: Any) -> list[dict[str, Any]]:
    answer = await worker.get(limit=1_000, **parameters)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return sorted(rows, key=lambda row: (row["start"], row["key"]))


def sorted_rows(mirror: Mirror) -> list[dict[str, Any]]:
    return sorted(mirror.rows(), key=lambda row: (row["start"], row["key"]))


def is_at(mirror: Mirror, key: str, n: int | None, start: int = 0) -> Callable[[], bool]:
    """Whether a client has this count of a key."""

    def holds() -> bool:
        found = [row["value"]["n"] for row in mirror.rows() if row["key"] == key and row["start"] == start]
        return found == ([] if n is None else [n])

    return holds


def has_token(client: Following) -> bool:
    """Whether a client could resume."""
    return bool(client.token)


def is_fed(worker: StoredWorker, url: str) -> bool:
    """Whether a worker's feed of partition 0 comes from there ("": from itself)."""
    feed = worker.live._feeds["hourly", 0]
    return feed.live.is_set() and feed.url == url


def test_a_snapshot_and_what_changes_are_the_table_from_either_worker() -> None:
    async def main() -> None:
        chance = random.Random(7)
        async with workers() as both:
            owners = [both[p % 2] for p in range(PARTITIONS)]
            for p in range(PARTITIONS):
                owners[p].commit(p, {(hour * HOUR_MS, key): 1 for key in keys_of(p, 30) for hour in range(3)})
            async with following(both[0].url, LIVE) as one, following(both[1].url, LIVE) as two:
                await one.until(lambda: one.is_complete)
                assert sorted_rows(one.mirror) == await answered(both[0])
                for round_number in range(40):
                    p = chance.randrange(PARTITIONS)
                    rows = {
                        (chance.randrange(4) * HOUR_MS, key): chance.choice((None, chance.randrange(2, 99)))
                        for key in chance.sample(keys_of(p, 40), 5)
                    }
                    owners[p].commit(p, rows)
                    if round_number % 8 == 0:
                        await asyncio.sleep(0.06)
                for p in range(PARTITIONS):
                    owners[p].commit(p, {(0, keys_of(p, 50)[49]): 1_000})
                for each in (one, two):
                    for p in range(PARTITIONS):
                        await each.until(is_at(each.mirror, keys_of(p, 50)[49], 1_000))
                    assert sorted_rows(each.mirror) == await answered(both[0])
                    assert each.mirror.reset_count == PARTITIONS, "one snapshot, deltas ever after"

    asyncio.run(main())


def test_windows_become_final_and_leave_by_retention() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            key = keys_of(0, 1)[0]
            one.watermark_ms = HOUR_MS - 1
            one.commit(0, {(0, key): 1, (HOUR_MS, key): 2})
            async with following(one.url, LIVE) as client:
                await client.until(lambda: client.is_complete)
                assert [row["final"] for row in client.mirror.rows()] == [False, False]
                one.watermark_ms = HOUR_MS
                one.commit(0, {})
                await client.until(lambda: client.mirror.final_to.get(0) == HOUR_MS)
                assert sorted_rows(client.mirror) == await answered(one)
                assert [row["final"] for row in client.mirror.rows()] == [True, False]
                one.commit(0, {}, expire_below=pane_prefix(HOUR_MS))
                await client.until(is_at(client.mirror, key, None))
                assert sorted_rows(client.mirror) == await answered(one)
                assert len(client.mirror.rows()) == 1

    asyncio.run(main())


def test_who_comes_back_gets_what_was_missed_and_nothing_else() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            mine, other = keys_of(0, 2), keys_of(1, 2)
            one.commit(0, {(0, mine[0]): 1, (0, mine[1]): 1})
            two.commit(1, {(0, other[0]): 1, (0, other[1]): 1})
            mirror = Mirror()
            async with following(one.url, LIVE, mirror) as client:
                await client.until(lambda: bool(client.token))
            one.commit(0, {(0, mine[0]): 2})
            two.commit(1, {(0, other[0]): None})
            async with following(one.url, LIVE, mirror, client.token) as again:
                await again.until(is_at(mirror, mine[0], 2))
                await again.until(is_at(mirror, other[0], None))
                assert sorted_rows(mirror) == await answered(one)
                assert (mirror.reset_count, "snapshot" in again.kinds) == (PARTITIONS, False)
                await again.until(lambda: bool(again.token))
            async with following(one.url, LIVE, mirror, again.token, key=mine[0]) as filtered:
                await filtered.until(lambda: filtered.is_complete)  # a token is good for its own filter only

    asyncio.run(main())


@pytest.mark.parametrize("goes_on", [False, True], ids=["unchanged", "with a commit on the way"])
def test_a_partition_that_moves_is_followed_to_where_it_is(goes_on: bool) -> None:
    """The client of either worker stays connected; only what cannot be known is read anew."""

    async def main() -> None:
        async with workers() as (one, two):
            key = keys_of(0, 1)[0]
            one.commit(0, {(0, key): 1})
            async with following(one.url, LIVE) as near, following(two.url, LIVE) as far:
                for client in (near, far):
                    await client.until(is_at(client.mirror, key, 1))
                    await client.until(partial(has_token, client))
                for n, (source, target) in enumerate(((one, two), (two, one)), 2):
                    source.give(0, target)
                    if goes_on:
                        target.commit(0, {(0, key): 10 * n})
                    for worker in (one, two):
                        worker.owners[0] = target.url
                    for client in (near, far):
                        if goes_on:
                            await client.until(is_at(client.mirror, key, 10 * n))
                    for worker in (one, two):
                        url = "" if worker is target else target.url
                        await until(partial(is_fed, worker, url))
                    target.commit(0, {(0, key): n})
                    for client in (near, far):
                        await client.until(is_at(client.mirror, key, n))
                        assert sorted_rows(client.mirror) == await answered(one)
                resets = [client.mirror.reset_count - PARTITIONS for client in (near, far)]
                assert resets == ([2, 2] if goes_on else [0, 0])
            async with following(two.url, LIVE, near.mirror, near.token) as moved:
                await moved.until(lambda: bool(moved.token))
                assert sorted_rows(moved.mirror) == await answered(two)

    asyncio.run(main())


def test_filters() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            key, partition = next(
                (key, p) for p in range(PARTITIONS) for key in keys_of(p, 20) if key.startswith("s1") and len(key) > 2
            )
            owner = (one, two)[partition % 2]
            keys = keys_of(partition, 20)
            between: dict[str, Any] = {"from": HOUR_MS, "to": 2 * HOUR_MS}
            async with (
                following(one.url, LIVE, key=key) as by_key,
                following(one.url, LIVE, prefix="s1") as by_prefix,
                following(one.url, LIVE, **between) as by_time,
                following(one.url, LIVE, snapshot="false") as late,
            ):
                clients = (by_key, by_prefix, by_time, late)
                for client in clients:
                    await client.until(partial(has_token, client))
                owner.commit(partition, {(hour * HOUR_MS, each): 1 for each in keys for hour in range(3)})
                owner.commit(partition, {(HOUR_MS, key): 7})
                for client in clients:
                    await client.until(is_at(client.mirror, key, 7, HOUR_MS))
                assert {row["key"] for row in by_key.mirror.rows()} == {key}
                assert {row["key"] for row in by_prefix.mirror.rows()} == {
                    each for each in keys if each.startswith("s1")
                }
                assert {row["start"] for row in by_time.mirror.rows()} == {HOUR_MS}
                assert {len(client.mirror.rows()) for client in (by_key, by_time, late)} == {3, 20, 60}
            async with following(two.url, LIVE, key=key) as again:
                await again.until(lambda: again.is_complete)
                assert sorted_rows(again.mirror) == await answered(one, key=key)

    asyncio.run(main())


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with workers(live=LiveLimits(client_count=1)) as (one, two):
            for parameters in (
                {"key": ""},
                {"from": "soon"},
                {"resume": "junk!"},
                {"resume": "AAAA"},
                {"partitions": "x"},
                {"every_ms": "-1"},
            ):
                answer = await one.get(LIVE, **parameters)
                assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), (
                    parameters
                )
            assert (await one.get(GLOBAL)).json()["title"] == "not_live"
            assert (await one.get("/v1/topologies/t/tables/nope/live")).status_code == 404
            assert (await one.get(LIVE, partitions="1")).json()["title"] == "not_owner"
            async with following(one.url, LIVE) as client:
                await client.until(lambda: client.is_complete)
                monkeypatch.setattr(guard, "REQUESTS_AT_ONCE", 1)  # a stream is none of them
                refused = await one.get(LIVE)
                assert (refused.status_code, refused.json()["title"], refused.headers["retry-after"]) == (
                    503,
                    "too_many_clients",
                    "5",
                )
                async with following(two.url, LIVE) as elsewhere:
                    await elsewhere.until(lambda: elsewhere.is_complete)  # workers have seats of their own
            await until(lambda: one.live.seats.taken_count == 0)
            async with following(one.url, LIVE) as client:
                await client.until(lambda: client.is_complete)
                await one.live.stop()
                await client.until(client.ended.is_set)
                assert client.bye == "stopping"

    asyncio.run(main())


def test_a_partition_that_nobody_has_is_waited_for_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "_WAIT_S", 0.5)

    async def main() -> None:
        async with workers() as (one, _):
            del one.owners[1]
            answer = await one.get(LIVE)
            assert (answer.status_code, answer.json()["title"], answer.json()["partition"]) == (503, "not_assigned", 1)
            assert one.live.seats.taken_count == 0

    asyncio.run(main())


def test_a_reader_that_stalls_gets_the_latest_or_is_sent_away_and_holds_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_sent_events, "WRITE_S", 1.0)

    async def main() -> None:
        async with workers(1) as (one,):
            keys = keys_of(0, 200)
            with socket.socket() as stalled:
                stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                stalled.connect(("127.0.0.1", int(one.url.rpartition(":")[2])))
                stalled.sendall(f"GET {LIVE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                async with following(one.url, LIVE) as quick:
                    await quick.until(lambda: quick.is_complete)
                    boxes: list[int] = []
                    number = 0
                    async with asyncio.timeout(DEADLINE_S):
                        while one.live.seats.taken_count == 2 or number == 0:
                            number += 1
                            one.commit(0, {(0, key): number for key in keys})
                            found = [
                                each._outbox
                                for feed in one.live._feeds.values()
                                for each in feed.followers
                                if isinstance(each, subscription.Subscription)
                            ]
                            boxes += [len(each._items) for each in found]
                            await asyncio.sleep(0.002)
                    assert max(boxes) <= len(keys), "the latest per key"
                    await quick.until(is_at(quick.mirror, keys[0], number))
                    assert sorted_rows(quick.mirror) == await answered(one)

    asyncio.run(main())
