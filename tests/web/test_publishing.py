"""Publishing: what is stored is what was sent, byte for byte but for line breaks; what cannot be is refused by name."""

import asyncio
import json
from itertools import product

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
