"""Rows from JSON: fast or one by one, the result is the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.model.codec import RowCodec, time_ms
from streamflow.model.schema import Field, FieldType, Schema, parse_fields, python_type
from streamflow.model.wire import WireCodec

SCHEMA = Schema(
    "Reading",
    (
        Field("sensor", FieldType.STR),
        Field("at", FieldType.TIMESTAMP),
        Field("value", FieldType.FLOAT, True),
        Field("n", FieldType.INT, True),
        Field("state", FieldType.STR, True, ("open", "closed")),
    ),
)


def _rows(values: list[bytes | None]) -> tuple[list[Any], list[int]]:
    decoded = RowCodec(SCHEMA).decode(values)
    rows = [(r.sensor, r.at, r.value, r.n) for r in decoded.rows]
    return rows, [place for place, _ in decoded.bad]


def test_a_text_may_be_one_of_those_that_its_schema_lists() -> None:
    (field,), problems = parse_fields({"state": "str? of open | closed secret"})
    assert (field.choices, field.nullable, problems) == (("open", "closed"), True, [])
    values: list[bytes | None] = [b'{"sensor":"a","at":5,"state":"open"}', b'{"sensor":"a","at":5,"state":null}']
    assert [row.state for row in RowCodec(SCHEMA).decode(values).rows] == ["open", None]
    # Only where rows come in: what is kept was written when the list may have been another.
    assert SCHEMA.row_type(sensor="a", at=5, state="ajar").state == "ajar"
    assert python_type(field) == str | None
    ((_, error),) = RowCodec(SCHEMA).decode([b'{"sensor":"a","at":5,"state":"4111 - at\\n1111"}']).bad
    assert str(error) == "Expected one of the texts that are listed - at `$.state`", "a secret is not told"


def test_integers_and_iso_texts_are_the_same_moment() -> None:
    rows, bad = _rows([b'{"sensor":"a","at":1357016400000}', b'{"sensor":"a","at":"2013-01-01T05:00:00Z"}'])
    assert [row[1] for row in rows] == [1357016400000] * 2
    assert bad == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "truncated"),
        (b"junk", "malformed"),
        (b"[1]", "Expected `object`"),
        (b'{"sensor":1,"at":5}', "$.sensor"),
        (b'{"sensor":"a"}', "at"),
        (b'{"sensor":"a","at":true}', "$.at"),
        (b'{"sensor":"a","at":"yesterday"}', "isoformat"),
        (b'{"sensor":"a","at":5,"n":99999999999999999999}', "$.n"),
        (b'{"sensor":"a","at":5,"n":1.5}', "$.n"),
        (b'{"sensor":"a","at":5,"n":true}', "$.n"),
        (b'{"sensor":"a","at":5,"value":NaN}', "malformed"),
        (b'{"sensor":"a","at":5,"state":"ajar"}', "one of the texts that are listed - at `$.state`"),
        (b'{"sensor":"a","at":5,"state":1}', "$.state"),
        (b'{"sensor":"\xff","at":5}', "utf"),
        (b'{"sensor":"a","at":5} {"sensor":"b","at":6}', "malformed"),
        (b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b',"sensor":"a","at":5}', "nested"),
    ],
)
def test_a_bad_value_is_left_out_with_its_reason_and_the_rest_stays(value: bytes | None, reason: str) -> None:
    good = b'{"sensor":"a","at":5}'
    decoded = RowCodec(SCHEMA).decode([good, value, good])
    assert decoded.kept == [0, 2]
    assert [place for place, _ in decoded.bad] == [1]
    error = decoded.bad[0][1]
    assert error.reason == "decode"
    assert reason.lower() in str(error).lower()


def test_unknown_fields_are_ignored_or_rejected_as_the_source_says() -> None:
    value: list[bytes | None] = [b'{"sensor":"a","at":5,"extra":1}']
    assert len(RowCodec(SCHEMA).decode(value).rows) == 1
    assert "extra" in str(RowCodec(SCHEMA, reject_unknown=True).decode(value).bad[0][1])


# Pieces that look like halves of records: joined, they could be taken for whole ones.
_FRAGMENTS = [
    b'{"sensor":"a","at":1}',
    b'{"sensor":"b","at":2}\n{"sensor":"c","at":3}',
    b'{"sensor":"d"',
    b',"at":4}',
    b'{"x":{}',
    b"}",
    b'{"sensor":"e\\n","at":5}',
    b'{\n"sensor":"f","at":6}',
    b'{"sensor":"g","at":7} ',
    b"",
]


@given(st.lists(st.one_of(st.sampled_from(_FRAGMENTS), st.none(), st.binary(max_size=12)), max_size=12), st.data())
def test_any_split_into_chunks_gives_the_same_rows(values: list[bytes | None], data: st.DataObject) -> None:
    whole = _rows(values)
    cut = data.draw(st.integers(0, len(values)))
    left, right = _rows(values[:cut]), _rows(values[cut:])
    assert whole == (left[0] + right[0], left[1] + [cut + place for place in right[1]])
    one_by_one = [_rows([value]) for value in values]
    assert whole[0] == [row for rows, _ in one_by_one for row in rows]


@given(st.datetimes(min_value=__import__("datetime").datetime(1900, 1, 1)))
def test_iso_times_keep_their_milliseconds(moment: object) -> None:
    text = moment.isoformat()  # type: ignore[attr-defined]
    import datetime

    expected = (moment.replace(tzinfo=datetime.UTC) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // (  # type: ignore[attr-defined]
        datetime.timedelta(milliseconds=1)
    )
    assert time_ms(text) == expected


def test_wire_rows_carry_their_time_and_bad_ones_are_left_out() -> None:
    values: list[bytes | None] = [json.dumps([7, "a", 5, None, 3, "ajar"]).encode(), b"[1]", None]
    times, decoded = WireCodec(SCHEMA).decode(values)
    assert times == [7]
    assert (decoded.rows[0].sensor, decoded.rows[0].n) == ("a", 3)
    assert [place for place, _ in decoded.bad] == [1, 2]
