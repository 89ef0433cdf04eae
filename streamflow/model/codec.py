"""Rows of a topic: JSON objects to structs and back, a chunk at a time.

The fast way decodes the whole chunk at once as lines: joined by newlines, 0.15 µs a record instead of 0.21. It is only
right when every border between records is a border between JSON values. That holds when, in the joined text,

    newlines = records - 1             no record has a newline of its own, so every newline is a border
    "}\\n{"   = records - 1             at every border one record ends with } and the next begins with {
    it begins with { and ends with }

because in JSON a { can follow a } with only white space between at the top level alone (inside a value there would be a
comma, and inside a string there is no raw newline). Then each record is one or more whole values, and as many values
as records means one each. Everything else is decoded record by record, and only the bad ones are left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from streamflow.errors import EventError
from streamflow.model.schema import Schema

_NO_CHOICE = re.compile("Invalid enum value .* - at", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows in order. `kept`: places of their values when some were bad, else None. `bad`: (place, error)."""

    rows: list[Any]
    kept: list[int] | None
    bad: list[tuple[int, EventError]]


def joined_lines(values: Sequence[bytes | None], opening: bytes, closing: bytes) -> bytes | None:
    """The values as lines, None when they cannot be decoded at once (see above)."""
    try:
        text = b"\n".join(values)  # type: ignore[arg-type]
    except TypeError:  # a tombstone among them
        return None
    borders = len(values) - 1
    if text.count(b"\n") != borders or text.count(closing + b"\n" + opening) != borders:
        return None
    return text if text.startswith(opening) and text.endswith(closing) else None


def misfit(error: Exception) -> str:
    """What does not fit, without the text that is none of those listed: its field may be secret."""
    return _NO_CHOICE.sub("Expected one of the texts that are listed - at", str(error))


def time_ms(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 text; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # Whole microseconds first: a float of seconds would round some milliseconds down.
    span = moment - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000 + span.microseconds // 1_000


class RowCodec:
    """Decodes and encodes the rows of one schema.

    Timestamps may be integers or ISO texts. Which form the last chunk had decides which decoder is tried first, so a
    stream of integers never pays for texts.
    """

    def __init__(self, schema: Schema, reject_unknown: bool = False) -> None:
        self._times = schema.times
        self._strict = msgspec.json.Decoder(schema.struct_type(reject_unknown=reject_unknown))
        self._lenient = msgspec.json.Decoder(schema.struct_type(text_times=True, reject_unknown=reject_unknown))
        self._texts_seen = False
        self.encode = msgspec.json.Encoder().encode

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Rows of the values; whatever is not a row of the schema is in `bad` with reason `decode`."""
        text = joined_lines(values, b"{", b"}")
        if text is not None:
            rows = self._decode_lines(text)
            if rows is not None and len(rows) == len(values):
                return Decoded(rows, None, [])
        return self._decode_each(values)

    def _decode_lines(self, text: bytes) -> list[Any] | None:
        if not self._texts_seen:
            try:
                return self._strict.decode_lines(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                if not self._times:
                    return None
        try:
            rows = self._lenient.decode_lines(text)
            self._texts_seen = sum(self._convert(row) for row in rows) > 0
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return rows

    def _convert(self, row: Any) -> bool:
        """Turn ISO texts into milliseconds in place; whether there were any."""
        found = False
        for name in self._times:
            value = getattr(row, name)
            if value.__class__ is str:
                setattr(row, name, time_ms(value))
                found = True
        return found

    def _decode_each(self, values: Sequence[bytes | None]) -> Decoded:
        rows: list[Any] = []
        kept: list[int] = []
        bad: list[tuple[int, EventError]] = []
        for place, value in enumerate(values):
            try:
                rows.append(self.decode_one(value))
                kept.append(place)
            except EventError as error:
                bad.append((place, error))
        return Decoded(rows, kept if bad else None, bad)

    def decode_one(self, value: bytes | None) -> Any:
        """Row of one value. Raises EventError(`decode`) with the field at fault."""
        if value is None:
            raise EventError("decode", "the record has no value; an event is a JSON object")
        try:
            row = self._lenient.decode(value)
            self._convert(row)
        except RecursionError as error:
            raise EventError("decode", "JSON is nested too deeply") from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise EventError("decode", misfit(error)) from error
        return row
