"""Summaries and reports of crafted series: exact numbers, trends, and each piece of advice."""

import pytest

from streamflow.alerts.report import COMBINED, report, summary, trend
from streamflow.alerts.series import History
from streamflow.bus.alert_table import Alert

_STEP_MS, _NOW_MS = 10_000, 1_800_000


def _history(metric: str, values: list[float], worker: str = "a", known: History | None = None) -> History:
    """A value every ten seconds, the last one now."""
    history = known or History(COMBINED, 3_600_000)
    for back, value in zip(range(len(values) - 1, -1, -1), values, strict=True):
        history.add(_NOW_MS - back * _STEP_MS, metric, {"topology": "t", "worker": worker}, value)
    return history


def _alert(name: str, severity: str, raised: int, cleared: int | None = None) -> Alert:
    return Alert(name, "lag", "t", "", {}, severity, 1.0, 1.0, "", "default", raised, raised, cleared)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 9.0], "insufficient_data"),
        ([10.0, 10.0, 11.1, 11.1], "increasing"),
        ([10.0, 10.0, 11.0, 11.0], "stable"),
        ([10.0, 10.0, 8.9, 8.9], "decreasing"),
        ([10.0, 10.0, 9.0, 9.0], "stable"),
        ([0.0, 0.0, 1.0], "increasing"),
        ([0.0, 0.0, 0.0], "stable"),
    ],
)
def test_trends(values: list[float], expected: str) -> None:
    assert trend(values) == expected


def test_a_fixed_series_gives_exact_numbers() -> None:
    history = _history("response_time_ms", [10.0, 20.0, 30.0, 60.0])
    assert summary(history, _NOW_MS, 40_000, _STEP_MS, {}) == {
        "response_time_ms": {
            "avg": 30.0, "min": 10.0, "max": 60.0, "current": 60.0, "data_points": 4, "trend": "increasing"
        }
    }  # fmt: skip
    assert summary(history, _NOW_MS, 20_000, _STEP_MS, {})["response_time_ms"]["avg"] == 45.0
    assert summary(history, _NOW_MS, 40_000, _STEP_MS, {"topology": "other"}) == {}


def test_half_an_hour_has_half_an_hour_of_points() -> None:
    found = summary(_history("queue_size", [5.0] * 181), _NOW_MS, 1_800_000, _STEP_MS, {})
    assert (found["queue_size"]["data_points"], found["queue_size"]["trend"]) == (180, "stable")


@pytest.mark.parametrize(
    ("metric", "together"), [("queue_size", 5.0), ("cpu_usage_percent", 4.0), ("error_rate_percent", 2.5)]
)
def test_workers_are_combined_while_they_are_there(metric: str, together: float) -> None:
    history = _history(metric, [4.0] * 8)
    for back in (7, 6, 5):  # the other one is gone since then, and left out after three intervals
        history.add(_NOW_MS - back * _STEP_MS, metric, {"topology": "t", "worker": "b"}, 1.0)
    found = summary(history, _NOW_MS, 80_000, _STEP_MS, {})[metric]
    assert (found["data_points"], found["current"]) == (8, 4.0)
    assert found["avg"] == pytest.approx((5 * together + 3 * 4.0) / 8)


def test_each_piece_of_advice_has_its_limit() -> None:
    def about(**means: float) -> list[str]:
        found = {metric: {"avg": mean} for metric, mean in means.items()}
        return [each["about"] for each in report(found, True, [], _NOW_MS, 600_000)["recommendations"]]

    assert about(response_time_ms=3_000, memory_usage_percent=70, error_rate_percent=2, queue_size=1e9) == []
    assert about(response_time_ms=3_001) == ["response_time_ms"]
    assert about(memory_usage_percent=70.1) == ["memory_usage_percent"]
    assert about(error_rate_percent=2.1) == ["error_rate_percent"]


def test_alerts_of_the_time_are_told_and_critical_ones_are_to_be_acted_on() -> None:
    begin = _NOW_MS - 600_000
    alerts = [_alert(f"a{n}", "warning", n) for n in range(6)]
    alerts += [_alert("over", "critical", 7, begin), _alert("lately", "critical", 8, begin + 1)]
    told = report({}, False, alerts, _NOW_MS, 600_000)
    assert told["report_timestamp"] == "1970-01-01T00:30:00.000+00:00"
    assert (told["monitoring_status"], told["recommendations"]) == ("inactive", [])
    counts = told["alert_summary"]
    assert (counts["total_alerts"], counts["critical_alerts"]) == (7, 1)
    assert [each["alert"] for each in counts["recent_alerts"]] == ["lately", "a5", "a4", "a3", "a2"]
    told = report({}, True, [*alerts, _alert("now", "critical", 9)], _NOW_MS, 600_000)
    assert [each["about"] for each in told["recommendations"]] == ["alerts"]
