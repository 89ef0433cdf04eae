"""Triggers give a window's result at the row that brings it: every so many rows, or under a condition; in every shape."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import TopologyError
from streamflow.model.partitioner import partition_of
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.testing.driver import Driver
from streamflow.topology.yaml_file import parse_topology
from tests.windows.model import Event, results
from tests.windows.test_shapes import _TOPOLOGY, DELAY, RUNS, Run, make_events, run

GAP = 8
#: Result of a window while it is open: (key, start, end, results).
Told = tuple[Any, ...]


def told(kind: str, events: list[Event], rows: int, above: int | None) -> list[Told]:
    """What the rows of one partition bring: windows as lists of events, looked at after every one of them."""
    found, high = [], None
    windows: list[dict[str, Any]] = []
    for event in events:
        time, key = event["t"], event["k"]
        high = time if high is None else max(high, time)
        watermark = high - DELAY
        if kind == "tumbling":
            start = time - time % 10
            borders, touching = (start, start + 10), [w for w in windows if (w["k"], w["start"]) == (key, start)]
        elif kind == "session":
            windows = [w for w in windows if w["end"] > watermark]
            touching = [w for w in windows if w["k"] == key and w["start"] < time + GAP and time < w["end"]]
            starts, ends = [w["start"] for w in touching], [w["end"] for w in touching]
            borders = min([time, *starts]), max([time + GAP, *ends])
        else:
            borders, touching = (0, 1 << 60), [w for w in windows if w["k"] == key]
        if borders[1] <= watermark:
            continue  # late
        taken = [row for w in touching for row in w["rows"]] + [event]
        windows = [w for w in windows if w not in touching]
        windows.append({"k": key, "start": borders[0], "end": borders[1], "rows": taken})
        is_due = rows and len(taken) % rows == 0
        if is_due or (above is not None and event["v"] is not None and event["v"] > above):
            found.append((key, *(borders if kind != "global" else (None, None)), results(taken)))
    return found


WINDOWS = {
    "tumbling": "{type: tumbling, size: 10ms}",
    "session": f"{{type: session, gap: {GAP}ms}}",
    "global": "{type: global}",
}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(WINDOWS)), st.integers(0, 4), st.sampled_from([None, 0, 30]), RUNS)
def test_rows_bring_the_results_of_their_windows(
    seed: int, kind: str, rows: int, above: int | None, shape: Run
) -> None:
    """Each once, as it stood at that row; a window that closes fires besides, as ever."""
    given_, events = [], make_events(seed)
    given_ += [f"rows: {rows}"] if rows else []
    given_ += [f"when: v is not None and v > {above}"] if above is not None else []
    if not given_:
        return
    driver = run(f"window: {WINDOWS[kind]}, trigger: {{{', '.join(given_)}}}", events, shape)
    wanted = []
    for partition in range(shape.partitions):
        own = [event for event in events if partition_of(event["k"].encode(), shape.partitions) == partition]
        wanted += told(kind, own, rows, above)
    output = driver.output("out")
    found = [
        (row["k"], row.get("start"), row.get("end"), {name: row[name] for name in ("n", "s", "mean", "lo", "hi")})
        for row in output
        if not row["final"]
    ]
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    for key in "abc":  # and each key's in the order of its rows
        assert [each for each in found if each[0] == key] == [each for each in wanted if each[0] == key]
    closed = [(row["k"], row["start"], row["end"]) for row in output if row["final"]]
    assert len(closed) == len(set(closed))


def batches(events: list[Event], size: int, within: int) -> tuple[list[Told], dict[str, list[Event]]]:
    """Windows of `size` rows of a key, or fewer when time is over; and what waits in the end."""
    found: list[Told] = []
    waiting: dict[str, list[Event]] = {}
    high: int | None = None

    def end(key: str) -> None:
        rows = waiting.pop(key)
        start, last = min(row["t"] for row in rows), max(row["t"] for row in rows)
        found.append((key, start, last + 1 if len(rows) == size else max(last + 1, start + within), results(rows)))

    for event in events:
        high = event["t"] if high is None else max(high, event["t"])
        for over in (False, True):  # what waited before the row, then with it
            if over:
                waiting.setdefault(event["k"], []).append(event)
                if len(waiting[event["k"]]) == size:
                    end(event["k"])
            for key in [key for key, rows in waiting.items() if min(r["t"] for r in rows) + within <= high - DELAY]:
                end(key)
    return found, waiting


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5, 100]), st.sampled_from([1, 15, 60, 1_000]), RUNS)
def test_batches_end_by_size_or_by_time(seed: int, size: int, within: int, shape: Run) -> None:
    events = make_events(seed)
    driver = run(f"window: {{type: count, size: {size}, within: {within}ms}}", events, shape)
    wanted: list[Told] = []
    waiting: dict[str, list[Event]] = {}
    for partition in range(shape.partitions):
        own = [event for event in events if partition_of(event["k"].encode(), shape.partitions) == partition]
        ended, waits = batches(own, size, within)
        wanted += ended
        waiting |= waits
    output = driver.output("out")
    found = [
        (row["k"], row["start"], row["end"], {name: row[name] for name in ("n", "s", "mean", "lo", "hi")})
        for row in output
    ]
    for key in "abc":
        assert [each for each in found if each[0] == key] == [each for each in wanted if each[0] == key]
        numbers = [row["number"] for row in output if row["k"] == key]
        assert numbers == list(range(len(numbers)))
    table = driver.table("w")
    assert {key: table[key]["n"] for key in table if table[key]["n"]} == {
        key: len(rows) for key, rows in waiting.items()
    }


@pytest.mark.parametrize("chunk_size", [1, 100])
def test_a_batch_that_is_over_when_its_first_row_comes_ends_at_once(chunk_size: int) -> None:
    times = [1_000, 1_004, 1_009, 985, 986, 1_000]
    events: list[Event] = [{"t": time, "k": "ab"[time < 1_000], "v": 1, "id": time} for time in times]
    window = "window: {type: count, size: 9, within: 14ms}"
    driver = run(window, events, Run(1, chunk_size, True, 100, ()))
    assert [(row["k"], row["start"], row["n"]) for row in driver.output("out")] == [("b", 985, 1)]


def test_a_count_trigger_of_five_tells_after_the_fifth_row() -> None:
    """Before anything closes, and before the sixth is read."""
    events: list[Event] = [{"t": 1_000 + number, "k": "a", "v": 1, "id": number} for number in range(7)]
    driver = run("window: {type: tumbling, size: 1s}, trigger: {rows: 5}", events, Run(1, 100, True, 1, ()))
    assert [(row["n"], row["final"]) for row in driver.output("out")] == [(5, False)]


@pytest.mark.parametrize(
    ("window", "problem"),
    [
        ("window: {type: sliding, size: 10ms}, trigger: {rows: 5}", "sliding windows have no triggers"),
        ("window: {type: count, size: 10}, trigger: {rows: 5}", "count windows have no triggers"),
        ("window: {type: global}, trigger: {}", "it says nothing"),
        ("window: {type: global}, trigger: {rows: 0}", "greater than or equal to 1"),
        ("window: {type: global}, trigger: {when: v}", "a condition is true or false, this is int?"),
        ("window: {type: global}, trigger: {when: w > 1}", "w"),
        ("window: {type: count, size: 10, slide: 5, within: 1s}", "leave slide or within out"),
        ("window: {type: count, size: 10, within: 2s}, retention: 1s", "keys are forgotten before their windows end"),
        ("window: {type: session, gap: 1s}, allowed_lateness: 1s, trigger: {rows: 1}", "use emit: final"),
    ],
)
def test_what_makes_no_sense_is_refused(window: str, problem: str) -> None:
    with pytest.raises(TopologyError, match=r"nodes\.w") as refused:
        make_plan(parse_topology(_TOPOLOGY.format(delay=DELAY, window=window)))
    assert problem in str(refused.value)
    assert len(refused.value.problems) == 1, refused.value.problems


_CHAIN = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, key: k}
  w: {kind: window, input: s, window: {type: count, size: 4, within: 15ms}, aggregate: {n: count()}}
  by: {kind: key_by, input: w, key: n}
  sums: {kind: window, input: w, window: {type: tumbling, size: 20ms}, aggregate: {rows: sum(n)}}
  moved: {kind: window, input: by, window: {type: tumbling, size: 20ms}, aggregate: {rows: sum(n)}}
"""


@pytest.mark.parametrize("chunk_size", [1, 7, 500])
def test_batches_that_end_by_time_are_not_late_for_what_follows(chunk_size: int) -> None:
    """Behind them in the same stage, and behind a topic; the end of a bounded run ends those that wait."""
    times = sorted(event["t"] for event in make_events(7))
    driver = Driver(bounded(make_plan(parse_topology(_CHAIN))), partitions=2, chunk_size=chunk_size)
    driver.publish("in", [{"t": time, "k": "abc"[time % 3]} for time in times])
    driver.finish()
    for table in ("sums", "moved"):
        assert sum(row["rows"] for row in driver.table(table).values()) == len(times)
    assert sum(sum(task.counters.late) for task in driver.tasks()) == 0


@pytest.mark.parametrize("checkpoint_every", [1, 100])
def test_a_result_of_all_time_has_the_time_of_its_row(checkpoint_every: int) -> None:
    """Brought by a late row it has the watermark there, wherever the last checkpoint or border was."""
    text = """
topology: t
schemas: {A: {t: timestamp, k: str}}
nodes:
  s: {kind: source, topic: in, schema: A, event_time: t, watermark_delay: 0ms, key: k}
  g: {kind: window, input: s, window: {type: global}, trigger: {rows: 2}, aggregate: {m: count()}}
  by: {kind: key_by, input: g, key: m}
  v: {kind: table, input: by}
  o: {kind: sink, input: v, topic: out}
"""
    driver = Driver(make_plan(parse_topology(text)), chunk_size=1, checkpoint_every=checkpoint_every)
    driver.publish("in", [{"t": 100, "k": "a"}, {"t": 1_000, "k": "b"}, {"t": 90, "k": "a"}])
    driver.run()
    (kept,) = [record.value for record in driver.records("t.v.changelog")]
    assert kept == b'[[1000,false,"a",2,false]]'
