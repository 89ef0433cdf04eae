"""Payloads beside Kafka: over a real S3 server and over a folder, their failures, and rows that come whole again."""

import asyncio
import json
import socket
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from streamflow.calls.caller import Outside
from streamflow.calls.guarded import GuardedCaller
from streamflow.calls.payload_store import ObjectPayloads
from streamflow.errors import ErrorClass, ObjectsUnreachable, SettingsError, TopologyError
from streamflow.nodes.operators import Await
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology
from tests.calls.callers import lower, origin, row
from tests.calls.test_waiting import until
from tests.inference.object_store import Store, object_store
from tests.ports import free_port

URL = "s3://shop/payloads"
_TOPOLOGY = """
topology: t
schemas: {Scan: {time: timestamp, shop: str, text: str, note: json?}}
nodes:
  scans:  {kind: source, topic: in, schema: Scan, event_time: time, key: shop}
  texts:  {kind: store_payload, input: scans, field: text, reference: text_at, over: 100}
  light:  {kind: store_payload, input: texts, field: note, reference: note_at, over: 100}
  lights: {kind: sink, input: light, topic: light}
  heavy:  {kind: fetch_payload, input: light, reference: text_at, field: text}
  whole:  {kind: fetch_payload, input: heavy, reference: note_at, field: note, type: json}
  again:  {kind: map, input: whole, keep: [time, shop, text, note]}
  out:    {kind: sink, input: again, topic: out}
"""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_store(monkeypatch) as made:
        yield made


def scans() -> list[dict[str, Any]]:
    """Around the bound, beyond ASCII, and some that are the same."""
    texts = ["", "a" * 100, "a" * 101, "ä" * 50, "ä" * 51, "b" * 30_000, "a" * 101]
    notes = [None, {"a": [1, 2.5, "ü"]}, {"long": ["ü" * 200, None, True]}]
    return [
        {"time": 1_000 + n, "shop": f"s{n % 3}", "text": texts[n % len(texts)], "note": notes[n % len(notes)]}
        for n in range(42)
    ]


@pytest.mark.parametrize("place", ["s3", "folder"])
@pytest.mark.parametrize(
    ("chunk_size", "crashes"), [(1_000, {}), (5, {2: CrashPoint.BEFORE_COMMIT, 5: CrashPoint.BEFORE_STORE})]
)
def test_rows_carry_references_and_come_whole_again(
    store: Store, tmp_path: Path, place: str, chunk_size: int, crashes: dict[int, CrashPoint]
) -> None:
    payloads = ObjectPayloads(URL if place == "s3" else f"file://{tmp_path}")
    driver = Driver(
        bounded(make_plan(parse_topology(_TOPOLOGY))), partitions=2, chunk_size=chunk_size,
        outside=Outside(payloads=payloads),
    )  # fmt: skip
    driver.crash_at = crashes
    events = scans()
    driver.publish("in", events)
    driver.finish()
    driver.close()
    # What each field should have become, of the bytes that anybody would write.
    large: dict[str, bytes] = {}
    light = []
    for event in events:
        expected = dict(event)
        for name, data in (
            ("text", event["text"].encode()),
            ("note", json.dumps(event["note"], ensure_ascii=False, separators=(",", ":")).encode()),
        ):
            expected[f"{name}_at"] = None
            if len(data) > 100:
                digest = sha256(data).hexdigest()
                large[digest] = data
                expected |= {name: None, f"{name}_at": {"digest": digest, "size": len(data)}}
        light.append(expected)
    assert len(large) == 4, "an equal payload is there once"

    def by_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda each: each["time"])

    assert by_time(driver.output("light")) == light
    assert by_time(driver.output("out")) == events
    if place == "s3":
        assert store.files() == [f"payloads/{digest}" for digest in sorted(large)]
    else:
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == large


def reference(data: bytes, **facts: Any) -> dict[str, Any]:
    return {"digest": sha256(data).hexdigest(), "size": len(data)} | facts


def fetched(payloads: ObjectPayloads, *references: Any, **config: Any) -> list[Any]:
    """(text, class or None, calls) of each reference, of what a fetch_payload gives."""
    operator = operator_of("fetch_payload", reference="customer", field="text", **config)

    async def run() -> list[Any]:
        guarded = GuardedCaller(operator.action.make("node", Outside(payloads=payloads)), operator.policy)
        await guarded.open()
        found: list[Any] = []
        for each in references:
            answer = await guarded.answer(row(customer=each), origin())
            if answer.error is None:
                found.append((answer.rows[0].text, None, answer.attempts))
            else:
                found.append((answer.error.reason, answer.error.error_class, answer.attempts))
        await guarded.close()
        return found

    return asyncio.run(run())


def operator_of(kind: str, **config: Any) -> Await:
    made, problems = lower(kind, **config)
    assert made is not None, problems
    return made


def test_what_is_not_there_or_another_is_a_dead_letter_with_its_reason(store: Store) -> None:
    payloads, data = ObjectPayloads(URL), "été".encode()
    for content, key in ((data, reference(data)), (data[::-1], reference(b"xxxxx")), (b"\xff", reference(b"\xff"))):
        store.client.put_object(Bucket="shop", Key=f"payloads/{key['digest']}", Body=content)
    cases: list[tuple[Any, Any]] = [
        (reference(data), ("été", None, 1)),
        (None, (None, None, 1)),
        (reference(data, uri="s3://elsewhere/x"), ("été", None, 1)),
        (reference(b"gone"), ("payload_missing", ErrorClass.PERMANENT, 1)),
        (reference(data, size=4), ("payload_differs", ErrorClass.PERMANENT, 1)),
        (reference(b"xxxxx"), ("payload_differs", ErrorClass.PERMANENT, 1)),
        (reference(b"\xff"), ("payload_type", ErrorClass.PERMANENT, 1)),
        (reference(data, size=1_001), ("payload_too_large", ErrorClass.USER, 1)),
        (reference(data, size=-1), ("payload_reference", ErrorClass.USER, 1)),
        (reference(data, digest="../secret"), ("payload_reference", ErrorClass.USER, 1)),
        (reference(data, digest=reference(data)["digest"] + "\n"), ("payload_reference", ErrorClass.USER, 1)),
        ("text", ("payload_reference", ErrorClass.USER, 1)),
    ]
    found = fetched(payloads, *(given for given, _ in cases), max_bytes=1_000)
    assert found == [expected for _, expected in cases]
    # A payload that was fetched is kept; others are not mistaken for it.
    kept = fetched(payloads, reference(data), reference(data), None, resilience={"cache": {"mark": "kept"}})
    assert kept == [("été", None, 1), ("été", None, 0), (None, None, 1)]


def test_a_store_that_is_away_is_asked_again(store: Store) -> None:
    payloads, data = ObjectPayloads(URL), b"text"
    store.client.put_object(Bucket="shop", Key=f"payloads/{reference(data)['digest']}", Body=data)
    store.server.stop()
    retry = {"retry": {"attempts": 2, "base": "10ms"}}
    assert fetched(payloads, reference(data), resilience=retry) == [("payload_store", ErrorClass.TRANSIENT, 1)]
    operator = operator_of(
        "store_payload", field="customer", reference="at", over=3, resilience={**retry, "fallback": {}}
    )
    waiting = operator_of(
        "store_payload", field="customer", reference="at", over=3,
        resilience={"retry": {"base": "10ms"}, "breaker": {"failures": 1, "open_for": "20ms"}},
    )  # fmt: skip

    async def run() -> None:
        outside = Outside(payloads=payloads)
        guarded = GuardedCaller(operator.action.make("node", outside), operator.policy)
        await guarded.open()
        answer = await guarded.answer(row(customer="text"), origin())
        assert (answer.recovered, answer.rows[0].customer, answer.rows[0].at) == ("fallback", "text", None)
        assert guarded.counts.attempts == 2
        patient = GuardedCaller(waiting.action.make("node", outside), waiting.policy)
        await patient.open()
        task = asyncio.create_task(patient.answer(row(customer="text"), origin()))
        await until(lambda: patient.counts.attempts >= 5)
        assert not task.done(), "an outage costs no rows"
        store.server = ThreadedMotoServer("127.0.0.1", store.port, verbose=False)
        store.server.start()
        answer = await task
        assert (answer.rows[0].customer, answer.rows[0].at) == (None, reference(b'"text"'))

    asyncio.run(run())


def test_a_store_that_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        given_up = {"timeout": "100ms", "retry": {"attempts": 1}}
        found = fetched(ObjectPayloads(URL), reference(b"text"), resilience=given_up)
    assert found == [("timeout", ErrorClass.TRANSIENT, 1)]


def test_a_payload_that_is_stored_again_is_as_new(store: Store) -> None:
    """Rules of the store go by age; what a new row refers to must not go with an old one."""

    async def run() -> None:
        payloads = ObjectPayloads(URL)
        payloads.open()
        digest = await payloads.put(b"text")
        store.client.put_object(Bucket="shop", Key=f"payloads/{digest}", Body=b"spoilt")
        assert await payloads.put(b"text") == digest
        assert await payloads.get(digest, 4) == b"text"

    asyncio.run(run())


def test_what_cannot_be_a_store_is_refused(tmp_path: Path) -> None:
    for url, said in (
        ("ftp://x/y", "begin it with s3://.*file://"),
        ("file://", "begin it with"),
        ("file://host/folder", "begin it with"),
        ("s3://key:secret@bucket/x", "has credentials in it"),
        ("az://container/x?sig=secret", "has credentials in it"),
        ("x://key:secret@bucket", "no place of an object store"),
    ):
        with pytest.raises(SettingsError, match=said) as refused:
            ObjectPayloads(url)
        assert ":secret" not in str(refused.value)
    with pytest.raises(ObjectsUnreachable, match="does not open"):
        ObjectPayloads(f"file://{tmp_path}/none").open()
    action = operator_of("store_payload", field="customer", reference="at").action
    with pytest.raises(TopologyError, match="set STREAMFLOW_PAYLOADS_URL"):
        asyncio.run(action.make("node", Outside()).open())


@pytest.mark.parametrize(
    ("kind", "config", "said"),
    [
        ("store_payload", {"field": "customer", "resilience": {"cache": {}}}, "is written again"),
        ("store_payload", {"field": "paht"}, "did you mean 'path'"),
        ("store_payload", {"field": "number"}, "'number' is int, and text or JSON is stored"),
        ("store_payload", {"field": "customer", "reference": "path"}, "the row has 'path' already"),
        ("store_payload", {"field": "customer", "over": 10, "max_bytes": 10}, "nothing has more than 10 bytes"),
        ("fetch_payload", {"reference": "custom", "field": "x"}, "did you mean 'customer'"),
        (
            "fetch_payload",
            {"reference": "customer", "field": "x", "resilience": {"cache": {"mark": "x"}}},
            "the row has 'x' already",
        ),
        ("fetch_payload", {"reference": "path", "field": "x"}, "'path' is str, a reference is json"),
        ("fetch_payload", {"reference": "customer", "field": "number"}, "'number' is int and not str"),
        ("fetch_payload", {"reference": "customer", "field": "customer", "type": "json"}, "the place of its reference"),
        ("fetch_payload", {"reference": "customer", "field": "path"}, "the key of the rows is made of 'path'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(kind: str, config: dict[str, Any], said: str) -> None:
    made, problems = lower(kind, **{"reference": "at"} | config)
    assert made is None
    assert said in " ".join(f"{each.message} {each.remedy}" for each in problems)
