"""Keys of count and global windows are forgotten by event time, alike in every shape."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.partitioner import partition_of
from tests.windows.model import Event
from tests.windows.test_shapes import DELAY, RUNS, Run, make_events, run

RETENTION = 160
STEP = RETENTION // 16


def remembered(
    events: list[Event], partition: int, partitions: int
) -> tuple[dict[str, list[Event]], list[list[Event]]]:
    """Rows of each key since it was last forgotten; and every life of a key, in the order of their beginnings.

    A key is forgotten at the first multiple of STEP that is at least RETENTION behind its last row, when the
    watermark reaches that before the next row is taken.
    """
    held: dict[str, list[Event]] = {}
    lives: list[list[Event]] = []
    high = None
    for event in events:
        if partition_of(event["k"].encode(), partitions) != partition:
            continue
        high = event["t"] if high is None else max(high, event["t"])
        border = (high - DELAY) // STEP * STEP
        for key in [key for key, rows in held.items() if max(row["t"] for row in rows) + RETENTION <= border]:
            del held[key]
        if event["k"] not in held:
            held[event["k"]] = []
            lives.append(held[event["k"]])
        held[event["k"]].append(event)
    return held, lives


def spread(seed: int) -> list[Event]:
    """Events whose keys fall silent for longer than the retention now and then; none is far behind."""
    events = make_events(seed)
    for number, event in enumerate(events):
        event["k"] = "abc"[(number // 13 + seed) % 3] if number % 5 else "d"
    return events


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), RUNS)
def test_running_aggregates_begin_anew(seed: int, shape: Run) -> None:
    """The table has what came since."""
    events = spread(seed)
    driver = run(f"window: {{type: global}}, retention: {RETENTION}ms", events, shape)
    expected = {}
    for partition in range(shape.partitions):
        for key, rows in remembered(events, partition, shape.partitions)[0].items():
            expected[key] = len(rows)
    assert {key: row["n"] for key, row in driver.table("w").items()} == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), RUNS)
def test_count_windows_begin_anew(seed: int, shape: Run) -> None:
    """Only rows of one life make up a window."""
    events, size = spread(seed), 4
    driver = run(f"window: {{type: count, size: {size}}}, retention: {RETENTION}ms", events, shape)
    expected = []
    for partition in range(shape.partitions):
        for rows in remembered(events, partition, shape.partitions)[1]:
            for number in range(len(rows) // size):
                values = [row["v"] or 0 for row in rows[number * size : number * size + size]]
                expected.append((rows[0]["k"], number, sum(values)))
    found = [(row["k"], row["number"], row["s"] or 0) for row in driver.output("out")]
    assert sorted(found) == sorted(expected)


def test_some_keys_are_forgotten_at_all() -> None:
    """The model forgets: otherwise the tests above would show nothing."""
    assert all(len(remembered(spread(seed), 0, 1)[1]) > 4 for seed in range(20))
