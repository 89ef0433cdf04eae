"""Table queries over two workers: every answer is whole and of this moment, or is none."""

import asyncio
import time

from streamflow.query.reader import PANES_MAX
from streamflow.web.tables import ASK_S
from tests.web.workers import HOUR_MS, PARTITIONS, TABLE, keys_of, workers


def test_an_answer_has_the_rows_of_both_workers() -> None:
    async def main() -> None:
        async with workers() as (one, two):
            rows = {(0, keys_of(p, 1)[0]): p + 1 for p in range(PARTITIONS)}
            for (start, key), n in rows.items():
                (one, two)[(n - 1) % 2].hold(n - 1, {(start, key): n})
            for asked in (one, two):
                before_ms = int(time.time() * 1_000)
                answer = (await asked.get()).json()
                stale_at_ms = answer["watermark"] + answer["staleness_ms"]
                assert before_ms <= stale_at_ms <= time.time() * 1_000, "how old it is, is said"
                assert {(row["start"], row["key"]): row["value"]["n"] for row in answer["rows"]} == rows
                assert answer["served_by"] == sorted([one.url, two.url])
                lines = (await asked.get(format="csv")).text.splitlines()
                wanted = {f"{key},{start},{start + HOUR_MS},true,{n}" for (start, key), n in rows.items()}
                assert (lines[0], set(lines[1:])) == ("key,start,end,final,n", wanted)
            assert one.asked[0]["partitions"] == "1,3"

    asyncio.run(main())


def test_a_partition_that_has_moved_is_never_left_out() -> None:
    """Partition 1 has left worker two; worker one still believes it is there. 200 without its rows would be wrong."""

    async def main() -> None:
        async with workers() as (one, two):
            two.hold(3, {(0, keys_of(3, 1)[0]): 1})
            del two.stores[1]
            for parameters in ({}, {"key": keys_of(1, 1)[0]}):
                answer = await one.get(**parameters)
                assert (answer.status_code, answer.json()["title"]) == (503, "not_owner")
                assert answer.headers["retry-after"] == "1"
            asked = await two.get(partitions="1,3")
            assert (asked.status_code, asked.json()["title"], asked.json()["partition"]) == (421, "not_owner", 1)

    asyncio.run(main())


def test_a_partition_that_two_workers_have_counts_once() -> None:
    """A worker that still holds a partition that has moved here is asked for its own only."""

    async def main() -> None:
        async with workers() as (one, two):
            key = keys_of(0, 1)[0]
            one.hold(0, {(0, key): 5})
            two.hold(0, {(0, key): 4})
            rows = (await one.get()).json()["rows"]
            assert [(row["key"], row["value"]["n"]) for row in rows] == [(key, 5)]
            twice = (await one.get(TABLE, partitions="0,0")).json()["rows"]
            assert len(twice) == 1, "a partition named twice is one partition"

    asyncio.run(main())


def test_a_partition_that_nobody_has_is_waited_for() -> None:
    async def main() -> None:
        async with workers() as (one, _):
            del one.owners[1]
            answer = await one.get()
            assert (answer.status_code, answer.json()["title"]) == (503, "not_assigned")
            assert answer.json()["error_class"] == "transient"

    asyncio.run(main())


def test_a_rare_key_in_a_long_history_comes_in_short_pages_also_from_afar() -> None:
    """1,500 windows without the key, then one with it: the first page is empty and has a cursor, the second has it."""

    async def main() -> None:
        async with workers() as (one, two):
            rare, other = keys_of(1, 2)
            rows = {(hour * HOUR_MS, other): 1 for hour in range(PANES_MAX + 500)}
            place = ((PANES_MAX + 400) * HOUR_MS, rare)
            two.hold(1, rows | {place: 7})
            first = (await one.get(key=rare)).json()
            assert first["rows"] == []
            second = (await one.get(key=rare, cursor=first["cursor"])).json()
            assert [(row["start"], row["value"]["n"]) for row in second["rows"]] == [(place[0], 7)]
            assert second["cursor"] is None

    asyncio.run(main())


def test_workers_that_do_not_answer_in_time_are_named_and_waited_for_once() -> None:
    """Three workers of which two are slow: one deadline for both, not one each."""

    async def main() -> None:
        async with workers(3) as (one, two, three):
            one.delays_s = {two.url: 30.0, three.url: 30.0}
            began = time.monotonic()
            answer = await one.get()
            assert time.monotonic() - began < ASK_S + 1.5
            body = answer.json()
            assert (answer.status_code, body["title"]) == (503, "owner_unreachable")
            assert answer.headers["retry-after"] == "1"
            assert two.url in body["detail"]
            assert three.url in body["detail"]
            one.delays_s = {}
            assert (await one.get()).status_code == 200
            await three.server.stop()
            gone = await one.get()
            assert (gone.status_code, gone.json()["owner"]) == (503, three.url)

    asyncio.run(main())
