"""Bytes of a kept row, known before anything remembers it.

A row of state that the changelog does not take would be in the store alone, and gone with the disk. So it is measured
first, and becomes a dead letter `too_large` before the table, its changelog or an output has seen it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from streamflow.errors import EventError
from streamflow.model.schema import FieldType, Schema
from streamflow.windows.layout import ROW_MAX_BYTES

#: A number in JSON, with its comma.
_NUMBER_BYTES = 26


def measure() -> Callable[[Any], int]:
    """Function from a kept row to its bytes as JSON. Raises EventError(`too_large`)."""
    encode = msgspec.json.Encoder().encode

    def bytes_of(row: Any) -> int:
        size = len(encode(row))
        return size if size <= ROW_MAX_BYTES else refuse_row(size)

    return bytes_of


def check_of(schema: Schema) -> Callable[[Any], int]:
    """The same for who only wants rows to fit: those without text and JSON do, and are not looked at."""
    most_bytes = _NUMBER_BYTES * (len(schema.fields) + 2)
    is_bounded = not {field.type for field in schema.fields} & {FieldType.STR, FieldType.JSON}
    return (lambda _row: most_bytes) if is_bounded else measure()


def refuse_row(size_bytes: int) -> int:
    """Raises EventError(`too_large`)."""
    message = f"the row would take {size_bytes} bytes of a table's state, at most {ROW_MAX_BYTES} are possible"
    raise EventError("too_large", message)
