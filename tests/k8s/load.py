"""Events through a Service at a steady rate, and what became of each partition meanwhile."""

import asyncio
import json
import threading
import time
from collections import Counter
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

BATCH = 500
SHOPS, CITIES = 60, 25
_PUBLISHERS = 4
_TICK_S = 0.1
_PATIENCE_S = 120.0


class Load:
    """Publishes sales to a topic until it is told to stop; every request has a key, and is repeated until it is answered.

    Several publishers share the rate, so that one whose worker is gone does not hold the others. `sent` has how often
    which (city, window of `window_ms`) was published, and `total` its amounts.
    """

    def __init__(self, base_url: str, topic: str, rate: int, window_ms: int) -> None:
        self.base_url, self.topic = base_url, topic
        self.count = 0
        self.sent: Counter[tuple[str, int]] = Counter()
        self.total: Counter[tuple[str, int]] = Counter()
        self.repeated = 0
        self._rate, self._window_ms = rate, window_ms
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._taken = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(_PUBLISHERS)]

    def start(self) -> None:
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """End it; what went wrong in it is raised here."""
        self._stop.set()
        for each in self._threads:
            each.join()
        if self._failure is not None:
            raise self._failure

    def publish(self, events: list[dict[str, Any]]) -> str:
        """Publish, whatever happens to workers meanwhile; the token of the position."""
        key, body = f"load-{events[0]['id']}", json.dumps(events)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:  # a connection per request: the Service chooses a worker per connection
                answer = httpx.post(
                    f"{self.base_url}/v1/topics/{self.topic}/events",
                    content=body, headers={"Idempotency-Key": key}, timeout=15,
                )  # fmt: skip
                if answer.status_code == 200:
                    break
                assert answer.status_code in (429, 503), answer.text
                problem: object = answer.text
            except httpx.TransportError as error:
                problem = error
            assert time.monotonic() < deadline, problem
            with self._lock:
                self.repeated += 1
            time.sleep(0.05)
        found = answer.json()
        assert (found["accepted"], found["rejected"]) == (len(events), [])
        with self._lock:
            for event in events:
                at = (event["city"], event["time"] // self._window_ms * self._window_ms)
                self.sent[at] += 1
                self.total[at] += event["amount"]
            self.count += len(events)
        return str(found["token"])

    def batch(self) -> list[dict[str, Any]]:
        """The next events, of now."""
        with self._lock:
            first, self._taken = self._taken, self._taken + BATCH
        now_ms = int(time.time() * 1_000)
        return [
            {"id": i, "time": now_ms, "shop": f"s{i % SHOPS}", "city": f"c{i * 7 % CITIES}", "amount": i % 100}
            for i in range(first, first + BATCH)
        ]

    def _run(self) -> None:
        pause_s = BATCH * _PUBLISHERS / self._rate
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self.publish(self.batch())
                self._stop.wait(max(0.0, pause_s - (time.monotonic() - began)))
        except BaseException as error:
            self._failure = error


class Progress:
    """Samples what a group has committed of a topic, and how long each partition stood still with records waiting."""

    def __init__(self, brokers: str, group: str, topic: str, partitions: int) -> None:
        self._brokers, self._group = brokers, group
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._stop = threading.Event()
        self._gaps: Counter[int] = Counter()
        self._moved: dict[int, float] = {}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def has_moved_since(self, moment: float) -> bool:
        """Whether every partition has committed something, or had nothing to, after a moment of the monotonic clock."""
        return len(self._moved) == len(self._partitions) and min(self._moved.values()) > moment

    def longest_s(self) -> float:
        """The longest time since the last call that a partition stood still."""
        found, self._gaps = self._gaps, Counter()
        return max(found.values(), default=0) / 1_000

    async def _run(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._brokers)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._brokers)
        await admin.start()
        await consumer.start()
        since: dict[TopicPartition, tuple[int, float]] = {}
        try:
            while not self._stop.is_set():
                ends = await consumer.end_offsets(self._partitions)
                found = await admin.list_consumer_group_offsets(self._group, partitions=self._partitions)
                now = time.monotonic()
                for each in self._partitions:
                    position = found[each].offset if each in found else -1
                    last, when = since.get(each, (-2, now))
                    if position != last or position >= ends[each]:
                        since[each] = (position, now)
                        self._moved[each.partition] = now
                    else:
                        gap_ms = int((now - when) * 1_000)
                        self._gaps[each.partition] = max(self._gaps[each.partition], gap_ms)
                await asyncio.sleep(_TICK_S)
        finally:
            await consumer.stop()
            await admin.close()


def read_all(brokers: str, topic: str) -> list[Any]:
    """Values of all committed records of a topic."""

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=brokers, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            found: list[Any] = []
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while any([await consumer.position(each) < end for each, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=500, max_records=20_000)).values():
                    found.extend(json.loads(record.value) for record in records)
            return found
        finally:
            await consumer.stop()

    return asyncio.run(read())
