"""Why a window has not closed, asked of real workers: a partition that is behind, one that is empty, one that lags; takeovers."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

_TOPOLOGY = """
topology: {name}
schemas:
  Sale: {{time: timestamp, shop: str, city: str}}
nodes:
  sales:   {{kind: source, topic: {name}.sales, schema: Sale, event_time: time, partitions: 3, idle_after: 600s,
             watermark_delay: 100ms}}
  by_city: {{kind: key_by, input: sales, key: city}}
  totals:  {{kind: window, input: by_city, window: {{type: tumbling, size: 1s}}, aggregate: {{n: count()}}, late: {name}.late}}
  visits:  {{kind: window, input: by_city, window: {{type: session, gap: 1s}}, aggregate: {{n: count()}}}}
  moving:  {{kind: window, input: by_city, window: {{type: sliding, size: 2s}}, aggregate: {{n: count()}}}}
  daily:   {{kind: window, input: by_city, window: {{type: calendar, unit: day, zone: Europe/Berlin}}, aggregate: {{n: count()}}}}
"""
BASE = 1_700_000_000_000


class Shop(Product):
    """Workers of the topology above, and a producer that chooses its partition."""

    def put(self, partition: int, *times: int, city: str = "Rome") -> None:
        """Append events at BASE + times to a partition."""

        async def act() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.kafka)
            await producer.start()
            for each in times:
                value = {"time": BASE + each, "shop": "a", "city": city}
                await producer.send_and_wait(f"{self.name}.sales", json.dumps(value).encode(), partition=partition)
            await producer.stop()

        asyncio.run(act())

    def why(self, number: int = 0, table: str = "totals", window: int = 0, key: str = "Rome") -> dict[str, Any]:
        """The answer of a worker; {} while it has none."""
        path = f"/v1/topologies/{self.name}/tables/{table}/why"
        answer = self.client(number).get(path, params={"key": key, "window": BASE + window})
        assert answer.status_code in (200, 503), answer.text
        return dict(answer.json()) if answer.status_code == 200 else {}

    def watermarks(self) -> dict[tuple[str, int], int]:
        """Of every task that some worker has."""
        found: dict[tuple[str, int], int] = {}
        for number in self.workers:
            for task in self.client(number).get(f"/v1/topologies/{self.name}").json()["tasks"]:
                if task["watermark"] is not None and task["state"] == "running":
                    found[task["stage"], task["partition"]] = task["watermark"]
        return found


def until(holds: Callable[[], Any], within_s: float = 60) -> Any:
    """What `holds` gives once it is true."""
    deadline = time.monotonic() + within_s
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


@pytest.fixture
def make_shop(kafka: str, tmp_path: Path, unique: str) -> Iterator[Callable[[str], Shop]]:
    """Makes one shop, with a changed topology."""
    made: list[Shop] = []

    def make(topology: str = _TOPOLOGY) -> Shop:
        made.append(Shop(kafka, tmp_path, unique, topology))
        return made[0]

    yield make
    for shop in made:
        shop.kill()


def _holders(shop: Shop, wanted: list[tuple[int, str]], **question: Any) -> dict[str, Any]:
    """The answer once these (partition, holding) hold the window."""

    def ask() -> dict[str, Any] | None:
        answer = shop.why(**question)
        held = [(each["partition"], each["holding"]) for each in answer.get("holders", [])]
        return answer if held == wanted else None

    return dict(until(ask))


def test_a_partition_that_is_behind_is_named_until_it_moves(make_shop: Callable[..., Shop]) -> None:
    """Two workers, every kind of window; the one asked need not have the key."""
    shop = make_shop()
    shop.start(0)
    shop.start(1)
    for partition, last in ((0, 5_000), (1, 900), (2, 5_000)):
        shop.put(partition, 100, last)
    for number in (0, 1):
        answer = _holders(shop, [(1, "behind")], number=number)
        (holder,) = answer["holders"]
        assert holder["topic"] == f"{shop.name}.sales"
        assert (holder["last_offset"], holder["last_time_ms"]) == (1, BASE + 900)
        assert holder["needs_event_ms"] == BASE + 1_100
        assert answer["closes_by_at_ms"] == holder["last_active_at_ms"] + 600_000
        assert "sales, partition 1" in " ".join(answer["sentences"])
    for table, end in (("visits", 1_900), ("moving", 2_000)):
        answer = _holders(shop, [(1, "behind")], table=table, window=100)
        assert (answer["status"], answer["target_ms"]) == ("open", BASE + end)
    day = shop.why(table="daily")
    assert (day["window"]["kind"], len(day["holders"])) == ("calendar", 3)
    assert (day["window"]["end_ms"] - day["window"]["start_ms"]) == 24 * 3_600_000
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "streamflow",
            "why",
            shop.name,
            "totals",
            "--key=Rome",
            f"--window={BASE}",
            f"--url=http://127.0.0.1:{shop.ports[0]}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "is open." in done.stdout
    assert "✗ 2023-11-14T22:13:20.800Z" in done.stdout, done.stdout

    shop.put(1, 1_099)
    time.sleep(1)
    assert shop.why()["status"] == "open"
    shop.put(1, 1_100)
    answer = until(lambda: (found := shop.why()).get("status") == "closed" and found)
    assert (answer["window"]["closing"]["cause"], answer["window"]["closing"]["producer"]) == ("mark", 1)
    shop.put(1, 999, 998)
    answer = until(lambda: (found := shop.why()).get("window", {}).get("late", {}).get("count") == 2 and found)
    assert "2 late events of this key" in " ".join(answer["sentences"])
    assert shop.why(key="Oslo")["status"] == "never_existed"


def test_an_empty_partition_is_left_out_when_it_said(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(_TOPOLOGY.replace("idle_after: 600s", "idle_after: 3s"))
    shop.start(0)
    stop = time.monotonic() + 60
    shop.put(0, 100, 5_000)
    shop.put(1, 5_000)
    _holders(shop, [(2, "never_heard")])
    moved = 5_000
    while (answer := shop.why())["status"] in ("open", "awaited"):  # awaited until the row is committed
        moved += 10
        shop.put(0, moved)  # someone stays awake
        shop.put(1, moved)
        promised = answer["closes_by_at_ms"]
        assert time.monotonic() < stop
    closed_at = answer["window"]["closing"]["at_ms"]
    assert answer["window"]["closing"]["cause"] in ("silence", "mark")
    # Not before; how soon afterwards is up to the machine.
    assert promised - 10 <= closed_at < promised + 30_000, (closed_at, promised)


def test_a_producer_that_stands_still_is_seen_by_its_lag(make_shop: Callable[..., Shop]) -> None:
    """The worker with partition 1 is stopped (SIGSTOP): it does not answer, is named, and after a takeover it goes on."""
    shop = make_shop()
    shop.start(0)
    shop.start(1)
    for partition in (0, 1, 2):
        shop.put(partition, 100, 500)
    until(lambda: len(shop.why().get("holders", [])) == 3)
    owners = shop.client(0).get(f"/v1/topologies/{shop.name}").json()["owners"]
    url = {number: f"http://127.0.0.1:{port}" for number, port in shop.ports.items()}
    asked = next(number for number in url if url[number] == owners[f"by_city/{_partition_of('Rome')}"])
    other = 1 - asked
    theirs = [p for p in range(3) if owners[f"sales/{p}"] == url[other]]
    assert theirs, owners
    for partition in (0, 1, 2):
        if partition not in theirs:
            shop.put(partition, 5_000)
    _holders(shop, [(partition, "behind") for partition in theirs], number=asked)
    time.sleep(0.5)  # a transaction that is open when its worker stops would hold the topic for everybody
    shop.workers[other].send_signal(signal.SIGSTOP)
    try:
        answer = _holders(shop, [(partition, "unknown") for partition in theirs], number=asked)
        assert "its worker could not tell" in " ".join(answer["sentences"])
        # The group notices after the session time-out, and the worker that is left takes over.
        _holders(shop, [(partition, "behind") for partition in theirs], number=asked)
        for partition in theirs:
            shop.put(partition, 5_000)
        until(lambda: shop.why(asked).get("status") == "closed")
    finally:
        shop.workers[other].kill()


def _partition_of(key: str) -> int:
    from streamflow.model.partitioner import partition_of

    return partition_of(key.encode(), 3)


def test_the_watermark_never_goes_back_and_goes_on_across_takeovers(make_shop: Callable[..., Shop]) -> None:
    """Workers come, die and stop in order while events flow; every task's watermark only rises, and reaches the end."""
    shop = make_shop()
    shop.start(0)
    seen: dict[tuple[str, int], int] = {}
    acts: list[Callable[[], Any]] = [
        lambda: shop.start(1),
        lambda: shop.stop(0, signal.SIGKILL),
        lambda: shop.start(0),
        lambda: shop.stop(1),
        lambda: shop.start(1),
        lambda: shop.stop(1, signal.SIGKILL),
    ]
    for number, act in enumerate(acts):
        for partition in (0, 1, 2):
            shop.put(partition, 1_000 * number, 1_000 * number + 300)
        act()
        for _ in range(10):
            for place, watermark in shop.watermarks().items():
                assert watermark >= seen.get(place, watermark), place
                seen[place] = watermark
            time.sleep(0.1)
    for partition in (0, 1, 2):
        shop.put(partition, 9_100)
    until(lambda: len(found := shop.watermarks()) == 6 and set(found.values()) == {BASE + 9_000})
    for second in range(len(acts)):
        rows = shop.query(
            "totals", 0, key="Rome", **{"from": BASE + 1_000 * second, "to": BASE + 1_000 * second + 1}
        ).json()
        assert [(row["final"], row["value"]["n"]) for row in rows["rows"]] == [(True, 6)], second


def test_an_open_transaction_of_somebody_else_is_waited_for_and_kills_nobody(
    make_shop: Callable[..., Shop], kafka: str
) -> None:
    """Records are known to be there that nobody may read yet: that is neither idle nor a worker that is stuck."""
    shop = make_shop(_TOPOLOGY.replace("idle_after: 600s", "idle_after: 1s"))
    shop.start(0, STREAMFLOW_STALL_LIMIT_MS="2000")

    async def act() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka, transactional_id=f"{shop.name}.else", transaction_timeout_ms=600_000
        )
        await producer.start()
        async with producer.transaction():
            for each in (100, 300, 6_000):
                value = {"time": BASE + each, "shop": "a", "city": "Rome"}
                await producer.send_and_wait(f"{shop.name}.sales", json.dumps(value).encode(), partition=1)
            moved, enough = 5_000, time.monotonic() + 7  # three times what is stuck
            while time.monotonic() < enough:
                moved += 1
                await asyncio.to_thread(shop.put, 0, moved)
                await asyncio.to_thread(shop.put, 2, moved)
                await asyncio.sleep(0.1)
            answer = await asyncio.to_thread(shop.why)
            assert [(each["partition"], each["holding"]) for each in answer["holders"]] == [(1, "lags")]
        await producer.stop()

    asyncio.run(act())
    assert shop.workers[0].poll() is None
    answer = until(lambda: (found := shop.why()).get("status") == "closed" and found)
    assert answer["window"]["late"]["count"] == 0
    assert shop.query("totals", key="Rome", to=BASE + 1).json()["rows"][0]["value"]["n"] == 2
