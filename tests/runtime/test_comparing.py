"""Which rows of two runs are the same."""

from streamflow.model.chunk import Record
from streamflow.runtime.comparing import RowView


def _record(value: bytes, key: bytes = b"k", offset: int = 0) -> Record:
    return Record(offset, key, value, 5)


def test_a_row_is_its_key_and_value_or_what_counts_of_them() -> None:
    whole, some = RowView(), RowView(("start",), frozenset({"made"}))
    one, other = _record(b'{"start":1,"n":2,"made":3}'), _record(b'{"n":2,"made":4,"start":1}', offset=9)
    assert whole.read(one) != whole.read(other)
    assert some.read(one) == some.read(other), "neither the order of fields counts, nor one that is ignored"
    assert some.read(_record(b'{"start":2,"n":2}'))[0] != some.read(one)[0]
    assert some.read(_record(b'{"start":1,"n":3}'))[0] == some.read(one)[0], "the same window, told again"
    assert whole.read(_record(b"x", b"a")) != whole.read(_record(b"x", b"b"))
