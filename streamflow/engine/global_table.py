"""A global table in memory: the last row of every key of a compacted topic.

Generated code keeps `rows.get`, so the dictionary lives as long as the table and is changed in place, between slices of
the stream. The rows are a function of the last record of each key: a record that cannot be used leaves no row.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from streamflow.errors import TableTooLarge
from streamflow.model.codec import RowCodec
from streamflow.model.schema import FieldType
from streamflow.plan.plan import GlobalTablePlan
from streamflow.state.keys import key_bytes, key_from_bytes


class GlobalTable:
    """Rows by key value. `absent` stands for the row of a key that is not there: every field is None.

    size_bytes: of keys and of rows as JSON. bad_count: records since the start that could not be used.
    """

    def __init__(self, plan: GlobalTablePlan) -> None:
        self.plan = plan
        self.rows: dict[str | int, Any] = {}
        self.absent = plan.schema.row_type(**dict.fromkeys(plan.schema.names))
        self.size_bytes = 0
        self.bad_count = 0
        self._codec = RowCodec(plan.schema)
        self._integer_keys = next(f.type for f in plan.schema.fields if f.name == plan.key_name) is FieldType.INT
        self._sorted: list[bytes] | None = None

    def apply(self, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """Take (key, value) records in order; no value deletes. Raises TableTooLarge."""
        decoded = self._rows_of([value for _, value in records if value is not None])
        for key, value in records:
            row = None if value is None else next(decoded)
            own = None if row is None else getattr(row, self.plan.key_name)
            if own is not None and key == key_bytes(own):
                self._set(own, key, row)
                continue
            name = self._key_of(key)
            if value is not None or name is None:
                self.bad_count += 1
            if name is not None:
                self._set(name, key or b"", None)
        self._check_bounds()

    def _rows_of(self, values: list[bytes | None]) -> Iterator[Any]:
        """Row of every value, None where it did not decode."""
        found = self._codec.decode(values)
        if found.kept is None:
            return iter(found.rows)
        rows: list[Any] = [None] * len(values)
        for place, row in zip(found.kept, found.rows, strict=True):
            rows[place] = row
        return iter(rows)

    def _key_of(self, key: bytes | None) -> str | int | None:
        """Key value of a record's key, None when no row can have it: no UTF-8, no integer, or one written as 007."""
        try:
            name = None if key is None else key_from_bytes(key, self._integer_keys)
        except ValueError:
            return None
        return name if name is not None and key_bytes(name) == key else None

    def _set(self, name: str | int, key: bytes, row: Any) -> None:
        before = self.rows.get(name)
        if before is not None:
            self.size_bytes -= len(key) + self._size_of(before)
        if row is not None:
            self.rows[name] = row
            self.size_bytes += len(key) + self._size_of(row)
        elif before is not None:
            del self.rows[name]
        if (before is None) != (row is None):
            self._sorted = None

    def _size_of(self, row: Any) -> int:
        return len(self._codec.encode(row))

    def _check_bounds(self) -> None:
        plan, rows = self.plan, len(self.rows)
        if rows > plan.max_rows or self.size_bytes > plan.max_bytes:
            raise TableTooLarge(
                f"global table {plan.name} has {rows} rows and {self.size_bytes} bytes, its bounds are {plan.max_rows} "
                f"and {plan.max_bytes}: raise max_rows or max_bytes, or delete rows of topic {plan.topic}"
            )

    def find(self, key: bytes) -> dict[str, Any] | None:
        """The row under a record key as queries show it, `{key, final, value}`; None when there is none."""
        name = self._key_of(key)
        row = None if name is None else self.rows.get(name)
        return None if row is None else {"key": name, "final": False, "value": self._value(row)}

    def values(self) -> dict[str | int, dict[str, Any]]:
        """Every row by its key, without the key's field."""
        return {name: self._value(row) for name, row in self.rows.items()}

    def _value(self, row: Any) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.structs.asdict(row)
        del fields[self.plan.key_name]
        return fields

    def keys_behind(self, after: bytes | None, limit: int) -> list[bytes]:
        """At most `limit` record keys in order of their bytes. Sorted anew after a key came or went."""
        if self._sorted is None:
            self._sorted = sorted(map(key_bytes, self.rows))
        start = 0 if after is None else bisect_right(self._sorted, after)
        return self._sorted[start : start + limit]


@dataclass(frozen=True, slots=True)
class FollowedTable:
    """A table and how far it has followed its topic.

    positions: next offset per partition. lag: records known that it does not reflect. ratio: how far it was read at the
    start, 1 when it is ready.
    """

    table: GlobalTable
    positions: Mapping[int, int]
    lag: int
    ratio: float
