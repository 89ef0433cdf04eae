"""Dead letters: records that cannot be used leave for the topology's dead-letter topic, with where and why.

The letter keeps the original key and value byte for byte, so that it can be published again as it was; what is known
about it is in the headers:

    sf-reason  decode | null_key | event_time_ahead | event_time_behind | expression | too_large | too_many_windows
               | too_many_rows | value_too_large | aggregate_result | missing_row | process | state_full
    sf-error   message          sf-blame  user | external | internal        sf-node  node at fault
    sf-topic, sf-partition, sf-offset   where the record is                 sf-time  its record timestamp, ms
    sf-event-time, sf-distance-ms       of a time too far from its record's: what it was, and how far, in ms
"""

from collections.abc import Sequence

from streamflow.checkpoint.checkpoint import Output
from streamflow.errors import Blame
from streamflow.model.chunk import Record

Headers = tuple[tuple[str, bytes], ...]

#: Bound of the message in `sf-error`.
ERROR_MAX_CHARS = 1_000


def letter(
    record: Record, topic: str, partition: int, node: str, reason: str, message: str, more: Headers = ()
) -> Output:
    """Dead letter of an input record; `more` headers say what is particular to its reason."""
    headers = (
        *_headers(node, reason, message),
        ("sf-topic", topic.encode()),
        ("sf-partition", b"%d" % partition),
        ("sf-offset", b"%d" % record.offset),
        ("sf-time", b"%d" % record.timestamp_ms),
        *more,
    )
    return record.key, record.value, headers


def result_letter(row: bytes, node: str, reason: str, message: str) -> Output:
    """Dead letter of a row that has no record of its own (a window's result): the value is the row as JSON."""
    return None, row, _headers(node, reason, message)


def late_headers(node: str, time_ms: int, distance_ms: int) -> Headers:
    """Headers of a row that came too late for its windows: by how much, in ms of event time."""
    return (
        ("sf-reason", b"late"),
        ("sf-node", node.encode()),
        ("sf-event-time", b"%d" % time_ms),
        ("sf-late-ms", b"%d" % distance_ms),
    )


def incomplete_headers(node: str, missing: Sequence[str]) -> Headers:
    """Headers of a combination whose time-out is over: the inputs that it lacks, separated by commas."""
    return (
        ("sf-reason", b"incomplete"),
        ("sf-node", node.encode()),
        ("sf-missing", ",".join(missing).encode()),
    )


def _headers(node: str, reason: str, message: str) -> Headers:
    text = message if len(message) <= ERROR_MAX_CHARS else message[: ERROR_MAX_CHARS - 1] + "…"
    return (
        ("sf-reason", reason.encode()),
        ("sf-error", text.encode(errors="replace")),
        ("sf-blame", Blame.USER.value.encode()),
        ("sf-node", node.encode()),
    )
