"""From an event's append to the bus to its delivery at clients that follow it, while everything else goes on.

The moment is taken before the append is asked for, so that the way to Kafka and back is in it.
"""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field

import orjson
from aiokafka import AIOKafkaProducer
from websockets.asyncio.client import connect

from bench.plain_http import Connection
from streamflow.bus.event import HEADERS, new_event
from streamflow.bus.event_types import EventType
from streamflow.bus.topics import events_topic
from streamflow.settings.settings import load_settings
from streamflow.web.server_sent_events import read_events

#: Events a second, each of another node, so that they go to all partitions.
_PER_S = 50


@dataclass
class BusWaits:
    """Seconds from append to delivery, by client and number of the event. `sent`: when each was to be appended."""

    sent: list[float] = field(default_factory=list)
    shown: dict[str, dict[int, float]] = field(default_factory=lambda: {"SSE": {}, "WebSocket": {}})

    def show(self, client: str, events: list[dict[str, object]]) -> None:
        """A client was given events."""
        now = time.perf_counter()
        for event in events:
            number = event["data"]["number"]  # type: ignore[index]
            self.shown[client].setdefault(number, now - self.sent[number])

    def lines(self, warm_up_s: int) -> list[str]:
        """A table of them."""
        rows = ["| client | p50 ms | p99 ms | events | missing |", "| --- | --- | --- | --- | --- |"]
        first = warm_up_s * _PER_S
        for client, shown in self.shown.items():
            kept = [wait_s for number, wait_s in shown.items() if number >= first]
            cuts = statistics.quantiles(kept, n=100)
            missing = len(self.sent) - first - len(kept)
            rows.append(f"| {client} | {cuts[49] * 1e3:.0f} | {cuts[98] * 1e3:.0f} | {len(kept):,} | {missing} |")
        return rows


async def append(bootstrap: str, topology: str, seconds: int, waits: BusWaits) -> None:
    """Append events of a topology for so long."""
    topic = events_topic(load_settings(brokers=bootstrap))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0, acks="all")
    await producer.start()
    started = time.perf_counter()
    for number in range(seconds * _PER_S):
        await asyncio.sleep(max(0.0, started + number / _PER_S - time.perf_counter()))
        subject = f"{topology}/node{number % 16}"
        event = new_event("bench", EventType.ERROR_OCCURRED, subject, "", {"number": number})
        waits.sent.append(time.perf_counter())
        await producer.send(topic, event.encode(), subject.encode(), headers=list(HEADERS))
    await producer.stop()


async def by_events(port: int, topology: str, waits: BusWaits) -> None:
    """A client of server-sent events."""
    path = f"/v1/events/stream?topology={topology}&type={EventType.ERROR_OCCURRED.value}"
    async for event in read_events(Connection(port).lines(path)):
        if event.event == EventType.ERROR_OCCURRED.value:
            waits.show("SSE", [orjson.loads(event.data)])


async def by_socket(port: int, topology: str, waits: BusWaits) -> None:
    """A client of a WebSocket."""
    async with connect(f"ws://127.0.0.1:{port}/v1/ws", max_size=None, compression=None) as socket:
        wanted = {"topology": topology, "types": [EventType.ERROR_OCCURRED.value]}
        await socket.send(json.dumps({"type": "subscribe_events", "id": "e", **wanted}))
        async for text in socket:
            waits.show("WebSocket", orjson.loads(text).get("events", []))
