"""Rows on a repartition topic: JSON arrays that begin with the event time in ms, `[time, field, field, …]`."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from streamflow.errors import EventError
from streamflow.model.codec import Decoded, joined_lines
from streamflow.model.schema import Schema, python_type

#: Attribute of the event time; field names begin with a letter, so none can be equal.
TIME = "_event_time_ms"


#: Attribute of what a table has to remember of a row that it keeps.
FLAG = "_flag"


@lru_cache(maxsize=1_000)
def _wire_type(schema: Schema) -> type[Any]:
    fields = [(TIME, int), *((field.name, python_type(field)) for field in schema.fields)]
    return msgspec.defstruct(f"{schema.name}OnWire", fields, array_like=True, gc=False)


@lru_cache(maxsize=1_000)
def kept_type(schema: Schema) -> type[Any]:
    """Struct of a row kept in a table: JSON array `[time, flag, field, …]`; flag is a bool."""
    fields = [(TIME, int), (FLAG, bool), *((field.name, python_type(field)) for field in schema.fields)]
    return msgspec.defstruct(f"{schema.name}Kept", fields, array_like=True, gc=False)


def absent_row(schema: Schema) -> Any:
    """Stands for a row that is not there: every field is null."""
    return kept_type(schema)(0, False, *(None for _ in schema.fields))


class WireCodec:
    """Decodes what fused code writes as `encode((time, field, …))`; rows have the schema's attributes."""

    def __init__(self, schema: Schema) -> None:
        self._decoder = msgspec.json.Decoder(_wire_type(schema))

    def decode(self, values: Sequence[bytes | None]) -> tuple[list[int], Decoded]:
        """(event times in ms, rows). Bad records are none of ours: somebody else writes to the topic."""
        decoded = self._decode(values)
        return [row._event_time_ms for row in decoded.rows], decoded

    def _decode(self, values: Sequence[bytes | None]) -> Decoded:
        # Same argument as for objects: "]\n[" cannot stand inside a JSON value.
        text = joined_lines(values, b"[", b"]")
        if text is not None:
            try:
                rows = self._decoder.decode_lines(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                rows = []
            if len(rows) == len(values):
                return Decoded(rows, None, [])
        rows, kept, bad = [], [], []
        for place, value in enumerate(values):
            try:
                rows.append(self._decoder.decode(b"" if value is None else value))
                kept.append(place)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                bad.append((place, EventError("decode", str(error))))
        return Decoded(rows, kept if bad else None, bad)
