"""How batches are put together for a copy, and which topics are copied."""

import asyncio
from typing import Any

import pytest

from streamflow.errors import BrokerUnavailable, Fenced
from streamflow.model.chunk import Record
from streamflow.model.letter import Letter
from streamflow.model.redrive import event_again
from streamflow.plan.cluster import replica_count
from streamflow.plan.mirrored import mirrored_topics
from streamflow.plan.planner import make_plan
from streamflow.runtime import mirror
from streamflow.runtime.hooks.drain import CopiedBatch
from streamflow.runtime.mirror import PartitionFigures, grouped
from streamflow.runtime.mirror_log import MIRRORED, born_at
from streamflow.settings.settings import Settings
from streamflow.topology.yaml_file import parse_topology


def _batch(newest_ms: int, *records: Record) -> CopiedBatch:
    return CopiedBatch(newest_ms, len(records) == 1, records[-1].offset + 1, list(records))


def _record(offset: int, headers: tuple[tuple[str, bytes], ...] = (), value: bytes = b"v") -> Record:
    return Record(offset, b"k", value, 1, headers)


def _offsets(batches: list[CopiedBatch], limit_bytes: int = 1 << 20) -> list[list[int | None]]:
    return [
        [born_at(Record(0, key, value, time_ms, tuple(headers)), "eu") for key, value, headers, time_ms in group]
        for group in grouped(batches, "eu", limit_bytes)
    ]


def test_batches_are_put_together_where_nobody_can_tell() -> None:
    """An engine believes a header only in a record that was written alone, and judges times by a batch's newest."""
    followed = (("sf-execution", b"e"),)
    same = [_batch(5, _record(0)), _batch(5, _record(1), _record(2)), _batch(6, _record(3)), _batch(6, _record(4))]
    assert _offsets(same) == [[0, 1, 2], [3, 4]]
    alone = [_batch(5, _record(0)), _batch(5, _record(1, followed)), _batch(5, _record(2)), _batch(5, _record(3))]
    assert _offsets(alone) == [[0], [1], [2, 3]]
    together = [_batch(5, _record(0, followed), _record(1)), _batch(5, _record(2))]
    assert _offsets(together) == [[0, 1, 2]], "was not written alone"


def test_an_event_that_is_redriven_in_one_region_is_not_one_more_in_the_other() -> None:
    """There it may have been worked on, or have a letter of its own."""
    letter = Letter(Record(3, b"k", b"v", 1, (("sf-topic", b"in"), ("sf-partition", b"0"), ("sf-offset", b"0"))))
    key, value, headers, time_ms = event_again(letter, "execution", 5)
    again = Record(1, key, value, time_ms, tuple(headers))
    assert _offsets([_batch(5, _record(0)), _batch(5, again), _batch(5, _record(2))]) == [[0], [2]]
    assert _offsets([_batch(5, again, _record(2))]) == [[1, 2]], "a stranger's, as it was not written alone"


def test_copies_are_not_copied_and_large_batches_are_parted() -> None:
    copied = ((MIRRORED, b"us/7"),)
    assert _offsets([_batch(5, _record(0), _record(1, copied), _record(2))]) == [[0, 2]]
    assert _offsets([_batch(5, _record(0, copied))]) == []
    large = [_batch(5, *(_record(offset, value=b"x" * 400) for offset in range(5)))]
    assert _offsets(large, 1_100) == [[0, 1], [2, 3], [4]]
    assert _offsets(large, 100) == [[0], [1], [2], [3], [4]], "a record is never parted"


def test_a_transaction_that_takes_too_long_is_tried_again_with_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a target that is slow, and has a day to catch up with, would never get any of it."""
    tried: list[int] = []

    class Slow:
        def __init__(self, *given: Any) -> None:
            tried.append(given[-1])
            self.has_copied = len(tried) == 5

        async def run(self) -> None:
            if len(tried) == 6:
                raise Fenced("the end")
            raise BrokerUnavailable("a transaction took too long")

    monkeypatch.setattr(mirror, "_Session", Slow)
    monkeypatch.setattr(mirror, "_BACKOFF_MAX_S", 0.0)
    monkeypatch.setattr(mirror, "_BACKOFF_S", 0.0)
    with pytest.raises(Fenced):
        asyncio.run(mirror.run_mirror(mirror.Mirror(Settings(), Settings(), "eu", ()), lambda *_: None))
    assert tried == [200, 50, 12, 3, 1, 200]


def test_how_far_behind_a_copy_is_while_events_flow() -> None:
    """The newest end is never reached then."""
    figures = PartitionFigures(complete_at=0.0)
    for second in range(1, 6):
        figures.look(position=second * 100 - 30, end=second * 100, at=float(second))
    assert figures.lag == 30
    assert figures.complete_at == 3.0, "the end of second 3 was copied by second 4, that of second 5 is not yet"
    for second in (6, 7):
        figures.look(position=470, end=500, at=float(second))
    assert figures.complete_at == 3.0
    figures.look(position=500, end=500, at=8.0)
    assert (figures.lag, figures.complete_at) == (0, 8.0)


def test_what_topologies_write_is_not_copied() -> None:
    text = """
    topology: {name}
    schemas: {{A: {{time: timestamp, k: str}}, R: {{k: str}}}}
    nodes:
      a:   {{kind: source, topic: {source}, schema: A, event_time: time, key: k}}
      at:  {{kind: source, topic: {name}.polls, schema: A, event_time: time, key: k, timer: {{every: 1m, rows: [{{k: x}}]}} }}
      ref: {{kind: global_table, topic: refs, schema: R, key: k}}
      out: {{kind: sink, input: a, topic: {sink}}}
      was: {{kind: sink, input: at, topic: {name}.polled}}
    """
    first = make_plan(parse_topology(text.format(name="one", source="in", sink="mid")))
    second = make_plan(parse_topology(text.format(name="two", source="mid", sink="end")))
    assert mirrored_topics([second]) == ("mid", "refs")
    assert mirrored_topics([first, second]) == ("in", "refs"), "mid is computed in both regions, and both have timers"


def test_replicas_are_as_many_as_brokers_allow() -> None:
    assert [replica_count(0, brokers) for brokers in (1, 2, 3, 9)] == [1, 2, 3, 3]
    assert replica_count(2, 9) == 2
