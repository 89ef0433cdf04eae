"""Alerts over HTTP: lists, acknowledgements, silences and rules are what the bus says, and go there."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import orjson
import pytest

from streamflow.alerts.config import load_alerts
from streamflow.alerts.series import History, Series
from streamflow.bus.log import QueuedEvents
from streamflow.web import performance
from tests.web.event_feed import MemoryFeed
from tests.web.workers import StoredWorker, workers


@asynccontextmanager
async def _worker() -> AsyncIterator[tuple[StoredWorker, MemoryFeed, httpx.AsyncClient]]:
    """A worker whose events come back to it, and a client."""
    async with workers() as (worker, _):
        worker.alerts_config = load_alerts(None)
        feed = worker.feed
        assert isinstance(feed, MemoryFeed)

        async def carry() -> None:
            while True:
                for event in worker.events.take(10):  # type: ignore[attr-defined]
                    plain = event.model_dump(mode="json")
                    feed.add(len(feed.logs[0]), **{**plain, "time": event.time.isoformat()})
                await asyncio.sleep(0.01)

        carrying = asyncio.create_task(carry())
        async with httpx.AsyncClient(base_url=worker.url, timeout=60) as client:
            yield worker, feed, client
        carrying.cancel()
        await asyncio.wait([carrying])


def _raised(feed: MemoryFeed, name: str, severity: str = "warning", **labels: str) -> None:
    data = {"alert": name, "rule": "lag", "severity": severity, "value": 12.0, "threshold": 10.0, "labels": labels}
    feed.add(len(feed.logs[0]), type="ALERT_RAISED", data=data)


async def _ids(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    answer = (await client.get("/v1/alerts", params=parameters)).json()
    assert answer["total"] == len(answer["alerts"])
    return [each["alert"] for each in answer["alerts"]]


def test_alerts_are_listed_by_severity_and_state_and_acknowledged_once() -> None:
    async def story() -> None:
        async with _worker() as (_, feed, client):
            _raised(feed, "one", "critical")
            assert await _ids(client) == ["one"]
            _raised(feed, "two", shop="a")
            assert await _ids(client) == ["two", "one"]
            assert await _ids(client, severity="critical") == ["one"]
            assert await _ids(client, topology="u") == []
            body = {"actor": "ann", "comment": "mine"}
            answer = await client.post("/v1/alerts/two/acknowledge", json=body)
            assert (answer.status_code, answer.json()["by"], answer.json()["comment"]) == (200, "ann", "mine")
            again = await client.post("/v1/alerts/two/acknowledge", json={"actor": "bob"})
            assert (again.status_code, again.json()["by"]) == (200, "ann")
            assert len([each for each in feed.logs[0] if each["type"] == "ALERT_ACKNOWLEDGED"]) == 1
            feed.add(9, type="ALERT_CLEARED", data={"alert": "two", "rule": "lag"})
            assert await _ids(client, state="cleared") == ["two"]
            assert (await client.post("/v1/alerts/two/acknowledge")).status_code == 409
            assert (await client.post("/v1/alerts/none/acknowledge")).status_code == 404

    asyncio.run(story())


def test_an_alert_can_be_ended_by_hand() -> None:
    async def story() -> None:
        async with _worker() as (_, feed, client):
            _raised(feed, "one", shop="a")
            ended = await client.post("/v1/alerts/one/clear", json={"actor": "ann", "comment": "it is gone"})
            assert (ended.status_code, ended.json()["reason"]) == (200, "by hand: it is gone")
            assert await _ids(client) == []
            assert (await client.post("/v1/alerts/one/clear")).status_code == 200
            said = [each for each in feed.logs[0] if each["type"] == "ALERT_CLEARED"]
            assert [(each["actor"], each["data"]["labels"]) for each in said] == [("ann", {"shop": "a"})]
            assert (await client.post("/v1/alerts/none/clear")).status_code == 404

    asyncio.run(story())


def test_a_silence_that_is_asked_for_twice_is_one() -> None:
    async def story() -> None:
        async with _worker() as (_, feed, client):
            body, named = {"rule": "lag*", "for": "1h"}, {"Idempotency-Key": "k"}
            first, again = [await client.post("/v1/alerts/silences", json=body, headers=named) for _ in range(2)]
            assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
            assert again.headers["idempotency-replayed"] == "true"
            assert len((await client.get("/v1/alerts/silences")).json()["silences"]) == 1
            assert len([each for each in feed.logs[0] if each["type"] == "ALERT_SILENCED"]) == 1
            other = await client.post("/v1/alerts/silences", json={**body, "rule": "x"}, headers=named)
            assert (other.status_code, other.json()["title"]) == (422, "idempotency_key_reused")

    asyncio.run(story())


def test_silences_hold_until_they_are_lifted() -> None:
    async def story() -> None:
        async with _worker() as (_, feed, client):
            _raised(feed, "one", shop="a")
            body = {"rule": "la*", "labels": {"shop": "a"}, "for": "1h", "actor": "ann"}
            made = await client.post("/v1/alerts/silences", json=body)
            assert made.status_code == 200
            (shown,) = (await client.get("/v1/alerts/silences")).json()["silences"]
            assert (shown["silence"], shown["by"], shown["rule"]) == (made.json()["silence"], "ann", "la*")
            lifted = await client.delete(f"/v1/alerts/silences/{shown['silence']}")
            assert lifted.status_code == 200
            assert (await client.get("/v1/alerts/silences")).json() == {"silences": []}
            assert (await client.delete("/v1/alerts/silences/none")).status_code == 404
            assert (await client.post("/v1/alerts/silences", json={"rule": "x", "for": 0})).status_code == 422
            wide = await client.post("/v1/alerts/silences", json={"labels": {"token": "a"}, "for": "1h"})
            assert (wide.status_code, "'token'" in wide.json()["detail"]) == (422, True)
            assert (await client.get("/v1/alerts/silences")).json() == {"silences": []}

    asyncio.run(story())


def test_rules_are_refused_as_a_whole_or_stand_before_those_built_in() -> None:
    async def story() -> None:
        async with _worker() as (worker, feed, client):
            built_in = (await client.get("/v1/alerts/rules")).json()["rules"]
            assert (built_in["queue_size"]["above"], built_in["queue_size"]["origin"]) == (100, "built_in")
            rules: dict[str, Any] = {"queue_size": {"metric": "queue_size", "above": 5, "route": "nowhere"}, "Bad": {}}
            refused = await client.put("/v1/alerts/rules", json={"rules": rules})
            assert (refused.status_code, len(refused.json()["problems"])) == (422, 3)
            assert [each["type"] for each in feed.logs[0]] == []
            del rules["Bad"], rules["queue_size"]["route"]
            given = await client.put("/v1/alerts/rules", json={"rules": rules, "actor": "ann"})
            assert (given.status_code, given.json()["rules"]["queue_size"]["origin"]) == (200, "http")
            assert (await client.get("/v1/alerts/rules")).json() == given.json()
            worker.alerts_config = None
            assert (await client.get("/v1/alerts/rules")).status_code == 404

    asyncio.run(story())


def test_rules_that_would_not_come_back_from_the_bus_are_refused() -> None:
    async def story() -> None:
        async with _worker() as (_, feed, client):
            huge: dict[str, Any] = {"big": {"metric": "m", "above": 10**30, "for": "5m"}}
            given = await client.put("/v1/alerts/rules", json={"rules": huge})
            assert given.status_code == 200, "a number beyond 64 bits is a number"
            assert given.json()["rules"]["big"]["above"] == 1e30
            orjson.dumps(feed.logs[0][0]["data"])
            refused_rules: list[dict[str, Any]] = [
                {"token_lag": {"metric": "m", "above": 1}},
                {"lag": {"metric": "m", "above": 1, "labels": {"token": "x"}}},
                {"lag": {"metric": "m", "above": 1, "labels": {"stage": "*a" * 101}}},
                {f"lag_{number}": {"metric": "m", "above": 1} for number in range(501)},
            ]
            for rules in refused_rules:
                refused = await client.put("/v1/alerts/rules", json={"rules": rules})
                assert (refused.status_code, len(refused.json()["problems"])) == (422, 1)
            assert len(feed.logs[0]) == 1
            for labels in ({"shop": "a" * 201}, {"shop": "a\x1b[2J"}, {"a" * 201: "x"}):
                refused = await client.post("/v1/alerts/silences", json={"for": "1h", "labels": labels})
                assert refused.status_code == 422

    asyncio.run(story())


def test_an_alert_that_ends_while_it_is_acknowledged_is_over() -> None:
    async def story() -> None:
        async with _worker() as (worker, feed, client):
            _raised(feed, "one")
            assert await _ids(client) == ["one"]
            cleared: dict[str, Any] = {"type": "ALERT_CLEARED", "data": {"alert": "one", "rule": "lag"}}
            worker.events = QueuedEvents("w", wake=lambda: feed.add(9, **cleared))  # before what is said comes
            assert (await client.post("/v1/alerts/one/acknowledge")).status_code == 409

    asyncio.run(story())


class _Points(History):
    """Where they are looked at."""

    threads: ClassVar = set[threading.Thread]()

    def select(self, metric: str, labels: Mapping[str, str]) -> list[Series]:
        self.threads.add(threading.current_thread())
        return super().select(metric, labels)


class _Samples:
    """One worker's samples of the last minutes."""

    interval_ms = 10_000

    async def read(self, metrics: Collection[str], since_ms: int, now_ms: int) -> History:
        history = _Points(metrics, now_ms - since_ms)
        for at_ms in range(now_ms - 200_000, now_ms + 1, self.interval_ms):
            history.add(at_ms, "response_time_ms", {"topology": "t", "worker": "w"}, 4_000.0)
        return history


class _Silent:
    """Samples that Kafka does not give."""

    interval_ms = 10_000

    async def read(self, metrics: Collection[str], since_ms: int, now_ms: int) -> History:
        await asyncio.Event().wait()
        raise AssertionError


def test_nobody_waits_for_ever_for_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with _worker() as (worker, _, client):
            worker.samples = _Silent()
            asked = [client.get(f"/v1/performance{rest}") for rest in ("", "/report")]
            for answer in await asyncio.gather(*asked):
                assert (answer.status_code, answer.json()["title"]) == (503, "reading")

    monkeypatch.setattr(performance, "WAIT_S", 0.05)
    asyncio.run(story())


def test_a_report_has_all_its_parts() -> None:
    async def story() -> None:
        async with _worker() as (worker, feed, client):
            assert (await client.get("/v1/performance")).json()["title"] == "alerts_off"
            worker.samples = _Samples()
            _raised(feed, "one", "critical")
            told = (await client.get("/v1/performance/report", params={"window": "3m"})).json()
            assert set(told) == {
                *("report_timestamp", "monitoring_status", "window_ms"),
                *("performance_summary", "alert_summary", "recommendations"),
            }
            assert (told["monitoring_status"], told["alert_summary"]["critical_alerts"]) == ("active", 1)
            assert told["performance_summary"]["response_time_ms"]["data_points"] == 18
            assert [each["about"] for each in told["recommendations"]] == ["response_time_ms", "alerts"]
            short = (await client.get("/v1/performance", params={"topology": "t"})).json()
            assert (short["window_ms"], short["metrics"]["response_time_ms"]["avg"]) == (600_000, 4_000.0)
            assert (await client.get("/v1/performance", params={"window": "2h"})).status_code == 422
            assert _Points.threads
            assert threading.current_thread() not in _Points.threads, "events wait for no report"

    asyncio.run(story())
