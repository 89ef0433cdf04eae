"""Publishing: what is stored is what was sent, byte for byte but for line breaks; what cannot be is refused by name."""

import asyncio
import json
from itertools import product

from streamflow.web.limits import PublishLimits, TokenBucket
from tests.web.workers import EVENTS, workers

_EVENT = {"time": 1_000, "shop": "a", "amount": 1}
_PRETTY = json.dumps(_EVENT, indent=2)
_HUGE = "9" * 400


def test_a_pretty_printed_event_keeps_its_numbers() -> None:
    """Nothing is decoded and encoded again: a number that no float holds is stored as it was written."""

    async def main() -> None:
        async with workers(1) as (one,):
            for number, line_break in product(
                (_HUGE, f"-{_HUGE}", "1e99999", "0.10000000000000000555"), ("\n", "\r\n")
            ):
                event = _PRETTY.replace("\n}", f',\n  "other": {number}\n}}').replace("\n", line_break)
                answer = await one.post(event)
                assert (answer.status_code, answer.json()["accepted"]) == (200, 1), answer.text
                key, value = one.published.pop()
                assert (key, value.count(b"\n"), value.count(b"\r")) == (b"a", 0, 0)
                assert value.split() == event.encode().split()

    asyncio.run(main())


_JUNK = [
    _PRETTY.replace("1000", _HUGE),
    _PRETTY.replace('"a"', '"a\nb"'),
    '{\n"time": 1, "shop": "a", "amount": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"time": 1, "shop": "a", "amount": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '[{"time": 1, "shop": "\\ud800", "amount": 1}]',
    '{"time": 1, "shop": "a", "amount": 1},{"time": 1, "shop": "a", "amount": 1}',
    '{"time": NaN, "shop": "a", "amount": 1}',
    "null",
    "7",
    '"text"',
    "[1, [2]]",
    "\x00\n\x01",
    "[" * 100_000,
    "{" * 100_000 + "\n",
]


def test_junk_is_refused_and_nothing_of_it_stored() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            for body in _JUNK:
                answer = await one.post(body)
                assert answer.status_code == 422, body[:100]
                assert one.published == []

    asyncio.run(main())


def test_invalid_utf8_is_refused() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            answer = await one.post(b'{"time": 1, "shop": "\xff", "amount": 1}')
            assert (answer.status_code, one.published) == (422, [])

    asyncio.run(main())


def test_the_good_events_of_a_request_are_stored_and_the_bad_ones_named() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            answer = await one.post(json.dumps([_EVENT, {**_EVENT, "amount": "x"}, _EVENT], indent=1))
            body = answer.json()
            assert (answer.status_code, body["accepted"]) == (200, 2)
            assert [(each["index"], each["reason"]) for each in body["rejected"]] == [(1, "decode")]
            assert [json.loads(value) for _, value in one.published] == [_EVENT, _EVENT]

    asyncio.run(main())


def test_lines_and_one_key_for_all() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            line = json.dumps(_EVENT)
            answer = await one.post(f"{line}\r\n{line}\n", f"{EVENTS}?key=k")
            assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
            assert one.published == [(b"k", line.encode())] * 2
            empty = await one.post(line, f"{EVENTS}?key=")
            assert (empty.status_code, len(one.published)) == (422, 2)

    asyncio.run(main())


def test_types_that_are_not_json_are_refused() -> None:
    """Also what a page's form can send without asking."""

    async def main() -> None:
        async with workers(1) as (one,):
            body = json.dumps(_EVENT)
            for taken in (
                "application/json",
                "application/json; charset=utf-8",
                "application/x-ndjson",
                "APPLICATION/JSON",
            ):
                assert (await one.post(body, content_type=taken)).status_code == 200, taken
            one.published.clear()
            for wrong in (
                "text/plain",
                "text/csv",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
            ):
                answer = await one.post(body, content_type=wrong)
                assert (answer.status_code, answer.json()["title"]) == (415, "media_type"), wrong
            assert (await one.post(body, content_encoding="gzip")).status_code == 415
            assert one.published == []

    asyncio.run(main())


def test_a_request_is_bounded_in_events_bytes_and_headers() -> None:
    async def main() -> None:
        async with workers(1, PublishLimits(body_bytes=10_000, batch_events=3)) as (one,):
            line = json.dumps(_EVENT)
            assert (await one.post(f"{line}\n" * 3)).status_code == 200
            for body in (f"{line}\n" * 4, json.dumps([_EVENT] * 4)):
                answer = await one.post(body)
                assert (answer.status_code, answer.json()["title"]) == (413, "too_many")
            assert (await one.post(" " * 10_001)).json()["title"] == "too_large"
            assert (await one.post(line, x_filler="x" * (17 << 10))).status_code == 431
            assert len(one.published) == 3

    asyncio.run(main())


def test_an_event_nests_32_deep_and_no_deeper() -> None:
    """Brackets in texts count for nothing."""

    async def main() -> None:
        async with workers(1) as (one,):
            for depth, text, accepted in (
                (31, "", 1),
                (32, "", 0),
                (5, "[{" * 100 + '\\"[[[\\\\', 1),
                (40, "]" * 40, 0),
            ):
                event = json.dumps(_EVENT)[:-1] + f', "text": "{text}", "deep": ' + "[" * depth + "]" * depth + "}"
                answer = (await one.post(event)).json()
                assert answer["accepted"] == accepted, (depth, answer)
                assert accepted or answer["rejected"][0]["reason"] == "decode"

    asyncio.run(main())


def test_a_topic_takes_so_many_events_a_second_and_says_when_to_come_back() -> None:
    async def main() -> None:
        async with workers(1, PublishLimits(events_per_s=100)) as (one,):
            assert (await one.post(json.dumps([_EVENT] * 300))).status_code == 200
            answer = await one.post(json.dumps(_EVENT))
            assert (answer.status_code, answer.json()["title"]) == (429, "too_fast")
            assert answer.headers["retry-after"] == "2"
            assert len(one.published) == 300

    asyncio.run(main())


def test_a_bucket_fills_again_and_holds_one_second_at_most() -> None:
    now = [0.0]
    bucket = TokenBucket(10, lambda: now[0])
    bucket.take(30)
    assert bucket.wait_s() == 2.0
    now[0] = 2.5
    assert bucket.wait_s() == 0.0
    now[0] = 100.0
    assert bucket.wait_s() == 0.0
    bucket.take(20)
    assert bucket.wait_s() == 1.0


def test_the_document_shows_bodies_that_are_taken() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            operation = (await one.get("/openapi.json")).json()["paths"]["/v1/topics/{topic}/events"]["post"]
            assert {"200", "404", "408", "413", "415", "422", "429", "503"} <= set(operation["responses"])
            for kind, content in operation["requestBody"]["content"].items():
                for name, example in content["examples"].items():
                    value, topic = example["value"], name.rpartition(" ")[2]
                    body = value if isinstance(value, str) else json.dumps(value)
                    answer = await one.post(body, f"/v1/topics/{topic}/events", content_type=kind)
                    assert (answer.status_code, answer.json()["rejected"]) == (200, []), answer.text

    asyncio.run(main())


def test_a_plain_publish_answers_as_one_that_the_framework_looks_at() -> None:
    """A query, whatever it says, goes to the route; without one the request is answered before it."""

    async def main() -> None:
        async with workers(1, PublishLimits(body_bytes=10_000)) as (one,):
            good = json.dumps(_EVENT)
            asked: list[tuple[str, str, dict[str, str]]] = [
                (good, EVENTS, {}),
                (json.dumps([_EVENT, {**_EVENT, "amount": "x"}]), EVENTS, {}),
            ]
            asked += [(body, EVENTS, {}) for body in ("", "{", "null", " " * 10_001)]
            asked += [(good, EVENTS, {"content_type": "text/plain"}), (good, EVENTS, {"content_encoding": "gzip"})]
            asked += [(good, f"/v1/topics/{topic}/events", {}) for topic in ("t.shops", "t.sale", "t%2Esales", "a%2Fb")]
            asked += [(good, "/v1/topics//events", {})]
            for body, path, headers in asked:
                plain = await one.post(body, path, **headers)
                looked_at = await one.post(body, f"{path}?timeout_ms=5000", **headers)
                assert plain.status_code == looked_at.status_code, (path, body[:20])
                assert plain.headers["content-type"] == looked_at.headers["content-type"]
                told, expected = plain.json(), looked_at.json()
                assert (told.pop("token", None) is None) == (expected.pop("token", None) is None)
                assert told == expected
            assert len(one.published) == 2 * 3  # good, one of two, and the same under an encoded name

    asyncio.run(main())
