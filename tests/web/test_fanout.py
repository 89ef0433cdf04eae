"""What waits for a client: a model beside it, and the bounds."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.web.fanout import SLOW_READER, Outbox, Seats
from streamflow.web.problems import Refusal

_PUTS = st.lists(st.tuples(st.sampled_from("abcde"), st.binary(min_size=1, max_size=5)), max_size=8)


@given(st.lists(st.tuples(_PUTS, st.integers(1, 12)), max_size=8))
def test_a_client_that_takes_at_its_own_pace_ends_with_the_latest_of_every_key(
    rounds: list[tuple[list[tuple[str, bytes]], int]],
) -> None:
    async def main() -> None:
        outbox, latest, seen = Outbox(), {}, {}
        for puts, limit in rounds:
            for key, value in puts:
                latest[key] = value
                outbox.put(key, key.encode() + value)
            for data in outbox.take(limit):
                seen[data[:1].decode()] = data[1:]
        while not outbox.is_empty:
            for data in outbox.take(1):
                seen[data[:1].decode()] = data[1:]
        assert seen == latest
        assert outbox._size_bytes == 0
        assert not await outbox.wait(0)

    asyncio.run(main())


def test_keys_and_bytes_are_bounded_and_a_newer_value_takes_no_room() -> None:
    async def main() -> None:
        outbox = Outbox(items_max=3, max_bytes=100)
        for number in range(1_000):
            outbox.put(number % 3, b"x" * 10)
        assert not outbox.closed
        outbox.put("one more", b"x")
        assert outbox.closed == SLOW_READER
        assert await outbox.wait(0)
        assert outbox.take() == []
        large = Outbox(items_max=1_000, max_bytes=100)
        large.put_all(dict.fromkeys(range(10), b"x" * 10), 100)
        assert not large.closed
        large.put(0, b"x" * 11)
        assert large.closed == SLOW_READER
        large.close("later")
        assert large.closed == SLOW_READER, "the first reason is the reason"

    asyncio.run(main())


def test_what_waits_under_a_prefix_can_be_forgotten() -> None:
    async def main() -> None:
        outbox = Outbox()
        outbox.put_all({b"1a": b"x", b"1b": b"y", b"2a": b"z"}, 3)
        outbox.drop(b"1")
        assert outbox.take() == [b"z"]

    asyncio.run(main())


def test_seats_are_given_back() -> None:
    seats = Seats(1, "tables")
    seats.take()
    with pytest.raises(Refusal) as refused:
        seats.take()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    seats.leave()
    seats.take()
    assert seats.taken_count == 1
