"""Payloads beside Kafka (claim check): a row keeps a reference, the payload lies in the worker's store.

    store    field, more than `over` bytes ─► store/<digest> ─► field null, reference {"digest": …, "size": …}
    fetch    reference ─► store/<digest>, size and digest are right ─► field

Where the store is says the worker alone: no row can lead it elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

import msgspec

from streamflow.calls.caller import Caller, Origin, Outside
from streamflow.calls.payload_store import Payloads
from streamflow.errors import CallFailed, ErrorClass, Problem, TopologyError
from streamflow.model.schema import FieldType, Schema

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Reference(msgspec.Struct, frozen=True):
    """What a row has in place of a payload: SHA-256 of its bytes in hexadecimal, and how many they are."""

    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class StoreAction:
    """Stores the text or JSON of `field` where it has more than `over` bytes; more than `max_bytes` is refused.

    keep: fields of the input.
    """

    field: str
    type: FieldType
    reference: str
    over: int
    max_bytes: int
    keep: tuple[str, ...]
    output: Schema

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""
        return StoreCaller(self, node, outside)


@dataclass(frozen=True)
class FetchAction:
    """Puts the payload into `field`, as text or JSON, where `reference` is not null; else what is there stays.

    required: rows without a reference are refused. keep: fields of the input; kept: field that says whether the
    payload had been kept.
    """

    reference: str
    field: str
    type: FieldType
    max_bytes: int
    required: bool
    keep: tuple[str, ...]
    output: Schema
    kept: str | None = None

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""
        return FetchCaller(self, node, outside)


class _PayloadCaller:
    """What both have. See `caller.Caller`."""

    def __init__(self, action: StoreAction | FetchAction, node: str, outside: Outside) -> None:
        self._node, self._given = node, outside.payloads
        self._row_type, self._keep = action.output.row_type, action.keep

    async def open(self) -> None:
        """Open the worker's store. Raises TopologyError when it has none."""
        if self._given is None:
            message = "this worker has no store of payloads"
            raise TopologyError((Problem(f"nodes.{self._node}", message, "set STREAMFLOW_PAYLOADS_URL"),))
        self._given.open()

    async def close(self) -> None:
        """The store is shared; it has nothing to close."""

    @property
    def _store(self) -> Payloads:
        assert self._given is not None
        return self._given

    def target(self, row: Any) -> str:
        """The store."""
        return self._store.place

    def _row(self, row: Any, values: Mapping[str, Any]) -> Any:
        return self._row_type(**{name: getattr(row, name) for name in self._keep} | dict(values))


class StoreCaller(_PayloadCaller):
    """Stores. See `caller.Caller`."""

    def __init__(self, action: StoreAction, node: str, outside: Outside) -> None:
        super().__init__(action, node, outside)
        self._action = action
        self.result_type = Reference | None

    async def call(self, row: Any, origin: Origin) -> Reference | None:
        """Where the payload is, None: it stays in its row. Raises CallFailed."""
        data, action = self._bytes(row), self._action
        if data is None or len(data) <= action.over:
            return None
        if len(data) > action.max_bytes:
            raise _too_large(action.field, len(data), action.max_bytes)
        return Reference(await self._store.put(data), len(data))

    def rows(self, row: Any, result: Reference | None) -> Sequence[Any]:
        """The row, with the reference in place of the payload."""
        action = self._action
        if result is None:
            return [self._row(row, {action.reference: None})]
        return [self._row(row, {action.field: None, action.reference: msgspec.structs.asdict(result)})]

    def digest(self, row: Any) -> bytes:
        """The payload's."""
        return sha256(self._bytes(row) or b"").digest()

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """The row as it came, without a reference, but for the values."""
        return self._row(row, {self._action.reference: None, **values})

    def _bytes(self, row: Any) -> bytes | None:
        value = getattr(row, self._action.field)
        if value is None:
            return None
        return value.encode() if self._action.type is FieldType.STR else _encode(value)


class FetchCaller(_PayloadCaller):
    """Fetches. See `caller.Caller`."""

    def __init__(self, action: FetchAction, node: str, outside: Outside) -> None:
        super().__init__(action, node, outside)
        self._action = action
        self.result_type = Any
        # A row whose payload had been kept is marked where it was found.
        self._marks = {} if action.kept is None else {action.kept: False}

    async def call(self, row: Any, origin: Origin) -> Any:
        """The payload, None when the row has no reference. Raises CallFailed."""
        action, found = self._action, self._reference(row)
        if found is None:
            return None
        if found.size > action.max_bytes:
            raise _too_large(action.reference, found.size, action.max_bytes)
        data = await self._store.get(found.digest, found.size)
        try:
            return data.decode() if action.type is FieldType.STR else _decode(data)
        except (UnicodeDecodeError, msgspec.DecodeError) as error:
            message = f"the payload {found.digest} is no {action.type}: {error}"
            raise CallFailed("payload_type", message, ErrorClass.PERMANENT) from error

    def rows(self, row: Any, result: Any) -> Sequence[Any]:
        """The row with its payload; the reference stays."""
        return [self._row(row, self._marks if result is None else {self._action.field: result} | self._marks)]

    def digest(self, row: Any) -> bytes:
        """The payload's; nothing for rows without."""
        found = self._reference(row)
        return b"" if found is None else _encode(found)

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """The row as it came, but for the values."""
        return self._row(row, {**values, **self._marks})

    def _reference(self, row: Any) -> Reference | None:
        name = self._action.reference
        value = getattr(row, name)
        if value is None and not self._action.required:
            return None
        try:
            return msgspec.convert(value, Reference)
        except msgspec.ValidationError as error:
            raise CallFailed("payload_reference", f"{name} is no reference: {error}", ErrorClass.USER) from error


def _too_large(name: str, size: int, max_bytes: int) -> CallFailed:
    message = f"the payload of {name} has {size} bytes, more than max_bytes, {max_bytes}"
    return CallFailed("payload_too_large", message, ErrorClass.USER)
