"""Breaker, rate limit, pauses and templates, by a clock that is moved by hand."""

from typing import Any

import pytest

from streamflow.calls.addresses import AddressGuard, host_allowed
from streamflow.calls.breaker import Breaker, Circuit, Pass
from streamflow.calls.cache_advice import advice, grade
from streamflow.calls.policy import BreakerPlan, CachePlan, Policy, RatePlan, Retry
from streamflow.calls.rate import RateLimit
from streamflow.calls.result_cache import ResultCache
from streamflow.calls.template import compile_template
from streamflow.errors import CallFailed
from tests.calls.callers import SCHEMA, lower, row


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_goes_round_its_states() -> None:
    clock = Clock()
    breaker = Breaker(BreakerPlan(failures=3, open_ms=1_000), clock)
    states = []
    for _ in range(2):
        breaker.failed(Pass())
    breaker.succeeded(Pass())
    for _ in range(3):
        assert breaker.ask() == Pass()
        states.append(breaker.circuit)
        breaker.failed(Pass())
    states.append(breaker.circuit)
    assert breaker.ask() == pytest.approx(1.0)
    clock.now += 1.0
    states.append(breaker.circuit)
    assert breaker.ask() == Pass(probe=True)
    assert isinstance(breaker.ask(), float), "one probe at a time"
    breaker.failed(Pass(probe=True))
    states.append(breaker.circuit)
    clock.now += 1.0
    assert breaker.ask() == Pass(probe=True)
    breaker.gave_up(Pass(probe=True))
    assert breaker.ask() == Pass(probe=True), "a probe without an outcome makes room for another"
    breaker.succeeded(Pass(probe=True))
    states.append(breaker.circuit)
    closed, opened, half = Circuit.CLOSED, Circuit.OPEN, Circuit.HALF_OPEN
    assert states == [closed, closed, closed, opened, half, opened, closed]
    assert (breaker.ask(), breaker.opened_count) == (Pass(), 2)


def test_a_target_that_is_back_gets_twice_as_many_with_each_answer() -> None:
    clock = Clock()
    breaker = Breaker(BreakerPlan(failures=3, open_ms=1_000), clock)

    def admitted() -> int:
        count = 0
        while count < 5_000 and isinstance(breaker.ask(), Pass):
            count += 1
        return count

    assert admitted() == 5_000, "nothing holds back what never failed"
    for _ in range(3):
        breaker.failed(Pass())
    clock.now += 1.0
    assert breaker.ask() == Pass(probe=True)
    breaker.succeeded(Pass(probe=True))
    waves = []
    for _ in range(9):
        waves.append(admitted())
        for _ in range(waves[-1]):
            breaker.succeeded(Pass())
    assert waves == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    breaker.failed(Pass())
    breaker.gave_up(Pass())
    assert admitted() == 5_000, "it has all that there is"
    for _ in range(3):
        breaker.failed(Pass())
    clock.now += 1.0
    breaker.ask()
    breaker.failed(Pass(probe=True))
    clock.now += 1.0
    breaker.ask()
    breaker.succeeded(Pass(probe=True))
    assert admitted() == 2
    for _ in range(2):
        breaker.failed(Pass())
    assert admitted() == 2, "what fails lets only its successor go"


def test_patience_is_for_probes_and_ends() -> None:
    clock = Clock()
    breaker = Breaker(BreakerPlan(failures=1, open_ms=10, patience_ms=5_000), clock)
    breaker.failed(Pass())
    assert not breaker.is_patient(Pass())
    assert breaker.is_patient(Pass(probe=True))
    clock.now += 4.9
    breaker.failed(Pass(probe=True))
    assert breaker.is_patient(Pass(probe=True))
    clock.now += 0.2
    assert not breaker.is_patient(Pass(probe=True)), "counted from the first failure, not from the last"
    assert not Breaker(BreakerPlan(waits=False), clock).is_patient(Pass(probe=True))


def test_quiet_that_was_asked_for_is_no_failure() -> None:
    clock = Clock()
    breaker = Breaker(None, clock)
    breaker.be_quiet(2.0)
    assert breaker.ask() == pytest.approx(2.0)
    clock.now += 2.0
    assert (breaker.ask(), breaker.circuit) == (Pass(), Circuit.CLOSED)


def test_tokens_come_in_order_and_no_faster_than_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(RatePlan(rate=10, per_ms=1_000, burst=3), clock)
    waits = [limit.reserve() for _ in range(8)]
    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3, 0.4, 0.5])
    clock.now += 10.0
    assert [limit.reserve() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1]), (
        "a silence saves no more than the burst"
    )


def test_pauses_grow_to_their_cap_and_are_spread() -> None:
    retry = Retry(attempts=9, base_ms=1_000, factor=2.0, cap_ms=5_000, jitter=0.5)
    assert [retry.pause_s(failed, 0.0) for failed in (1, 2, 3, 4, 5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert [retry.pause_s(failed, 1.0) for failed in (1, 2, 3)] == [0.5, 1.0, 2.0]


def test_defaults_are_those_of_the_pages() -> None:
    made, problems = lower(
        "http_request", url="https://example.com/", response={"double": "int"}, resilience={"cache": {}}
    )
    assert made is not None, problems
    action: Any = made.action
    policy, retry = made.policy, made.policy.retry
    assert (policy.timeout_ms, action.connect_timeout_ms, action.pool, action.max_bytes) == (30_000, 5_000, 20, 1 << 20)
    assert (retry.attempts, retry.base_ms, retry.factor, retry.cap_ms, retry.jitter) == (3, 1_000, 2.0, 30_000, 0.5)
    assert retry.on == {"transient"}
    assert policy.cache is not None
    assert (policy.cache.max_entries, policy.cache.ttl_ms) == (1_000, 300_000)
    assert (policy.breaker, policy.rate, policy.fallback, policy.bulkhead) == (None, None, None, 0)
    assert Policy() == lower("http_request", url="https://example.com/", response={"double": "int"})[0].policy  # type: ignore[union-attr]


def test_a_cache_is_bounded_in_number_bytes_and_age() -> None:
    clock = Clock()
    cache = ResultCache(CachePlan(max_entries=3, max_bytes=10_000, ttl_ms=1_000), clock)
    for name in (b"a", b"b", b"c"):
        cache.put(name, name)
    assert cache.get(b"a") == b"a"
    cache.put(b"d", b"d")
    assert (cache.get(b"b"), cache.get(b"a"), cache.evictions) == (None, b"a", 1), "least recently used goes first"
    clock.now += 0.999
    assert cache.get(b"a") == b"a"
    clock.now += 0.002
    assert cache.get(b"a") is None
    assert cache.hit_ratio == pytest.approx(3 / 5)
    cache.put(b"large", b"x" * 2_000)
    assert cache.get(b"large") is None, "what is larger than a tenth of all is not worth the others"
    for number in range(100):
        cache.put(b"%d" % number, b"x" * 900)
        assert cache.size_bytes <= 10_000
        assert len(cache) <= 3
    cache.put(b"empty", b"")
    assert cache.get(b"empty") == b"", "an empty result is a result"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("{number}/{path}", "7/a b"),
        ("{customer.name}, {customer.tags.1}", "Ann, y"),
        ("{customer.none|nobody}{customer.tags.9|}", "nobody"),
        ("{{{number}}}", "{7}"),
        ("{customer.vip}", "true"),
    ],
)
def test_templates_look_values_up(source: str, expected: str) -> None:
    given = row(7, "a b", {"name": "Ann", "tags": ["x", "y"], "vip": True, "__class__": "text"})
    assert compile_template(source, SCHEMA).text(given) == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{nmber}", "unknown field 'nmber'"),
        ("{number.real}", "'number' is int, it has no members"),
        ("{path.__class__}", "'path' is str, it has no members"),
        ("{customer.name", "a brace is alone"),
        ("{customer!r}", "is no path"),
        ("{}", "is no path"),
    ],
)
def test_templates_that_cannot_be_are_refused(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compile_template(source, SCHEMA)


def test_a_template_never_reaches_beyond_json_and_is_read_once() -> None:
    template = compile_template("{customer.__class__}{customer.a}", SCHEMA)
    with pytest.raises(CallFailed, match=r"customer.__class__ has no value"):
        template.text(row(customer={}))
    assert compile_template("{customer.a}", SCHEMA).text(row(customer={"a": "{number}"})) == "{number}"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_inner_addresses_are_known_in_every_form(address: str, allowed: bool) -> None:
    assert (AddressGuard(()).problem(address) is None) == allowed
    assert AddressGuard((), only_listed=True).problem(address) is not None


def test_hosts_are_compared_without_case() -> None:
    assert host_allowed("API.Example.com", ["*.example.com"])
    assert not host_allowed("example.com.evil.org", ["*.example.com"])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"url": "ftp://x/"}, "is no URL"),
        ({"url": "https://{path}.example.com/"}, "scheme, host and port must stand in the text"),
        ({"url": "https://example.com{path}"}, "scheme, host and port must stand in the text"),
        ({"url": "https://user:pass@example.com/"}, "a password in a URL would be seen"),
        ({"url": "https://example.com/?q={path}"}, "parameters do not belong into the URL"),
        ({"url": "https://example.com/{path}?q={number}"}, "parameters do not belong into the URL"),
        ({"url": "https://example.com:99999/"}, "scheme, host and port must stand in the text"),
        ({"headers": {"Authorization": "Bearer abc"}}, "Authorization is a secret"),
        ({"headers": {"Host": "other"}}, "set by the client"),
        ({"headers": {"a b": "x"}}, "is no header"),
        ({"response": {"double": "integer"}}, "unknown type"),
        ({"response": {"number": "int"}}, "would have 'number' twice"),
        ({"paths": {"other": "a"}}, "is no field of the response"),
        ({"keep": ["nmber"]}, "unknown field 'nmber'"),
        ({"method": "GET", "body": {}}, "GET has no body"),
        ({"resilience": {"fallback": {"double": "x", "place": "y"}}}, "double: Expected `int"),
        ({"resilience": {"fallback": {"double": 1}}}, "the fallback has no 'place'"),
        ({"resilience": {"fallback": {"double": 1, "place": "", "z": 1}}}, "the node gives no field 'z'"),
    ],
)
def test_what_cannot_be_is_refused_when_the_topology_is_read(config: dict[str, Any], said: str) -> None:
    base = {"url": "https://example.com/{path}", "response": {"double": "int", "place": "str"}}
    made, problems = lower("http_request", **{**base, **config})
    assert made is None
    assert any(said in problem.message for problem in problems), problems


def test_a_cache_says_how_it_does_and_what_would_help() -> None:
    plan = CachePlan(max_entries=1_000, max_bytes=1 << 20, ttl_ms=1_000)
    figures = {"hits": 71, "misses": 29, "hit_ratio": 0.71, "entries": 10, "evictions": 0}
    assert (grade(figures), advice(figures, plan)) == ("good", [])
    assert grade(figures | {"hits": 70, "misses": 30, "hit_ratio": 0.7}) == "needs_optimization"
    assert (grade(figures | {"misses": 0}), advice(figures | {"misses": 0, "hit_ratio": 0.1}, plan)) == ("", []), (
        "too few"
    )
    (longer,) = advice(figures | {"hit_ratio": 0.49}, plan)
    assert "`ttl`" in longer
    assert "`disk_bytes`" in longer
    (larger,) = advice(figures | {"evictions": 72}, plan)
    assert "raise `size`" in larger
    assert advice(figures | {"entries": 801}, plan) == ["the cache is nearly full: with `size: 1500` more would stay"]
