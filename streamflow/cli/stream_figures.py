"""Figures of a task's stream as views and metrics show them."""

from streamflow.runtime.hosted_task import HostedTask


def stream_figures(task: HostedTask) -> dict[str, float]:
    """Of an open task: counts since it opened here, moving averages, how full it is, and when it committed last."""
    figures, counters = task.figures, task.task.counters
    parked_keys, parked_events, unparked_keys = task.task.parked()
    return {
        "events_processed": figures.events,
        "events_per_second": round(figures.events_per_s.value, 3),
        "latency_ms": round(figures.latency_ms.value, 3),
        "windows_open": task.task.open_windows(),
        "parked_keys": parked_keys,
        "parked_events": parked_events,
        "unparked_keys": unparked_keys,
        "windows_closed": sum(counters.closed),
        "out_of_order_events": sum(counters.disordered),
        "backpressure_events": figures.held,
        "buffer_ratio": round(task.buffer_ratio, 4),
        "last_checkpoint_ms": figures.committed_at_ms,
    }
