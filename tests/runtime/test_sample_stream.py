"""Samples of a worker fit the producer and the topic, however long names are."""

import pytest

from streamflow.bus.topics import EVENT_MAX_BYTES
from streamflow.metrics.performance import Point
from streamflow.runtime.sample_stream import POINTS_MAX, SampleStream, points_in
from streamflow.settings.settings import load_settings


@pytest.mark.parametrize(("length", "most"), [(1, POINTS_MAX), (100, POINTS_MAX - 1)])
def test_a_sample_leaves_out_what_it_has_no_room_for_and_keeps_what_is_computed(length: int, most: int) -> None:
    labels = {name: name[0] * length for name in ("topology", "stage", "node")}
    points: list[Point] = [(f"metric_{number}", labels, float(number)) for number in range(POINTS_MAX + 10)]
    sample = SampleStream(load_settings(), "http://w", lambda: points)._sample()
    found = [metric for _, metric, _, _ in points_in(sample, 1 << 50)]
    assert len(sample) < EVENT_MAX_BYTES - 200, "what a record adds counts, too"
    assert POINTS_MAX // 3 < len(found) <= most
    assert found == [metric for metric, _, _ in points[-len(found) :]]
