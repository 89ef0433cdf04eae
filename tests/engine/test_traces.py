"""Traced events: their context goes on through every stage, spans are those of what was committed, windows link."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.model.trace_context import TRACEPARENT, TraceContext, sampled_context
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.yaml_file import parse_topology

PLAN = make_plan(
    parse_topology("""
topology: t
schemas: {A: {time: timestamp, p: str, k: str, x: int}}
nodes:
  s:    {kind: source, topic: in, schema: A, event_time: time, key: p}
  odd:  {kind: filter, input: s, where: x % 2 == 1}
  k:    {kind: key_by, input: odd, key: k}
  more: {kind: map, input: k, set: {y: x * 2}}
  o:    {kind: sink, input: more, topic: out}
  w:    {kind: window, input: k, window: {type: tumbling, size: 10ms}, aggregate: {n: count()}}
  ow:   {kind: sink, input: w, topic: counts}
""")
)


def _event(number: int) -> dict[str, Any]:
    return {"time": number, "p": f"p{number % 3}", "k": f"k{number % 2}", "x": number}


def _run(traced: dict[int, TraceContext], parts: list[range], crashes: dict[int, CrashPoint], **shape: Any) -> Driver:
    driver = Driver(PLAN, **shape)
    driver.crash_at = dict(crashes)
    for part in parts:
        for number in part:
            driver.publish("in", [_event(number)], trace=traced.get(number))
        driver.run()
    return driver


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, 59)),
    st.integers(1, 3),
    st.sampled_from([1, 3, 500]),
    st.booleans(),
    st.dictionaries(st.integers(1, 20), st.sampled_from(CrashPoint), max_size=3),
)
def test_every_traced_event_and_no_other_is_followed_to_its_sink(
    numbers: set[int], partitions: int, chunk_size: int, fused: bool, crashes: dict[int, CrashPoint]
) -> None:
    traced = {number: TraceContext.new() for number in numbers}
    driver = _run(traced, [range(60)], crashes, partitions=partitions, chunk_size=chunk_size, fused=fused)
    by_trace = {context.trace_id: number for number, context in traced.items()}
    for record in driver.records("out"):
        row = orjson.loads(record.value or b"")
        found = sampled_context(dict(record.headers).get(TRACEPARENT))
        assert (by_trace[found.trace_id] if found else None) == (row["x"] if row["x"] in numbers else None)
    spans = {span.context.span_id: span for span in driver.spans if span.name.startswith("process ")}
    assert len(spans) == len([span for span in driver.spans if span.name.startswith("process ")]), "each once"
    for number, context in traced.items():
        mine = {span.name: span for span in spans.values() if span.context.trace_id == context.trace_id}
        assert set(mine) == ({"process s", "process k"} if number % 2 else {"process s"})
        assert mine["process s"].parent == context
        assert mine["process s"].attributes["streamflow.output_count"] == number % 2
        if number % 2:
            assert mine["process k"].parent == mine["process s"].context
            assert mine["process k"].attributes["streamflow.outputs"] == ["out"]


def test_results_of_windows_link_to_what_was_traced_since_and_carry_no_trace() -> None:
    traced = {number: TraceContext.new() for number in (1, 3, 15)}
    driver = _run(traced, [range(12), range(12, 40)], {}, partitions=1)
    closing = [span for span in driver.spans if span.name == "close w"]
    linked = [{link.trace_id for link in span.links} for span in closing]
    assert linked[0] == {traced[1].trace_id, traced[3].trace_id}
    assert linked[1] == {traced[15].trace_id}
    assert len(linked) == 2, "results without traced events before them have no span"
    assert all(span.context.trace_id not in {each.trace_id for each in traced.values()} for span in closing)
    assert not any(dict(record.headers).get(TRACEPARENT) for record in driver.records("counts"))


_TRACE, _SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{_TRACE}-{_SPAN}-01", True),
        (f"00-{_TRACE}-{_SPAN}-03", True),
        (f"01-{_TRACE}-{_SPAN}-01-more", True),
        (f"00-{_TRACE}-{_SPAN}-00", False),
        (f"00-{_TRACE}-{_SPAN}-01-more", False),
        (f"ff-{_TRACE}-{_SPAN}-01", False),
        (f"00-{'0' * 32}-{_SPAN}-01", False),
        (f"00-{_TRACE}-{'0' * 16}-01", False),
        (f"00-{_TRACE.upper()}-{_SPAN}-01", False),
        ("", False),
        ("00-x", False),
    ],
)
def test_headers_are_taken_as_the_standard_says(header: str, found: bool) -> None:
    assert sampled_context(header.encode()) == (TraceContext(_TRACE, _SPAN) if found else None)


def test_a_child_is_the_same_for_the_same_names_and_goes_into_a_header_and_back() -> None:
    parent = TraceContext.new()
    child = parent.child("stage", "topic", "7")
    assert child == parent.child("stage", "topic", "7") != parent.child("stage", "topic", "8")
    assert child.trace_id == parent.trace_id
    assert sampled_context(child.header) == child
