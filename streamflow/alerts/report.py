"""How the workers have been doing: a summary of the computed metrics over a time, and a report with advice.

Points lie on a grid of the interval of samples, the newest at `now`; at each the series of all workers are combined, as
long as a worker's last sample is no older than three intervals. Times are ms.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from streamflow.alerts.message import shown
from streamflow.alerts.series import History
from streamflow.bus.alert_table import Alert

#: The computed metrics (metrics/performance.py), and how those of several workers and topologies make one.
COMBINED: Mapping[str, Callable[[list[float]], float]] = {
    "response_time_ms": fmean,
    "memory_usage_percent": max,
    "cpu_usage_percent": max,
    "error_rate_percent": fmean,
    "active_workflows": sum,
    "queue_size": sum,
    "throughput_per_second": sum,
}
#: Samples without which a worker is not there any more.
STALE_INTERVALS = 3
RECENT_ALERTS = 5
#: Metric, mean above which there is advice, and the advice. Lower than the limits of alerts: advice comes before.
_ADVICE = (
    ("response_time_ms", 3_000, "cache what is asked for often, and look which nodes take the time (streamflow top)"),
    ("memory_usage_percent", 70, "give the workers more memory, or look what holds it; lower the bounds of tables"),
    ("error_rate_percent", 2, "find out what the dead letters have in common (streamflow dlq list), and retry them"),
)
_CRITICAL = "critical alerts are open: act on them now, and add workers if the load is the reason"


def trend(values: Sequence[float]) -> str:
    """By the means of both halves, the first the shorter: more than 1.1 times is `increasing`, less than 0.9 times
    `decreasing`, else `stable`; `insufficient_data` of fewer than three."""
    if len(values) < 3:
        return "insufficient_data"
    half = len(values) // 2
    first, second = fmean(values[:half]), fmean(values[half:])
    return "increasing" if second > first * 1.1 else "decreasing" if second < first * 0.9 else "stable"


def summary(
    history: History, now_ms: int, window_ms: int, interval_ms: int, labels: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Of each metric that has points: avg, min, max, current, data_points, trend. labels: patterns of the series."""
    found = {}
    for metric, combined in COMBINED.items():
        series = history.select(metric, labels)
        values: list[float] = []
        for back_ms in range((window_ms - 1) // interval_ms * interval_ms, -1, -interval_ms):
            at_ms = now_ms - back_ms
            given = [each.at(at_ms, STALE_INTERVALS * interval_ms) for each in series]
            known = [value for value in given if value is not None]
            if known:
                values.append(combined(known))
        if values:
            found[metric] = {
                "avg": fmean(values),
                "min": min(values),
                "max": max(values),
                "current": values[-1],
                "data_points": len(values),
                "trend": trend(values),
            }
    return found


def report(
    found: Mapping[str, Mapping[str, Any]], is_active: bool, alerts: Iterable[Alert], now_ms: int, window_ms: int
) -> dict[str, Any]:
    """A summary with the alerts that are open, or were within the time, and what to do."""
    recent = [each for each in alerts if each.is_open or (each.cleared or 0) > now_ms - window_ms]
    recent.sort(key=lambda each: (each.raised, each.alert), reverse=True)
    critical = [each for each in recent if each.severity == "critical"]
    advice = [
        {"about": metric, "advice": f"{metric} is {found[metric]['avg']:.4g} on average: {what}"}
        for metric, limit, what in _ADVICE
        if metric in found and found[metric]["avg"] > limit
    ]
    if any(each.is_open for each in critical):
        advice.append({"about": "alerts", "advice": _CRITICAL})
    return {
        "report_timestamp": datetime.fromtimestamp(now_ms / 1_000, UTC).isoformat(timespec="milliseconds"),
        "monitoring_status": "active" if is_active else "inactive",
        "window_ms": window_ms,
        "performance_summary": dict(found),
        "alert_summary": {
            "total_alerts": len(recent),
            "critical_alerts": len(critical),
            "recent_alerts": [shown(each) for each in recent[:RECENT_ALERTS]],
        },
        "recommendations": advice,
    }
