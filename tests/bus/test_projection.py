"""The status table is the same bytes for the same log, however its partitions are read."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamflow.bus import projection
from streamflow.bus.projection import StatusTable


def _event(kind: str, subject: str, second: int = 0, **data: Any) -> dict[str, Any]:
    return {"type": kind, "subject": subject, "time": f"2026-01-01T00:00:{second:02}.000Z", "id": "1", "data": data}


def _table(events: list[dict[str, Any]]) -> bytes:
    table = StatusTable()
    for event in events:
        table.add(event)
    return table.encode()


_LOG = {
    0: [
        _event("TOPOLOGY_DEPLOYED", "t", 1, version=1, digest="a"),
        _event("TOPOLOGY_DEPLOYED", "t", 2, version=1, digest="a"),
        _event("WORKER_STARTED", "t", 2, worker="w"),
        _event("TOPOLOGY_DEPLOYED", "t", 3, version=2, digest="b"),
        _event("ALERT_RAISED", "t", 4, rule="lag"),
        _event("ALERT_CLEARED", "t", 5, rule="lag"),
        _event("ALERT_RAISED", "t", 6, rule="lag"),
        _event("TOPOLOGY_STATE_CHANGED", "t", 7, old="RUNNING", new="PAUSED"),
        _event("TOPOLOGY_DEPLOYED", "t", 8, version=1, digest="a"),
    ],
    1: [
        _event("DEAD_LETTER_ADDED", "t/n", reason="decode", count=2),
        _event("DEAD_LETTER_ADDED", "t/n", reason="late", count=1),
        _event("DEAD_LETTER_ADDED", "t/n", reason="decode", count=3),
        _event("DEAD_LETTER_REDRIVEN", "t/n", count=4),
        _event("DEAD_LETTER_DISCARDED", "t/n", count=1),
        _event("LATE_DROPPED", "t/m", count=9),
        _event("LATE_DROPPED", "t/m"),
    ],
}


@given(st.lists(st.sampled_from([0, 1]), min_size=16, max_size=16))
def test_a_table_is_what_the_log_says_in_any_order_of_partitions(turns: list[int]) -> None:
    left = {partition: list(events) for partition, events in _LOG.items()}
    mixed = [left[turn].pop(0) for turn in turns if left[turn]] + left[0] + left[1]
    assert _table(mixed) == _table(_LOG[1] + _LOG[0])
    assert _table(mixed) == (
        b'{"left_out":1,"rows":{'
        b'"t":{"alerts":{"lag":{"is_open":true,"raised":2}},"deployed":"2026-01-01T00:00:08.000Z","digest":"a",'
        b'"state":"PAUSED","version":1},'
        b'"t/m":{"late":9},'
        b'"t/n":{"dead_letters":{"decode":5,"late":1},"discarded":1,"redriven":4}}}'
    )


def test_rows_are_bounded() -> None:
    table = StatusTable()
    for number in range(projection.ROWS_MAX + 7):
        table.add(_event("LATE_DROPPED", f"t/{number}", count=1))
    assert table.encode().startswith(b'{"left_out":7,')


def test_what_somebody_else_wrote_is_left_out_and_stops_nothing() -> None:
    table = StatusTable()
    raised: dict[str, Any] = {"alert": "a", "rule": "r"}
    for kind, data in (
        ("ALERT_RAISED", {**raised, "labels": "abc"}),
        ("ALERT_RAISED", {**raised, "severity": "dreadful"}),
        ("ALERT_RAISED", {**raised, "since": "yesterday"}),
        ("ALERT_SILENCED", {"silence": "s", "until": "tomorrow"}),
        ("ALERT_NOTIFIED", {"notifier": "n", "alerts": ["a"]}),
        ("ALERT_ACKNOWLEDGED", None),
    ):
        table.add({**_event(kind, "t"), "data": data})
    table.add({**_event("ALERT_RAISED", "t", **raised), "time": "yesterday"})
    assert table.alerts.plain() == {}
    table.add(_event("ALERT_RAISED", "t", **raised, said_by_a_newer_version=True))
    assert list(table.alerts.open) == ["a"]


def test_ends_that_are_to_be_told_are_kept_until_they_are() -> None:
    table, names = StatusTable(), [str(number) for number in range(1_500)]

    def tell(state: str) -> None:
        told = [[name, state] for name in names]
        table.add(_event("ALERT_NOTIFIED", "t", 1, notifier="n", alerts=told))

    for name in names:
        table.add(_event("ALERT_RAISED", "t", alert=name, rule="r"))
    tell("raised:warning")
    for name in names:
        table.add(_event("ALERT_CLEARED", "t", 1, alert=name, rule="r"))
    assert list(table.alerts.cleared) == names
    tell("cleared")
    assert list(table.alerts.cleared) == names[500:]
