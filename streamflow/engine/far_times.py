"""Event times that lie too far from their record's batch, by the policy of their source."""

from streamflow.engine.letters import Headers
from streamflow.errors import EventError
from streamflow.plan.plan import Entry, FarPolicy


def near_time(entry: Entry, time_ms: int, reference_ms: int) -> int | tuple[EventError, Headers]:
    """The time that counts, or why the event is dead, with headers of its letter. reference_ms: of the record's batch.

    A time other than the given one has been clamped.
    """
    distance_ms, ahead = abs(time_ms - reference_ms), time_ms > reference_ms
    bound = entry.future if ahead else entry.past
    if bound is None or distance_ms <= bound.limit_ms:
        return time_ms
    if bound.policy is FarPolicy.CLAMP:
        return reference_ms
    side = "ahead" if ahead else "behind"
    message = f"event time {time_ms} is {distance_ms} ms {side} of its record, {bound.limit_ms} ms are allowed"
    more = ("sf-event-time", b"%d" % time_ms), ("sf-distance-ms", b"%d" % distance_ms)
    return EventError(f"event_time_{side}", message), more
