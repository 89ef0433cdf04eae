"""Cancelled executions as the control topic has them: the newest ones, whatever else is in it."""

from streamflow.bus import cancellations
from streamflow.bus.cancellations import Cancellation, Cancellations


def test_the_oldest_leave_and_what_is_no_cancellation_changes_nothing() -> None:
    one, other = Cancellations(), Cancellations()
    for number in range(cancellations.CANCELLED_MAX + 2):
        records = one.records(b"%d" % number, Cancellation("ann", f"why {number}", number))
        for key, value in records:
            assert one.apply(key, value)
            assert other.apply(key, value)
    assert (one.reason_of(b"0"), one.reason_of(b"1"), one.reason_of(b"2")) == (None, None, "why 2")
    assert one.reason_of(None) is None
    for key, value in one.records(b"2", Cancellation("bob", "once more", 9)):  # the oldest is the newest now
        assert one.apply(key, value)
    assert (one.reason_of(b"2"), one.reason_of(b"3")) == ("once more", "why 3")
    version = other.version
    for name, text in ((b"order", b"{}"), (None, b"{}"), (b"execution/9", b"no JSON")):
        assert not other.apply(name, text)
    assert (other.version, other.reason_of(b"9")) == (version, "why 9")
    assert other.apply(b"execution/9", None)
    assert other.reason_of(b"9") is None
