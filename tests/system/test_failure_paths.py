"""Every way in which an event can fail, on a real Kafka: what arrives where, once, and with which context.

One worker, killed in the middle. What is not here: results that their topic does not take (test_worker), what is late,
and letters that are sent again (test_letters).
"""

import asyncio
import json
import os
import signal
import sqlite3
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streamflow.inference.card import InputType, ModelCard, ModelInput, Task
from streamflow.inference.files import ModelFiles
from streamflow.runtime.model_registry import add_card
from streamflow.settings.settings import load_settings
from tests.calls.server import Server, serving
from tests.secured import Authority
from tests.system.test_letters import _read
from tests.system.test_worker import Product

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

_TOPOLOGY = """
topology: {{name}}
schemas:
  Event: {{{{time: timestamp, id: int, shop: str, what: str, n: int, label: "str?", big: int, list: json, item: str, side: str, text: "str?", vec: "json?"}}}}
  Item: {{{{item: str, price: int}}}}
nodes:
  events: {{{{kind: source, topic: {{name}}.events, schema: Event, event_time: time, key: shop, partitions: 1, past: {{{{limit: 1d}}}}}}}}
  items:  {{{{kind: global_table, topic: {{name}}.items, schema: Item, key: item, partitions: 1}}}}
  main:    {{{{kind: filter, input: events, where: side == ""}}}}
  share:   {{{{kind: map, input: main, set: {{{{share: 100 // n}}}}}}}}
  priced:  {{{{kind: lookup, input: share, table: items, key: item, missing: dead_letter}}}}
  checked:
    {{{{kind: python, input: priced, call: "{{name}}_nodes:checked", resilience: {{{{retry: {{{{attempts: 2}}}}}}}}}}}}
  asked:
    kind: http_request
    input: checked
    url: "{url}/{{{{what}}}}/{{{{id}}}}"
    response: {{{{double: int}}}}
    resilience: {{{{timeout: 4s, retry: {{{{attempts: 2, base: 10ms}}}}}}}}
  kept:   {{{{kind: sql_sink, input: asked, url_env: KEPT_URL, table: kept, create: false, roll_every: 50ms}}}}
  full:   {{{{kind: process, input: events, call: "{{name}}_nodes:Full"}}}}
  each:   {{{{kind: flat_map, input: events, list: list, into: part, type: int}}}}
  parts:  {{{{kind: sink, input: each, topic: {{name}}.parts}}}}
  label:  {{{{kind: key_by, input: events, key: label}}}}
  sums:
    {{{{kind: window, input: label, window: {{{{type: tumbling, size: 1s}}}}, aggregate: {{{{big: sum(big)}}}}}}}}
  # One way to fail each, off the main way, for events of this `side`.
  deep_in: {{{{kind: filter, input: events, where: side == "deep"}}}}
  deep:    {{{{kind: map, input: deep_in, set: {{{{found: "at(list, 'x.y')"}}}}}}}}
  deep_to: {{{{kind: sink, input: deep, topic: {{name}}.deep}}}}
  few_in:  {{{{kind: filter, input: events, where: side == "few"}}}}
  few:
    {{{{kind: window, input: few_in, window: {{{{type: tumbling, size: 1s}}}}, aggregate: {{{{n: count()}}}}, max_open_per_key: 1, allowed_lateness: 5s}}}}
  long_in: {{{{kind: filter, input: events, where: side == "long"}}}}
  long:
    {{{{kind: window, input: long_in, window: {{{{type: tumbling, size: 1s}}}}, aggregate: {{{{said: last(text)}}}}}}}}
  own_in:  {{{{kind: filter, input: events, where: side == "own"}}}}
  own:
    {{{{kind: window, input: own_in, window: {{{{type: tumbling, size: 1s}}}}, aggregate: {{{{said: failing(big)}}}}}}}}
  rows:    {{{{kind: filter, input: events, where: side == "rows"}}}}
  half:    {{{{kind: filter, input: events, where: side == "half"}}}}
  never:   {{{{kind: filter, input: events, where: side == "never"}}}}
  pairs:   {{{{kind: join, inputs: [rows, never], within: 1s, max_rows: 1, fields: {{{{r: rows.id, n: never.id}}}}}}}}
  paired:  {{{{kind: sink, input: pairs, topic: {{name}}.paired}}}}
  whole:
    {{{{kind: combine, inputs: [half, never], timeout: 1s, incomplete: {{name}}.incomplete, fields: {{{{h: half.id, n: never.id}}}}}}}}
  whole_to: {{{{kind: sink, input: whole, topic: {{name}}.whole}}}}
  gate_in: {{{{kind: filter, input: events, where: side == "gate"}}}}
  gate:    {{{{kind: approval, input: gate_in, max_parked: 1}}}}
  agreed:  {{{{kind: sink, input: gate.approved, topic: {{name}}.agreed}}}}
  score:   {{{{kind: filter, input: events, where: side == "score"}}}}
  scored:  {{{{kind: model, input: score, model: m, task: regression, features: [vec], registry: {{name}}.models}}}}
  scores:  {{{{kind: sink, input: scored, topic: {{name}}.scores}}}}
  dies_in: {{{{kind: filter, input: events, where: side == "dies"}}}}
  dies:    {{{{kind: python, input: dies_in, call: "{{name}}_nodes:dies", processes: 1, resilience: {{{{retry: {{{{attempts: 1}}}}}}}}}}}}
  died:    {{{{kind: sink, input: dies, topic: {{name}}.died}}}}
  told_in: {{{{kind: filter, input: events, where: side == "told"}}}}
  told:    {{{{kind: webhook, input: told_in, url: "{url}/ok/{{{{id}}}}", headers: {{{{X-Text: "{{{{text}}}}"}}}}}}}}
  far_in:  {{{{kind: filter, input: events, where: side == "far"}}}}
  far:     {{{{kind: webhook, input: far_in, url: "https://elsewhere.example/{{{{id}}}}"}}}}
  inner_in: {{{{kind: filter, input: events, where: side == "inner"}}}}
  inner:   {{{{kind: webhook, input: inner_in, url: "https://10.0.0.1/{{{{id}}}}"}}}}
  sure_in: {{{{kind: filter, input: events, where: side == "sure"}}}}
  sure:    {{{{kind: webhook, input: sure_in, url: "{tls}/{{{{id}}}}"}}}}
  shut_in: {{{{kind: filter, input: events, where: side == "shut"}}}}
  shut:
    kind: webhook
    input: shut_in
    url: "{url}/status/500/{{{{id}}}}"
    concurrency: 1
    resilience: {{{{retry: {{{{attempts: 1}}}}, breaker: {{{{failures: 1, open_for: 1h, when_open: fail}}}}}}}}
"""
_MODULE = """
import os

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


class Numbered(Row):
    id: int


def dies(row: Numbered) -> Numbered:
    os._exit(3)


class Full(Process):
    seen = List(int, max_entries=2)

    def process(self, row: Event) -> None:
        if row.what == "full":
            self.seen.append(1)
"""
_AGGREGATE = """
from streamflow.windows.aggregates import OwnAggregate


class Failing(OwnAggregate):
    name, result_type, arguments = "failing", "int", ("int",)

    def init(self):
        return []

    def add(self, state, value):
        return [*state, value]

    def merge(self, state, other):
        return state + other

    def result(self, state):
        return "no number"
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
    "unresolved": ({"side": "deep"}, ("deep", "unresolved", "permanent", "")),
    "one window more": ({"side": "few", "ago_ms": 1_000}, ("few", "too_many_windows", "permanent", "")),
    "long text": ({"side": "long", "text": "x" * 70_000}, ("long", "value_too_large", "permanent", "")),
    "one row more": ({"side": "rows"}, ("pairs", "too_many_rows", "permanent", "")),
    "one approval more": ({"side": "gate"}, ("gate", "approvals_full", "permanent", "")),
    "no input": ({"side": "score", "vec": None}, ("scored", "model_input", "permanent", "")),
    "short input": ({"side": "score", "vec": [1]}, ("scored", "model", "permanent", "")),
    "infinite": ({"side": "score", "vec": [10, 1]}, ("scored", "model_output", "permanent", "")),
    "died": ({"side": "dies"}, ("dies", "process", "transient", "1")),
    "two lines": ({"side": "told", "text": "a\nb"}, ("told", "header", "user", "1")),
    "host": ({"side": "far"}, ("far", "host", "user", "0")),
    "inner address": ({"side": "inner"}, ("inner", "address", "permanent", "1")),
    "unknown authority": ({"side": "sure"}, ("sure", "certificate", "permanent", "1")),
}
#: What has to be there, in each round, before the next one is too much, or is lacking something.
_BEFORE: tuple[dict[str, Any], ...] = ({"side": "few"}, {"side": "rows"}, {"side": "half"}, {"side": "own"})


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def product(kafka: str, tmp_path: Path, unique: str, server: Server) -> Iterator[Product]:
    (tmp_path / f"{unique}_nodes.py").write_text(_MODULE)
    (tmp_path / f"{unique}_aggregates.py").write_text(_AGGREGATE)
    (tmp_path / "own-1.dist-info").mkdir()
    (tmp_path / "own-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    points = f"[streamflow.aggregates]\nfailing = {unique}_aggregates:Failing\n"
    (tmp_path / "own-1.dist-info" / "entry_points.txt").write_text(points)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*Authority(tmp_path).give("server"))
    with serving(tls) as secure:
        made = Product(kafka, tmp_path, unique, _TOPOLOGY.format(url=server.url, tls=secure.url))
        yield made
        made.kill()


def _event(number: int, at_ms: int, ago_ms: int = 0, **wrong: Any) -> bytes:
    fine = {"shop": "a", "what": "ok", "n": 1, "label": "l", "big": 1, "list": [1], "item": "known", "side": ""}
    return json.dumps({"time": at_ms - ago_ms, "id": number, **fine, **wrong}).encode()


def _round(first: int, at_ms: int, full: int) -> list[bytes]:
    """Each failure once, a good event behind each, and so many entries of a list that takes two."""
    events = [b"no JSON %d" % first, _event(first + 99, at_ms)]
    events += [_event(first + 95, at_ms, **before) for before in _BEFORE]
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


def _add_model(kafka: str, name: str, folder: Path) -> None:
    data = json.dumps({"weights": [[1e308, 1.0]], "intercepts": [0.0]}).encode()
    digest = ModelFiles(folder).add(data)
    card = ModelCard("m", "1", "linear", Task.REGRESSION, digest, len(data), (ModelInput("vec", InputType.LIST),))
    asyncio.run(add_card(load_settings(brokers=kafka), f"{name}.models", card))


def test_every_failure_is_a_letter_once_and_says_where_and_why(product: Product, kafka: str, tmp_path: Path) -> None:
    name, source = product.name, f"{product.name}.events"
    with sqlite3.connect(tmp_path / "kept.db") as database:
        database.execute("CREATE TABLE kept (time, id CHECK (id != 50), what, double)")
    _add_model(kafka, name, tmp_path / "files")
    environment = {
        "STREAMFLOW_OUTBOUND_NETWORKS": "127.0.0.0/8",
        "STREAMFLOW_OUTBOUND_HOSTS": "127.*,10.*",
        "STREAMFLOW_MODELS_DIR": str(tmp_path / "files"),
        "KEPT_URL": f"sqlite:///{tmp_path / 'kept.db'}",
        "PYTHONPATH": os.pathsep.join((os.getcwd(), str(tmp_path))),
    }
    product.start(0, **environment)
    asyncio.run(_write(kafka, f"{name}.items", [b'{"item": "known", "price": 1}'], b"known"))
    assert _eventually(lambda: product.query("items", key="known").status_code == 200)
    too_much = [_event(500 + place, _NOW_MS, label="sum", big=2**62) for place in range(2)]
    too_much.append(_event(502, _NOW_MS, side="gate"))
    asyncio.run(_write(kafka, source, [*too_much, *_round(1_000, _NOW_MS, 3)], b"a"))
    assert _eventually(lambda: len(_letters(kafka, name)) >= 8)
    assert product.stop(0, signal.SIGKILL) != 0
    shut = [_event(601 + place, _NOW_MS + 10_000, side="shut") for place in range(2)]
    second = [*_round(2_000, _NOW_MS + 10_000, 1), *shut, _event(600, _NOW_MS + 60_000)]
    asyncio.run(_write(kafka, source, second, b"a"))
    product.start(0, **environment)

    expected = Counter(letter for _, letter in _PATHS.values() for _ in range(2))
    expected |= {("events", "decode", "permanent", ""): 2, ("full", "state_full", "permanent", ""): 2}
    expected |= {("sums", "overflow", "permanent", ""): 1, ("own", "aggregate_result", "permanent", ""): 2}
    expected |= {("shut", "status", "transient", "1"): 1, ("shut", "circuit_open", "transient", "0"): 1}
    _eventually(lambda: len(_letters(kafka, name)) >= expected.total())
    reaches = {"each", "label"}  # beside the way to the database
    good = [500, 501, 600, 1_099, 2_099, 1_090, 1_091, 1_092, 2_090]
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
        assert headers["sf-attempts" if "sf-topic" in headers else "sf-node"] in ("1", "sums", "own")
        assert headers["sf-error"]
        assert headers["sf-version"] == "1"
        if "sf-topic" in headers:
            record = records[headers["sf-topic"]][int(headers["sf-offset"])]
            assert record.value == value
            assert ("trace" in headers) == (headers["sf-topic"] == source)
    assert {h["sf-topic"] for h, _ in letters if h["sf-node"] == "asked"} == {f"{name}.asked.queue"}
    assert {h["sf-topic"] for h, _ in letters if h["sf-node"] == "kept"} == {f"{name}.kept.feed"}
    assert {h["sf-status"] for h, _ in letters if h["sf-reason"] == "status"} == {"404", "500", "429"}
    for headers, _ in letters:  # whom a call went to, unless nobody could be asked
        if headers["sf-node"] in ("asked", "told", "far", "inner", "sure", "shut"):
            assert ("sf-target" in headers) == (headers["sf-reason"] not in ("url", "host")), headers
    incomplete = [dict(each.headers) for each in _read(kafka, f"{name}.incomplete")]
    assert [(each["sf-reason"], each["sf-node"], each["sf-missing"]) for each in incomplete] == [
        (b"incomplete", b"whole", b"never")
    ] * 2
