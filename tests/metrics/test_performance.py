"""What is computed of a worker follows what it does."""

import time

from streamflow.metrics.performance import Performance, Point

_BURNT_S = 0.1


def _values(performance: Performance, *found: tuple[str, float]) -> dict[str, float]:
    points: list[Point] = [(name, {}, value) for name, value in found]
    return {name: value for name, _, value in performance.points("t", points)}


def _commits(count: float, sum_s: float) -> tuple[tuple[str, float], ...]:
    return ("streamflow_end_to_end_seconds_count", count), ("streamflow_end_to_end_seconds_sum", sum_s)


def test_values_follow_the_load() -> None:
    began, performance = time.monotonic(), Performance()
    _values(performance, ("streamflow_events_total", 100.0), ("streamflow_node_rows_dead", 10.0))
    busy_until = time.process_time() + _BURNT_S
    while time.process_time() < busy_until:
        pass
    busy = _values(
        performance,
        ("streamflow_events_total", 150.0),
        ("streamflow_node_rows_dead", 5.0),  # a task has moved away
        ("streamflow_node_rows_dead", 15.0),
        ("streamflow_lag_records", 30.0),
        ("streamflow_lag_records", 12.0),
        ("streamflow_end_to_end_seconds_count", 0.0),
        ("streamflow_restore_ratio", 1.0),
        ("streamflow_restore_ratio", 0.5),
    )
    busy_s, began = time.monotonic() - began, time.monotonic()
    time.sleep(0.1)
    idle = _values(
        performance, ("streamflow_events_total", 150.0), ("streamflow_node_rows_dead", 20.0), *_commits(0, 0)
    )
    idle_s = time.monotonic() - began
    assert busy["queue_size"] == 42
    assert busy["active_workflows"] == 2
    assert busy["error_rate_percent"] == 20, "10 of 50"
    assert "response_time_ms" not in busy, "nothing was committed"
    assert busy["cpu_usage_percent"] / 100 * busy_s >= _BURNT_S > idle["cpu_usage_percent"] / 100 * idle_s
    assert busy["throughput_per_second"] > idle["throughput_per_second"] == 0
    assert (idle["queue_size"], idle["error_rate_percent"], idle["active_workflows"]) == (0, 0, 0)
    assert 0 < idle["memory_usage_percent"] < 100
    last = _values(
        performance, ("streamflow_end_to_end_seconds_count", 4.0), ("streamflow_end_to_end_seconds_sum", 6.0)
    )
    assert last["response_time_ms"] == 1_500


def test_more_memory_is_seen() -> None:
    performance = Performance()
    before = _values(performance)["memory_usage_percent"]
    held = bytearray(b"x" * (64 << 20))
    assert _values(performance)["memory_usage_percent"] > before
    assert len(held) == 64 << 20
