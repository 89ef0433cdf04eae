"""Fields of a response: JSON to a row of declared types, found by path."""

from collections.abc import Mapping
from typing import Any

import msgspec

from streamflow.errors import CallFailed, ErrorClass
from streamflow.model.codec import misfit, time_ms
from streamflow.model.expression.members import member
from streamflow.model.schema import Schema


class ResponseReader:
    """Reads the fields of a schema. paths: per field the members that lead to it, the field's name when left out."""

    def __init__(self, schema: Schema, paths: Mapping[str, tuple[str, ...]]) -> None:
        self._paths = [(field.name, paths.get(field.name, (field.name,))) for field in schema.fields]
        self._struct = schema.struct_type(text_times=True)
        self._row_type = schema.row_type
        self._times, self._names = schema.times, schema.names

    def read(self, body: bytes) -> Any:
        """A row of the schema. Raises CallFailed (`response`) for a body that does not fit."""
        try:
            whole = msgspec.json.decode(body)
            found = msgspec.convert({name: member(whole, path) for name, path in self._paths}, self._struct)
            return self._row_type(**{name: self._value(found, name) for name in self._names})
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise CallFailed("response", f"the response does not fit: {misfit(error)}", ErrorClass.PERMANENT) from error

    def _value(self, found: Any, name: str) -> Any:
        value = getattr(found, name)
        return time_ms(value) if name in self._times and isinstance(value, str) else value
