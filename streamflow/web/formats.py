"""The page of a table in the form that a reader wants: rows, columns as CSV, or a series per key and field."""

import csv
import io
from enum import StrEnum
from typing import Any

import orjson
from fastapi import Response

from streamflow.web.problems import JsonResponse

_PLACE = ("key", "start", "end", "final")
#: How a text begins that spreadsheets take for a formula, whoever published it.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Format(StrEnum):
    """ROWS: `{key, start, end, final, value}`. CSV: a header and a line per row (RFC 4180); a `'` goes before text that
    begins as a formula does. SERIES: per key and field of the value the points `[start, value]`; of tables without
    windows one point, whose start is null."""

    ROWS = "rows"
    CSV = "csv"
    SERIES = "series"


def in_format(answer: Response, wanted: Format) -> Response:
    """An answer with rows in another format; the cursor of a CSV is in `X-Cursor`."""
    if wanted is Format.ROWS or answer.status_code != 200:
        return answer
    body: dict[str, Any] = orjson.loads(bytes(answer.body))
    rows = body.pop("rows")
    if wanted is Format.SERIES:
        return JsonResponse({"series": _series(rows), **body})
    cursor = {} if body["cursor"] is None else {"X-Cursor": body["cursor"]}
    return Response(_lines(rows), media_type="text/csv; charset=utf-8", headers=cursor)


def _series(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, str], list[Any]] = {}
    for row in rows:
        for name, value in row["value"].items():
            found.setdefault((row["key"], name), []).append([row.get("start"), value])
    return [{"key": key, "field": name, "points": points} for (key, name), points in found.items()]


def _lines(rows: list[dict[str, Any]]) -> str:
    """Columns: those of the place that any row has, then all fields of values in the order in which they are met."""
    place = [name for name in _PLACE if any(name in row for row in rows)]
    fields = list(dict.fromkeys(name for row in rows for name in row["value"]))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*place, *map(_cell, fields)])
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in place] + [_cell(row["value"].get(name)) for name in fields])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Empty for null; what is no scalar, and true and false, as JSON; text that a spreadsheet would calculate behind a
    quote."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULAS) else value
    return orjson.dumps(value).decode() if isinstance(value, bool | dict | list) else value
