"""Where a source ends within its chunks, whatever gaps its offsets have."""

from hypothesis import given
from hypothesis import strategies as st

from streamflow.engine.ending import Ending
from streamflow.model.chunk import Chunk, Run


@given(st.sets(st.integers(0, 60), max_size=30), st.integers(0, 70))
def test_room_is_what_lies_before_the_end(offsets: set[int], end: int) -> None:
    found = sorted(offsets)
    runs = [Run(index, offset, 0) for index, offset in enumerate(found) if index == 0 or found[index - 1] != offset - 1]
    chunk = Chunk("t", 0, [b""] * len(found), runs, next_offset=65)
    ending = Ending({("t", 0): end})
    assert ending.room(chunk) == sum(offset < end for offset in found)
    assert Ending({}).room(chunk) == len(found)
    assert ending.is_read(("t", 0), end)
    assert not ending.is_read(("t", 0), end - 1)
    assert not ending.is_read(("t", 1), 1_000), "an input without an end is a repartition topic"
