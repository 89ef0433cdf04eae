"""HTTP nodes against a server that misbehaves: what becomes of a row, and what is left behind."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamflow.calls.addresses import AddressGuard
from streamflow.calls.breaker import Circuit
from streamflow.calls.caller import Answer, Outside
from streamflow.calls.guarded import GuardedCaller
from streamflow.errors import CallFailed, ErrorClass, TopologyError
from streamflow.runtime.result_folders import ResultFolders
from tests.calls.callers import LOCAL, lower, origin, request, row
from tests.calls.server import Server

FAST = {"timeout": "30s", "retry": {"attempts": 3, "base": 1, "cap": 20}}


def ask(
    node: Any, rows: list[Any], outside: Outside = LOCAL, see: Callable[[GuardedCaller], None] = lambda _: None
) -> list[Answer]:
    """Answers to rows, all asked at once."""

    async def run() -> list[Answer]:
        guarded = GuardedCaller(node.action.make("node", outside), node.policy)
        await guarded.caller.open()
        try:
            return list(await asyncio.gather(*(guarded.answer(each, origin(n)) for n, each in enumerate(rows))))
        finally:
            see(guarded)
            await guarded.caller.close()

    return asyncio.run(run())


def failure(answer: Answer) -> tuple[str, ErrorClass, dict[str, str]]:
    assert isinstance(answer.error, CallFailed), answer
    details = {name: value.decode() for name, value in answer.error.details}
    return answer.error.reason, answer.error.error_class, details


def test_fields_of_the_response_come_behind_those_of_the_row(server: Server) -> None:
    node = request(
        server.url + "/{path}/{customer.id|0}/{number}",
        query={"name": "{customer.name|nobody}"},
        headers={"X-Key": "${secret:key} {path}"},
    )
    outside = replace(LOCAL, environment={"STREAMFLOW_SECRET_KEY": "opensesame"})
    (answer, other) = ask(node, [row(21, customer={"id": "a/b?c", "name": "ä&b"}), row(4)], outside)
    assert msgspec.json.encode(answer.rows[0]) == (
        '{"path":"ok","number":21,"customer":{"id":"a/b?c","name":"ä&b"},"double":42,"place":"p21"}'.encode()
    )
    assert sorted(server.raw) == ["/ok/0/4?name=nobody", "/ok/a%2Fb%3Fc/21?name=%C3%A4%26b"]
    assert server.headers[0]["X-Key"] == "opensesame ok"
    assert (other.rows[0].double, other.rows[0].customer) == (8, None)


@pytest.mark.parametrize(
    ("path", "reason", "error_class", "calls"),
    [
        ("status/500", "status", ErrorClass.TRANSIENT, 3),
        ("status/429", "status", ErrorClass.TRANSIENT, 3),
        ("status/400", "status", ErrorClass.PERMANENT, 1),
        ("reset", "unreachable", ErrorClass.TRANSIENT, 3),
        ("redirect", "status", ErrorClass.PERMANENT, 1),
        ("huge", "response", ErrorClass.PERMANENT, 1),
        ("bomb", "response", ErrorClass.PERMANENT, 1),
        ("text", "response", ErrorClass.PERMANENT, 1),
    ],
)
def test_what_a_server_does_has_a_class_that_decides(
    server: Server, path: str, reason: str, error_class: ErrorClass, calls: int
) -> None:
    node = request(f"{server.url}/{path}/{{number}}", resilience=FAST, max_bytes=100_000)
    told = failure(ask(node, [row()])[0])
    assert told[:2] == (reason, error_class)
    assert (told[2]["sf-calls"], told[2]["sf-target"]) == (str(calls), server.url)
    if reason == "status":
        assert told[2]["sf-status"] == ("302" if path == "redirect" else path.removeprefix("status/"))
    # aiohttp sends a GET once more when its connection breaks.
    times = 2 if path == "reset" else 1
    assert sum(server.requests.values()) == calls * times, "a redirect is followed, or a permanent failure repeated"


@pytest.mark.parametrize("path", ["hang", "drip"])
def test_a_server_that_does_not_end_is_left_at_the_time_out(server: Server, path: str) -> None:
    node = request(
        f"{server.url}/{path}/{{number}}", resilience={"timeout": "200ms", "retry": {"attempts": 2, "base": 1}}
    )
    assert failure(ask(node, [row()])[0])[:2] == ("timeout", ErrorClass.TRANSIENT)
    assert sum(server.requests.values()) == 2


def test_who_finds_no_connection_waits_no_longer_than_its_time(server: Server) -> None:
    node = request(
        f"{server.url}/hang/{{number}}", connections=2, resilience={"timeout": "300ms", "retry": {"attempts": 1}}
    )
    answers = ask(node, [row(number) for number in range(3)])
    assert [failure(answer)[0] for answer in answers] == ["timeout"] * 3
    assert sum(server.requests.values()) == 2


def test_a_failure_that_passes_is_tried_again_and_retry_after_is_honoured(server: Server) -> None:
    node = request(f"{server.url}/fail/503/2/{{number}}", resilience=FAST)
    (answer,) = ask(node, [row(7)])
    assert (answer.rows[0].double, server.requests["/fail/503/2/7"]) == (14, 3)
    # The server asks for 30 s; the cap of 20 ms is the longest that anybody waits.
    quiet = request(f"{server.url}/fail/429/1/{{number}}/30", resilience=FAST)
    (answer,) = ask(quiet, [row(8)])
    assert (answer.rows[0].place, server.requests["/fail/429/1/8/30"]) == ("p30", 2)


def test_a_target_that_cannot_be_reached_is_transient() -> None:
    node = request("http://127.0.0.1:9/{number}", resilience=FAST)
    assert failure(ask(node, [row()])[0])[:2] == ("unreachable", ErrorClass.TRANSIENT)


@pytest.mark.parametrize(
    "address", ["64:ff9b:1::a00:1", "::10.0.0.1", "fec0::1", "ff02::1", "224.0.0.1", "2002:a00:1::"]
)
def test_addresses_that_only_look_public_are_inner_ones(address: str) -> None:
    assert "is an inner address" in (AddressGuard(()).problem(address) or "")
    assert AddressGuard(()).problem("2606:4700::1111") is None
    assert AddressGuard(()).problem("64:ff9b::101:101") is None, "1.1.1.1 behind NAT64"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"])
def test_inner_addresses_are_refused_whatever_they_look_like(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]
    outside = Outside(hosts=("*",))
    for scheme in ("http", "https"):
        node = request(f"{scheme}://{host}:{port}/ok/{{number}}", resilience=FAST)
        reason, _, _ = failure(ask(node, [row()], outside)[0])
        assert reason in ("address", "url", "unreachable"), "a socket was made"
    assert not server.requests


def test_a_name_that_resolves_to_an_inner_address_is_refused_at_the_socket(server: Server) -> None:
    node = request(server.url.replace("127.0.0.1", "localhost") + "/ok/{number}", resilience=FAST)
    assert failure(ask(node, [row()], Outside(hosts=("*",)))[0])[:2] == ("address", ErrorClass.PERMANENT)
    assert ask(node, [row(3)])[0].rows[0].double == 6, "allowed by the worker"
    assert failure(ask(node, [row()], replace(LOCAL, hosts=("*.example.com",)))[0])[:2] == ("host", ErrorClass.USER)


@pytest.mark.parametrize("value", ["..", ".", ""])
def test_a_value_does_not_lead_out_of_its_place_in_the_path(server: Server, value: str) -> None:
    (answer,) = ask(request(server.url + "/a/{path}/b"), [row(path=value)])
    assert failure(answer)[:2] == ("url", ErrorClass.USER)
    assert failure(ask(request(server.url + "/{customer.id}"), [row()])[0])[:2] == ("unresolved", ErrorClass.USER)
    assert not server.requests


def test_a_fallback_stands_in_and_is_marked(server: Server) -> None:
    resilience = {**FAST, "fallback": {"double": -1, "place": "?"}}
    node = request(server.url + "/{path}/{number}", resilience=resilience, degraded="guessed", keep=["number"])
    good, bad = (answer.rows[0] for answer in ask(node, [row(2), row(500, "status")]))
    assert (good.double, good.place, good.guessed, good.number) == (4, "p2", False, 2)
    assert (bad.double, bad.place, bad.guessed, bad.number) == (-1, "?", True, 500)


def test_results_are_kept_and_cannot_be_changed_by_who_gets_them(server: Server) -> None:
    cached = {"cache": {"size": 2, "ttl": "1h"}}
    node = request(server.url + "/ok/{number}", response={"double": "int", "at": "json"}, paths={}, resilience=cached)
    kept: list[GuardedCaller] = []

    async def run() -> None:
        guarded = GuardedCaller(node.action.make("node", LOCAL), node.policy)
        await guarded.caller.open()
        for place, number in enumerate((1, 1, 1, 2, 1, 3, 2)):
            answer = await guarded.answer(row(number, customer={"n": place}), origin())
            (found,) = answer.rows
            assert (found.double, found.at, found.customer) == (number * 2, {"place": f"p{number}"}, {"n": place})
            found.at["place"] = "mine"
        await guarded.caller.close()
        kept.append(guarded)

    asyncio.run(run())
    assert server.requests == {"/ok/1": 1, "/ok/2": 2, "/ok/3": 1}
    cache = kept[0].cache
    assert cache is not None
    assert (cache.hits, cache.misses, cache.evictions, len(cache)) == (3, 4, 2, 2)


def test_what_is_quickly_asked_is_not_worth_keeping(server: Server) -> None:
    node = request(server.url + "/ok/{number}", resilience={"cache": {"min_took": "1h"}})
    seen: list[GuardedCaller] = []
    assert [answer.rows[0].double for answer in ask(node, [row(3), row(3)], see=seen.append)] == [6, 6]
    assert server.requests == {"/ok/3": 2}
    assert seen[0].cache is not None
    assert len(seen[0].cache) == 0


def test_who_asks_for_the_same_at_once_shares_one_call(server: Server) -> None:
    """But for a result that cannot be kept: then each asks for itself."""
    cached = {**FAST, "cache": {"size": 10, "ttl": "1h", "mark": "kept"}}
    node = request(server.url + "/{path}/{number}", resilience=cached)
    seen: list[GuardedCaller] = []
    answers = ask(node, [row(n % 3) for n in range(30)] + [row(404, "status")] * 4, see=seen.append)
    assert [(answer.rows[0].double, answer.rows[0].kept) for answer in answers[:30]] == [
        (n % 3 * 2, n >= 3) for n in range(30)
    ]
    assert [failure(answer)[0] for answer in answers[30:]] == ["status"] * 4
    assert server.requests == {"/ok/0": 1, "/ok/1": 1, "/ok/2": 1, "/status/404": 4}
    assert seen[0].cache is not None
    assert (seen[0].cache.hits, seen[0].cache.misses) == (27, 7)


def test_enrich_gives_null_for_what_the_service_does_not_have(server: Server) -> None:
    made, problems = lower("enrich", url=server.url + "/{path}/{number}", response={"double": "int"})
    assert made is not None, problems
    found, missing = ask(made, [row(5), row(404, "status")])
    assert (found.rows[0].double, missing.rows[0].double, missing.rows[0].number) == (10, None, 404)
    strict, _ = lower("enrich", url=server.url + "/{path}/{number}", response={"double": "int"}, missing="dead_letter")
    assert failure(ask(strict, [row(404, "status")])[0])[:2] == ("status", ErrorClass.PERMANENT)


def test_a_webhook_sends_the_row_under_one_key_however_often(server: Server) -> None:
    made, problems = lower("webhook", url=server.url + "/fail/500/2/1", resilience=FAST)
    assert made is not None, problems
    (answer,) = ask(made, [row(9, customer={"id": 1})])
    assert answer.rows == [row(9, customer={"id": 1})], "a row that was taken goes on"
    assert server.bodies == [{"path": "ok", "number": 9, "customer": {"id": 1}}] * 3
    assert server.keys == {"t/t.node.queue/0/0/1000": 3}
    other, _ = lower("webhook", url=server.url + "/x", body={"who": {"id": "{customer.id}"}, "text": ["{path}!", 1]})
    ask(other, [row(9, customer={"id": 7})])
    assert server.bodies[-1] == {"who": {"id": 7}, "text": ["ok!", 1]}


def test_a_secret_that_is_not_there_is_told_at_the_start(server: Server) -> None:
    node = request(server.url + "/x", headers={"Authorization": "Bearer ${secret:none-such}"})
    with pytest.raises(TopologyError, match=r"nodes.node.headers.Authorization: there is no secret 'none-such'"):
        ask(node, [])


def test_ten_thousand_requests_through_one_node(server: Server) -> None:
    """Pool, bulkhead and breaker hold while the server fails now and then, and goes down once."""
    node = request(
        server.url + "/{path}/{number}",
        connections=30,
        concurrency=10_000,
        resilience={
            **FAST, "bulkhead": 100, "retry": {"attempts": 6, "base": 1, "cap": 20},
            "breaker": {"failures": 80, "open_for": 50, "patience": 60_000},
        },
    )  # fmt: skip
    # At the end only rows that fail are left, to be tried again: 10 of them 6 times, less than what opens the circuit.
    paths = {995: "status/500", 996: "fail/429/1", 997: "fail/503/1", 998: "reset", 999: "status/404"}
    rows = [row(number, paths.get(number % 2_000, "ok")) for number in range(10_000)]
    seen: list[GuardedCaller] = []
    server.down_between = range(3_000, 3_100)
    answers = ask(node, rows, see=seen.append)
    for number, answer in enumerate(answers):
        match number % 2_000:
            case 995:
                assert failure(answer)[:2] == ("status", ErrorClass.TRANSIENT)
            case 998:
                assert failure(answer)[:2] == ("unreachable", ErrorClass.TRANSIENT)
            case 999:
                assert failure(answer)[:2] == ("status", ErrorClass.PERMANENT)
            case _:
                assert answer.rows[0].double == 2 * number
    assert server.largest <= 30, "no more connections than the pool has"
    assert (seen[0].under_way, seen[0].counts.answered) == (0, 9_985)
    assert seen[0].opened_count >= 1, "the outage was not noticed"
    assert seen[0].circuits == {server.url: Circuit.CLOSED}


def test_results_outlive_their_worker_on_disk(server: Server, tmp_path: Path) -> None:
    """A worker that comes back asks for nothing that it had asked for, and marks what it did not ask for."""
    outside = replace(LOCAL, results=ResultFolders(tmp_path))
    cached = {"size": 2, "ttl": "1h", "disk_bytes": 1 << 20, "mark": "kept"}

    def life(numbers: list[int], **changed: Any) -> tuple[list[Any], dict[str, Any]]:
        node = request(server.url + "/ok/{number}", resilience={"cache": cached | changed})
        views: list[dict[str, Any]] = []

        async def run() -> list[Any]:
            guarded = GuardedCaller(node.action.make("node", outside), node.policy)
            assert outside.results is not None
            await guarded.open(partial(outside.results, "node"))
            rows = [(await guarded.answer(row(number), origin())).rows[0] for number in numbers]
            assert guarded.cache is not None
            views.append(guarded.cache.view())
            await guarded.close()
            return rows

        return asyncio.run(run()), views[0]

    rows, view = life([1, 2, 3, 4, 1])
    assert [(each.double, each.kept) for each in rows] == [(2, False), (4, False), (6, False), (8, False), (2, True)]
    assert (view["hits"], view["misses"], view["disk"]["hits"], view["evictions"]) == (1, 4, 1, 3), "memory holds two"
    rows, view = life([4, 3, 2, 1, 5, 4])
    assert [each.double for each in rows] == [8, 6, 4, 2, 10, 8]
    assert [each.kept for each in rows] == [True, True, True, True, False, True]
    assert (view["hits"], view["misses"], view["disk"]["hits"]) == (5, 1, 5)
    assert server.requests == {f"/ok/{number}": 1 for number in range(1, 6)}
    assert [each.kept for each in life([1], ttl="1ms")[0]] == [False], "too old"
    (tmp_path / "node" / "CURRENT").write_text("damaged")
    assert [each.kept for each in life([2, 2])[0]] == [False, True], "what is damaged begins anew"
