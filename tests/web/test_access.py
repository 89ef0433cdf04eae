"""Who may do what over HTTP: keys, roles, scopes, workers among themselves, and every route against every role."""

import asyncio
import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts

from streamflow.cli.access import AsWorker, access_of
from streamflow.errors import SettingsError, UserError
from streamflow.settings.settings import load_settings
from streamflow.web import worker_token
from streamflow.web.access import EVERY_PERMISSION, KNOWN, PUBLIC, ROLES, caller, parse_grant
from streamflow.web.api_keys import KeyFile, KeyRing, changing, new_key, read_keys
from streamflow.web.app import PERMISSIONS, HttpServer, create_app
from streamflow.web.attempts import FAILURES, FORGOTTEN_S, Attempts
from streamflow.web.guard import PUBLIC_PATHS, require
from streamflow.web.identity import Access
from streamflow.web.limits import PublishLimits
from tests.web.workers import EVENTS, TABLE, StoredWorker, keys_of, workers

_SECRET = b"s" * 32


class Keys:
    """A file of keys. `made`: key by name."""

    def __init__(self, folder: Path, **grants: str) -> None:
        self.path, self.made = folder / "keys.json", dict[str, str]()
        for name, texts in grants.items():
            self.add(name, texts)

    def add(self, name: str, grants: str, expires: datetime | None = None) -> None:
        with changing(self.path) as file:
            self.made[name], entry = new_key(name, tuple(grants.split()), expires)
            file.keys.append(entry)

    def access(self, url: str) -> Access:
        return Access(KeyRing(self.path), worker_secret=_SECRET, url=url)

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.made[name]}"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, **{role: role for role in ROLES if role != "worker"})


def _app(access: Access) -> FastAPI:
    worker = StoredWorker(HttpServer("127.0.0.1", 0))
    return create_app(worker, PublishLimits(), worker.live, access)


def _routes(app: FastAPI) -> list[tuple[str, str, str]]:
    """(operation, method, path) of every route; nothing but routes that the guard knows."""
    found = []
    for each in iter_route_contexts(app.routes):
        route = each.route
        assert isinstance(route, (APIRoute, APIWebSocketRoute)), f"{route} has no permissions"
        path = re.sub(r"{[^}]+}", "1", each.path or route.path)
        if isinstance(route, APIRoute):
            assert route.operation_id, f"{path} has no operation_id"
            found += [(route.operation_id, method, path) for method in route.methods or ()]
        else:
            found.append((route.name, "WEBSOCKET", path))
    return found


async def _status(app: FastAPI, method: str, path: str, headers: dict[str, str], query: bytes = b"") -> int:
    """Status of a request, without waiting for what follows; of a WebSocket, that of its handshake, 101 when it opens."""
    kind = "websocket" if method == "WEBSOCKET" else "http"
    query = b"seconds=0.01" if path == "/v1/profile" else query
    scope = {
        "type": kind, "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()], "root_path": "",
        "client": ("127.0.0.1", 1), "subprotocols": [], "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    first = {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}
    arrived = iter([first])
    answered = asyncio.get_running_loop().create_future()

    async def receive() -> Any:
        return next(arrived, {"type": f"{kind}.disconnect", "code": 1000})

    async def send(message: Any) -> None:
        if not answered.done():
            answered.set_result(message)

    async with asyncio.timeout(60):
        serving = asyncio.create_task(app(scope, receive, send))
        try:
            return int((await answered).get("status", 101))
        finally:
            serving.cancel()


def test_every_route_has_a_permission_that_exists(keys: Keys) -> None:
    routes = _routes(_app(keys.access("")))
    assert {operation for operation, _, _ in routes} == set(PERMISSIONS), "web/app.py: PERMISSIONS"
    assert set(PERMISSIONS.values()) <= EVERY_PERMISSION
    assert {path for operation, _, path in routes if PERMISSIONS[operation] == PUBLIC} == PUBLIC_PATHS


def test_the_document_says_who_may_use_what() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            paths = (await one.get("/openapi.json")).json()["paths"]
            operations = {each["operationId"]: each for methods in paths.values() for each in methods.values()}
            for name, operation in operations.items():
                is_public = PERMISSIONS[name] == PUBLIC
                assert operation.get("x-permission", PUBLIC) == PERMISSIONS[name]
                assert ("security" not in operation) == is_public
                assert "application/problem+json" in operation["responses"]["default"]["content"]

    asyncio.run(main())


def test_every_route_for_every_role(keys: Keys) -> None:
    async def main() -> None:
        app = _app(keys.access(""))
        for operation, method, path in _routes(app):
            needs = PERMISSIONS[operation]
            assert (await _status(app, method, path, {}) == 401) == (needs != PUBLIC), operation
            assert (await _status(app, method, path, {"Authorization": "Bearer x"}) in (401, 429)) == (needs != PUBLIC)
            for role in keys.made:
                status = await _status(app, method, path, keys.bearer(role))
                allowed = needs in (PUBLIC, KNOWN) or needs in ROLES[role]
                assert (status not in (401, 403)) == allowed, (operation, role, status)

    asyncio.run(main())


def test_a_route_that_nobody_gave_a_permission_is_nobodys(keys: Keys) -> None:
    app = _app(keys.access(""))

    @app.get("/forgotten", operation_id="forgotten")
    async def forgotten() -> str:
        return "secret"

    @app.websocket("/also", name="also")
    async def also(socket: WebSocket) -> None:
        await socket.accept()

    async def main() -> None:
        assert await _status(app, "GET", "/forgotten", keys.bearer("admin")) == 403
        assert await _status(app, "WEBSOCKET", "/also", keys.bearer("admin")) == 403
        assert await _status(app, "WEBSOCKET", "/also", {}) == 401
        assert await _status(app, "GET", "/nowhere", {}) == 401, "what there is, is not for strangers"
        assert await _status(app, "GET", "/nowhere", keys.bearer("viewer")) == 404

    asyncio.run(main())


@pytest.mark.parametrize(
    ("grant", "permission", "resources", "allowed"),
    [
        ("viewer", "query", {"topology": "t", "table": "a"}, True),
        ("viewer", "publish", {"topic": "a"}, False),
        ("viewer@table=a*", "query", {"topology": "t", "table": "ab"}, True),
        ("viewer@table=a*", "query", {"topology": "t", "table": "b"}, False),
        ("viewer@table=a*,topology=u", "query", {"topology": "t", "table": "a"}, False),
        ("viewer@table=a*", "view", {}, False),
        ("publisher@topic=orders.*", "publish", {"topic": "orders.eu"}, True),
        ("publisher@topic=orders.*", "publish", {"topic": "orders"}, False),
        ("publisher@topic=orders.*", "publish", {"topology": "t"}, False),
        ("admin", "of nobody", {}, False),
        ("publisher", KNOWN, {}, True),
    ],
)
def test_what_a_grant_covers(grant: str, permission: str, resources: dict[str, str], allowed: bool) -> None:
    assert caller("key:x", [grant]).may(permission, resources) is allowed


@pytest.mark.parametrize("text", ["root", "worker", "", "viewer@", "viewer@table", "viewer@key=a", "viewer@table=a[b]"])
def test_what_is_no_grant(text: str) -> None:
    with pytest.raises(UserError, match="is no grant"):
        parse_grant(text)
    with pytest.raises(UserError, match=f"^{re.escape(repr(text))} is no grant"):
        new_key("shop", (text,), None)


def test_keys_expire_are_revoked_and_replaced_while_the_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamflow.web.api_keys.LOOK_S", 0.0)
    keys = Keys(tmp_path, a="viewer", b="viewer")
    keys.add("late", "viewer", datetime.now(UTC) - timedelta(seconds=1))
    ring = KeyRing(keys.path)
    assert ring.find(keys.made["a"]) == caller(f"key:{keys.made['a'][4:16]}", ["viewer"])
    assert ring.find(keys.made["late"]) is None
    assert ring.find(keys.made["a"][:-1] + ("A" if keys.made["a"][-1] != "A" else "B")) is None
    assert ring.find(keys.made["a"][:17] + keys.made["b"][17:]) is None, "another's secret"
    with changing(keys.path) as file:
        file.keys[0] = file.keys[0].model_copy(update={"revoked": datetime.now(UTC)})
    assert ring.find(keys.made["a"]) is None
    keys.add("new", "admin")
    assert ring.find(keys.made["new"]) is not None
    keys.path.write_text("{")
    assert ring.find(keys.made["new"]) is not None, "a file that got broken changes nothing"
    with pytest.raises(SettingsError, match="is no file of keys"):
        KeyRing(keys.path)


def test_a_file_has_no_key_and_is_its_owners(tmp_path: Path) -> None:
    keys = Keys(tmp_path, a="viewer")
    assert keys.made["a"][17:] not in keys.path.read_text()
    assert keys.path.stat().st_mode & 0o077 == 0
    for text in ('{"keys": [{}]}', '{"key": []}', '{"keys": [], "more": 1}', "[]", "ä"):
        keys.path.write_text(text)
        with pytest.raises(SettingsError, match=re.escape(str(keys.path))):
            read_keys(keys.path)
    assert KeyFile().keys == []


def test_requests_over_http(keys: Keys) -> None:
    keys.add("narrow", "viewer@table=hourly publisher@topic=t.sales")
    keys.add("wide", "publisher@topic=t.sales*")
    keys.add("level", "publisher@topic=t.sales.urgent")

    async def main() -> None:
        async with workers(1, access=keys.access) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            assert (await client.get("/healthz")).status_code == 200
            stranger = await client.get(TABLE)
            assert (stranger.status_code, stranger.headers["www-authenticate"]) == (401, "Bearer")
            assert stranger.headers["content-type"] == "application/problem+json"
            assert stranger.headers["x-request-id"]
            assert (await client.get(TABLE, headers=keys.bearer("viewer"))).status_code == 200
            refused = await client.post(EVENTS, content="{}", headers=keys.bearer("viewer"))
            assert (refused.status_code, refused.json()["title"]) == (403, "forbidden")
            assert refused.json()["error_class"] == "user"
            event = '{"time": 1, "shop": "a", "amount": 1}'
            level = EVENTS.replace("sales", "sales.urgent")
            for name, path, status in (
                ("narrow", EVENTS, 200),
                ("narrow", f"{EVENTS}?priority=urgent", 403),
                ("narrow", level, 403),
                ("wide", f"{EVENTS}?priority=urgent", 200),
                ("level", level, 200),
                ("level", EVENTS, 403),
                ("level", f"{EVENTS}?", 403),
            ):
                got = await client.post(path, content=event, headers=keys.bearer(name))
                assert got.status_code == status, (name, path)
            assert (await client.get(TABLE, headers=keys.bearer("narrow"))).status_code == 200
            for other in ("/v1/topologies/t/tables/other", "/v1/topologies", "/v1/topologies/t"):
                assert (await client.get(other, headers=keys.bearer("narrow"))).status_code == 403, other
            for scheme in ("Basic", "bearer"):
                status = (
                    await client.get(TABLE, headers={"Authorization": f"{scheme} {keys.made['admin']}"})
                ).status_code
                assert status == (401 if scheme == "Basic" else 200)
            assert (await client.get(TABLE, headers={"Origin": "https://elsewhere.test"})).status_code == 403

    asyncio.run(main())


def test_who_fails_too_often_waits_and_who_is_known_does_not(keys: Keys) -> None:
    async def main() -> None:
        async with workers(1, access=keys.access) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            wrong = {"Authorization": "Bearer sfk_000000000000_" + "x" * 43}
            answers = [await client.get(TABLE, headers=wrong) for _ in range(FAILURES + 1)]
            assert {each.status_code for each in answers[:FAILURES]} == {401}
            assert (answers[-1].status_code, answers[-1].json()["error_class"]) == (429, "user")
            assert 1 <= int(answers[-1].headers["retry-after"]) <= FORGOTTEN_S
            assert answers[0].json() == {**answers[1].json()}
            assert (await client.get(TABLE, headers=keys.bearer("viewer"))).status_code == 200
            claimed = {**wrong, "X-Forwarded-For": "203.0.113.9"}
            assert (await client.get(TABLE, headers=claimed)).status_code == 429

    asyncio.run(main())


def test_a_caller_that_asks_too_often_waits_alone_and_all_do_when_too_much_is_under_way(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(url: str) -> Access:
        return replace(keys.access(url), requests_per_s=1)

    async def main() -> None:
        async with workers(1, access=slow) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            answers = [await client.get(TABLE, headers=keys.bearer("viewer")) for _ in range(50)]
            assert answers[0].status_code == 200
            refused = next(each for each in answers if each.status_code == 429)
            assert (refused.json()["title"], refused.headers["retry-after"]) == ("too_fast", "1")
            assert (await client.get(TABLE, headers=keys.bearer("admin"))).status_code == 200
            monkeypatch.setattr("streamflow.web.guard.REQUESTS_AT_ONCE", 0)
            busy = await client.get(TABLE, headers=keys.bearer("operator"))
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(main())


def test_failures_are_forgotten_one_by_one_and_so_are_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(FAILURES):
        assert attempts.wait_s("a") == 0
        attempts.fail("a")
    assert attempts.wait_s("a") == FORGOTTEN_S
    assert attempts.wait_s("b") == 0
    now[0] += FORGOTTEN_S
    assert attempts.wait_s("a") == 0
    monkeypatch.setattr("streamflow.web.attempts.ADDRESSES", 2)
    for address in "bc":
        attempts.fail(address)
    assert list(attempts._until) == ["b", "c"]


def test_workers_ask_one_another_and_nobody_else_can_as_them(keys: Keys) -> None:
    async def main() -> None:
        async with workers(2, access=keys.access) as (one, two), httpx.AsyncClient() as client:
            answer = await client.get(one.url + TABLE, headers=keys.bearer("viewer"))
            assert answer.json()["served_by"] == sorted([one.url, two.url])
            mine = f"{TABLE}?partitions=1"
            good = AsWorker(_SECRET, two.url)
            assert (await client.get(two.url + mine, auth=good)).status_code == 200
            assert (await client.get(two.url + mine, auth=AsWorker(b"o" * 32, two.url))).status_code == 401
            assert (await client.get(two.url + mine, auth=AsWorker(_SECRET, one.url))).status_code == 401, "not for him"
            assert (await client.post(two.url + EVENTS, content="{}", auth=good)).status_code == 403
            token = worker_token.make(_SECRET, two.url, "GET", mine)
            stolen = {"Authorization": f"Bearer {token}"}
            assert (await client.get(two.url + mine, headers=stolen)).status_code == 200
            assert (await client.get(f"{two.url}{TABLE}?partitions=3", headers=stolen)).status_code == 401
            assert (await client.get(two.url + "/v1/topologies", headers=stolen)).status_code == 401

    asyncio.run(main())


def test_what_workers_do_not_take_from_one_another_is_not_the_clients_fault(keys: Keys) -> None:
    async def main() -> None:
        async with workers(2, access=keys.access) as (one, two), httpx.AsyncClient(base_url=one.url) as client:
            two.access.worker_secret = b"o" * 32
            for path in (TABLE, TABLE + "/why?window=0&key=" + keys_of(1, 1)[0]):
                answer = await client.get(path, headers=keys.bearer("viewer"))
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path

    asyncio.run(main())


def test_the_seats_of_workers_are_not_for_those_who_only_look(keys: Keys) -> None:
    async def main() -> None:
        app = _app(keys.access(""))
        for role, whole, part in (("viewer", 503, 403), ("operator", 503, 421)):
            assert await _status(app, "GET", TABLE + "/live", keys.bearer(role)) == whole
            assert await _status(app, "GET", TABLE + "/live", keys.bearer(role), b"partitions=0") == part

    asyncio.run(main())


def test_a_workers_token_is_good_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    token = worker_token.make(_SECRET, "http://w", "GET", "/a")
    later = time.time() + worker_token.LASTS_S + worker_token.SKEW_S + 1
    assert worker_token.is_good(_SECRET, token, "http://w", "GET", "/a")
    for junk in ("sfw_", "sfw_9" * 9, "sfw_1_é", token + "0", token.replace("_", "-")):
        assert not worker_token.is_good(_SECRET, junk, "http://w", "GET", "/a")
    monkeypatch.setattr(time, "time", lambda: later)
    assert not worker_token.is_good(_SECRET, token, "http://w", "GET", "/a")


def test_pages_of_others_cannot_use_what_is_open_to_this_machine() -> None:
    async def main() -> None:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            assert (await client.get(TABLE)).status_code == 200
            assert (await client.get(TABLE, headers={"Host": "localhost:1"})).status_code == 200
            assert (await client.get(TABLE, headers={"Host": "rebound.test"})).status_code == 421
            assert (await client.get(TABLE, headers={"Origin": "http://elsewhere.test"})).status_code == 403
            assert (await client.get(TABLE, headers={"Origin": one.url})).status_code == 200

    asyncio.run(main())


def test_a_route_may_ask_for_more_than_its_path_says(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PERMISSIONS, "follow", KNOWN)
    keys.add("narrow", "viewer@table=hourly")
    app = _app(keys.access(""))

    @app.websocket("/v1/follow/{name}", name="follow")
    async def follow(socket: WebSocket, name: str) -> None:
        require(socket, "query", topology="t", table=name)
        await socket.accept()

    async def main() -> None:
        assert await _status(app, "WEBSOCKET", "/v1/follow/hourly", keys.bearer("narrow")) == 101
        assert await _status(app, "WEBSOCKET", "/v1/follow/other", keys.bearer("narrow")) == 403
        assert await _status(app, "WEBSOCKET", "/v1/follow/other", keys.bearer("viewer")) == 101

    asyncio.run(main())


def test_what_is_not_said_is_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("STREAMFLOW_")]:
        monkeypatch.delenv(name)
    url, file = "http://w", Keys(tmp_path, a="viewer").path
    assert access_of(load_settings(), url).is_open
    assert access_of(load_settings(http_host="::1"), url).is_open
    assert access_of(load_settings(http_host="0.0.0.0", http_anonymous=True), url).is_open
    secret = {"worker_secret": "s" * 32}
    assert not access_of(load_settings(http_host="0.0.0.0", api_keys_file=file, **secret), url).is_open
    refused: list[tuple[dict[str, object], str]] = [
        ({"http_host": "0.0.0.0"}, "could do everything"),
        ({"http_host": "worker-1"}, "could do everything"),
        ({"api_keys_file": file}, "STREAMFLOW_WORKER_SECRET needs"),
        ({"api_keys_file": file, "http_anonymous": True}, "contradicts"),
        ({"api_keys_file": tmp_path / "none", **secret}, "streamflow keys new"),
        ({"oidc_issuer": "https://id.test", **secret}, "STREAMFLOW_OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://id.test", "oidc_audience": "a", **secret}, "is not https"),
    ]
    for given, message in refused:
        with pytest.raises(SettingsError, match=message):
            access_of(load_settings(**given), url)
