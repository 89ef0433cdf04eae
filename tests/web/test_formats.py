"""The same page of a table as rows, as CSV and as series."""

import csv
import io
from typing import Any

import orjson

from streamflow.web.formats import Format, in_format
from streamflow.web.problems import JsonResponse

_ROWS = [
    {"key": "a", "start": 0, "end": 10, "final": True, "value": {"n": 1, "by": {"x": 2}}},
    {"key": 'b,"\n', "start": 0, "end": 10, "final": False, "value": {"n": None}},
    {"key": "a", "start": 10, "end": 20, "final": False, "value": {"n": 2, "more": "é"}},
]


def _answer(rows: list[dict[str, Any]], cursor: str | None = None) -> JsonResponse:
    return JsonResponse({"rows": rows, "cursor": cursor, "watermark": 15})


def test_a_csv_has_a_line_per_row_whatever_is_in_it() -> None:
    answer = in_format(_answer(_ROWS, "next"), Format.CSV)
    assert (answer.headers["content-type"], answer.headers["x-cursor"]) == ("text/csv; charset=utf-8", "next")
    read = list(csv.DictReader(io.StringIO(bytes(answer.body).decode(), newline="")))
    assert [(row["key"], row["start"], row["final"], row["n"]) for row in read] == [
        ("a", "0", "true", "1"),
        ('b,"\n', "0", "false", ""),
        ("a", "10", "false", "2"),
    ]
    assert ([row["by"] for row in read], read[2]["more"]) == (['{"x":2}', "", ""], "é")
    assert bytes(in_format(_answer([]), Format.CSV).body) == b"\r\n"


def test_no_text_of_a_csv_is_a_formula_for_whoever_opens_it() -> None:
    texts = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
    rows = [{"key": each, "value": {"text": each, "n": -1.5, "by": ["=1"], "plain": "a=b"}} for each in texts]
    answer = in_format(_answer([*rows, {"key": "=k", "value": {"=name": 1}}]), Format.CSV)
    header, *read = csv.reader(io.StringIO(bytes(answer.body).decode(), newline=""))
    assert header == ["key", "text", "n", "by", "plain", "'=name"]
    assert [row[:5] for row in read[:-1]] == [["'" + each, "'" + each, "-1.5", '["=1"]', "a=b"] for each in texts]


def test_series_have_the_points_of_each_key_and_field() -> None:
    body = orjson.loads(bytes(in_format(_answer(_ROWS), Format.SERIES).body))
    found = {(each["key"], each["field"]): each["points"] for each in body["series"]}
    assert found["a", "n"] == [[0, 1], [10, 2]]
    assert found['b,"\n', "n"] == [[0, None]]
    assert (body["cursor"], body["watermark"]) == (None, 15)
    keyed = in_format(_answer([{"key": "a", "value": {"n": 3}}]), Format.SERIES)
    assert orjson.loads(bytes(keyed.body))["series"] == [{"key": "a", "field": "n", "points": [[None, 3]]}]


def test_rows_and_refusals_stay_as_they_are() -> None:
    answer, later = _answer(_ROWS), JsonResponse({"detail": "wait"}, status_code=202)
    assert in_format(answer, Format.ROWS) is answer
    assert in_format(later, Format.CSV) is later
