"""Every way in which an event can fail, on a real Kafka: what arrives where, once, and with which context.

One worker, killed in the middle. What is not here: models (tests/inference), results that their topic does not
take (test_worker), what is late, and letters that are sent again (test_letters).
"""

import asyncio
import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.calls.server import Server, serving
from tests.system.test_letters import _read
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

_TOPOLOGY = """
topology: {{name}}
schemas:
  Event: {{{{time: timestamp, id: int, shop: str, what: str, n: int, label: "str?", big: int, list: json, item: str}}}}
  Item: {{{{item: str, price: int}}}}
nodes:
  events: {{{{kind: source, topic: {{name}}.events, schema: Event, event_time: time, key: shop, partitions: 1, past: {{{{limit: 1d}}}}}}}}
  items:  {{{{kind: global_table, topic: {{name}}.items, schema: Item, key: item, partitions: 1}}}}
  share:   {{{{kind: map, input: events, set: {{{{share: 100 // n}}}}}}}}
  priced:  {{{{kind: lookup, input: share, table: items, key: item, missing: dead_letter}}}}
  checked:
    {{{{kind: python, input: priced, call: "{{name}}_nodes:checked", resilience: {{{{retry: {{{{attempts: 2}}}}}}}}}}}}
  asked:
    kind: http_request
    input: checked
    url: "{url}/{{{{what}}}}/{{{{id}}}}"
    response: {{{{double: int}}}}
    resilience: {{{{timeout: 1s, retry: {{{{attempts: 2, base: 10ms}}}}}}}}
  kept:   {{{{kind: sql_sink, input: asked, url_env: KEPT_URL, table: kept, create: false, roll_every: 50ms}}}}
  full:   {{{{kind: process, input: events, call: "{{name}}_nodes:Full"}}}}
  each:   {{{{kind: flat_map, input: events, list: list, into: part, type: int}}}}
  parts:  {{{{kind: sink, input: each, topic: {{name}}.parts}}}}
  label:  {{{{kind: key_by, input: events, key: label}}}}
  sums:
    {{{{kind: window, input: label, window: {{{{type: tumbling, size: 1s}}}}, aggregate: {{{{big: sum(big)}}}}}}}}
"""
_MODULE = """
from streamflow.kit import List, Process, Row, Time


class Checked(Row):
    time: Time
    id: int
    what: str


class Event(Row):
    what: str


def checked(row: Checked) -> Checked:
    if row.what == "raises":
        raise ValueError("not this one")
    if row.what == "cut":
        raise ConnectionError("cut off")
    return Checked(row.time, row.id, row.what)


class Full(Process):
    seen = List(int, max_entries=2)

    def process(self, row: Event) -> None:
        if row.what == "full":
            self.seen.append(1)
"""
_NOW_MS = int(time.time() * 1_000) // 1_000 * 1_000
#: What is wrong with an event, and (node, reason, class, attempts of its call) of its letter.
_PATHS: dict[str, tuple[dict[str, Any], tuple[str, str, str, str]]] = {
    "ahead": ({"time": _NOW_MS + 2 * 86_400_000}, ("events", "event_time_ahead", "permanent", "")),
    "behind": ({"time": 1}, ("events", "event_time_behind", "permanent", "")),
    "division": ({"n": 0}, ("share", "expression", "permanent", "")),
    "unknown item": ({"item": "none"}, ("priced", "missing_row", "permanent", "")),
    "raised": ({"what": "raises"}, ("checked", "process", "permanent", "1")),
    "cut off": ({"what": "cut"}, ("checked", "unreachable", "transient", "2")),
    "404": ({"what": "status/404"}, ("asked", "status", "permanent", "1")),
    "500": ({"what": "status/500"}, ("asked", "status", "transient", "2")),
    "429": ({"what": "status/429"}, ("asked", "status", "transient", "2")),
    "hangs": ({"what": "hang"}, ("asked", "timeout", "transient", "2")),
    "resets": ({"what": "reset"}, ("asked", "unreachable", "transient", "2")),
    "no JSON": ({"what": "text"}, ("asked", "response", "permanent", "1")),
    "no host": ({"what": ".."}, ("asked", "url", "user", "0")),
    "refused": ({"what": "ok", "id": 50}, ("kept", "refused", "permanent", "")),
    "no list": ({"list": ["x"]}, ("each", "elements", "permanent", "")),
    "no key": ({"label": None}, ("label", "null_key", "permanent", "")),
    "huge key": ({"label": "x" * 20_000}, ("label", "too_large", "permanent", "")),
}


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str, server: Server) -> Iterator[Product]:
    (tmp_path / f"{unique}_nodes.py").write_text(_MODULE)
    made = Product(kafka, tmp_path, unique, _TOPOLOGY.format(url=server.url))
    yield made
    made.kill()


def _event(number: int, at_ms: int, **wrong: Any) -> bytes:
    fine = {"shop": "a", "what": "ok", "n": 1, "label": "l", "big": 1, "list": [1], "item": "known"}
    return json.dumps({"time": at_ms, "id": number, **fine, **wrong}).encode()


def _round(first: int, at_ms: int, full: int) -> list[bytes]:
    """Each failure once, a good event behind each, and so many entries of a list that takes two."""
    events = [b"no JSON %d" % first]
    for place, (wrong, _) in enumerate(_PATHS.values()):
        events += [_event(first + place, at_ms, **wrong), _event(first + 60 + place, at_ms)]
    return events + [_event(first + 90 + place, at_ms, what="full") for place in range(full)]


async def _write(kafka: str, topic: str, values: list[bytes], key: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for value in values:
        await producer.send(topic, value, key=key, headers=[("trace", b"\x01")])
    await producer.flush()
    await producer.stop()


def _eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within a minute."""
    deadline = time.monotonic() + 60
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _letters(kafka: str, name: str) -> list[tuple[dict[str, str], bytes]]:
    """Headers and value of every letter."""
    records = _read(kafka, f"{name}.dead_letters")
    return [({key: value.decode() for key, value in each.headers}, each.value or b"") for each in records]


def _kept(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "kept.db", timeout=30) as database:
        return [number for (number,) in database.execute("SELECT id FROM kept")]


def test_every_failure_is_a_letter_once_and_says_where_and_why(product: Product, kafka: str, tmp_path: Path) -> None:
    name, source = product.name, f"{product.name}.events"
    with sqlite3.connect(tmp_path / "kept.db") as database:
        database.execute("CREATE TABLE kept (time, id CHECK (id != 50), what, double)")
    environment = {"STREAMFLOW_OUTBOUND_NETWORKS": "127.0.0.0/8", "KEPT_URL": f"sqlite:///{tmp_path / 'kept.db'}"}
    product.start(0, **environment)
    asyncio.run(_write(kafka, f"{name}.items", [b'{"item": "known", "price": 1}'], b"known"))
    assert _eventually(lambda: product.query("items", key="known").status_code == 200)
    too_much = [_event(500 + place, _NOW_MS, label="sum", big=2**62) for place in range(2)]
    asyncio.run(_write(kafka, source, [*too_much, *_round(1_000, _NOW_MS, 3)], b"a"))
    assert _eventually(lambda: len(_letters(kafka, name)) >= 8)
    assert product.stop(0, signal.SIGKILL) != 0
    second = [*_round(2_000, _NOW_MS + 10_000, 1), _event(600, _NOW_MS + 60_000)]
    asyncio.run(_write(kafka, source, second, b"a"))
    product.start(0, **environment)

    expected = Counter(letter for _, letter in _PATHS.values() for _ in range(2))
    expected |= {("events", "decode", "permanent", ""): 2, ("full", "state_full", "permanent", ""): 2}
    expected |= {("sums", "overflow", "permanent", ""): 1}
    _eventually(lambda: len(_letters(kafka, name)) >= expected.total())
    reaches = {"each", "label"}  # beside the way to the database
    good = [500, 501, 600, 1_090, 1_091, 1_092, 2_090]
    for place, (_, (node, *_)) in enumerate(_PATHS.values()):
        good += [first + 60 + place for first in (1_000, 2_000)]
        good += [first + place for first in (1_000, 2_000) if node in reaches]
    _eventually(lambda: len(_kept(tmp_path)) >= len(good))
    assert product.stop(0) == 0

    letters = _letters(kafka, name)
    found = Counter((h["sf-node"], h["sf-reason"], h["sf-class"], h.get("sf-calls", "")) for h, _ in letters)
    assert found == expected, (found - expected, expected - found)
    assert sorted(_kept(tmp_path)) == sorted(good)
    records = {
        topic: {each.offset: each for each in _read(kafka, topic)}
        for topic in {h.get("sf-topic") for h, _ in letters}
        if topic
    }
    for headers, value in letters:
        assert headers["sf-attempts" if "sf-topic" in headers else "sf-node"] in ("1", "sums")
        assert headers["sf-error"]
        assert headers["sf-version"] == "1"
        if "sf-topic" in headers:
            record = records[headers["sf-topic"]][int(headers["sf-offset"])]
            assert record.value == value
            assert ("trace" in headers) == (headers["sf-topic"] == source)
    assert {h["sf-topic"] for h, _ in letters if h["sf-node"] == "asked"} == {f"{name}.asked.queue"}
    assert {h["sf-topic"] for h, _ in letters if h["sf-node"] == "kept"} == {f"{name}.kept.feed"}
    assert {h["sf-status"] for h, _ in letters if h["sf-reason"] == "status"} == {"404", "500", "429"}
