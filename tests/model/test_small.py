"""Durations, names, tokens, chunks and the partitioner."""

import os

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from streamflow.errors import UserError
from streamflow.model.chunk import Chunk, Run
from streamflow.model.durations import format_duration, parse_duration_ms
from streamflow.model.names import field_problem, node_problem, topic_problem
from streamflow.model.partitioner import murmur2, partition_of
from streamflow.model.position import decode_token, encode_token


@pytest.mark.parametrize(
    ("text", "value"), [("500ms", 500), ("2h", 7_200_000), ("1.5s", 1_500), (7, 7), ("1w", 604_800_000)]
)
def test_durations_are_read(text: str | int, value: int) -> None:
    assert parse_duration_ms(text) == value
    assert parse_duration_ms(format_duration(value)) == value


@pytest.mark.parametrize("text", ["", "2", "h", "-1s", "0.5ms", "1y", -5, True, None])
def test_other_durations_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_ms(text)  # type: ignore[arg-type]


# Values of Apache Kafka's own UtilsTest.
@pytest.mark.parametrize(
    ("key", "value"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_murmur2_is_kafkas(key: bytes, value: int) -> None:
    assert murmur2(key) == value & 0xFFFFFFFF


def test_partitions_are_those_of_other_clients() -> None:
    for length in range(40):
        key = os.urandom(length)
        assert partition_of(key, 12) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % 12


@given(st.dictionaries(st.text(max_size=9), st.dictionaries(st.integers(0, 99), st.integers(0, 2**60)), max_size=4))
def test_tokens_come_back(positions: dict[str, dict[int, int]]) -> None:
    assert decode_token(encode_token(positions)) == positions


@given(st.text(max_size=50))
def test_junk_tokens_are_refused(text: str) -> None:
    try:
        decode_token(text)
    except UserError as error:
        assert "token" in str(error)


def test_offsets_follow_the_runs() -> None:
    chunk = Chunk("t", 0, [b"a", b"b", b"c"], [Run(0, 10, 5), Run(2, 40, 9)], 50)
    assert [chunk.offset_at(index) for index in range(3)] == [10, 11, 40]
    assert chunk.record(2).timestamp_ms == 9


@pytest.mark.parametrize("name", ["A", "a-b", "", "1a", "a" * 70, "nöde"])
def test_node_names(name: str) -> None:
    assert node_problem(name) is not None
    assert node_problem("good_1") is None


@pytest.mark.parametrize("name", ["class", "_x", "a b", "None", "a.b"])
def test_field_names(name: str) -> None:
    assert field_problem(name) is not None
    assert field_problem("camelCase_1") is None


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "_a", "x" * 300])
def test_topic_names(name: str) -> None:
    assert topic_problem(name) is not None
    assert topic_problem("flights.departures-1_a") is None


@pytest.mark.parametrize("text", ["9" * 400 + "s", "0." + "1" * 30 + "s"])
def test_endless_numbers_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_ms(text)


def test_tokens_of_many_partitions_come_back() -> None:
    positions = {"topic": dict.fromkeys(range(1000), 10**12)}
    assert decode_token(encode_token(positions)) == positions
