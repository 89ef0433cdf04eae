"""Rows that wait for a time of the wall clock."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any

import msgspec

from streamflow.calls.caller import Caller, Origin, Outside
from streamflow.model.schema import Schema


@dataclass(frozen=True)
class DelayAction:
    """Lets every row wait until `by_ms` after it was written to the node's topic."""

    by_ms: int
    rows: Schema

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""
        return DelayCaller(self, node)


class DelayCaller:
    """Sleeps. See `caller.Caller`."""

    def __init__(self, action: DelayAction, node: str) -> None:
        self.result_type = None
        self._row_type = action.rows.row_type
        self._by_ms, self._node, self._names = action.by_ms, node, action.rows.names

    async def open(self) -> None:
        """Nothing is kept open."""

    async def close(self) -> None:
        """Nothing is kept open."""

    async def call(self, row: Any, origin: Origin) -> None:
        """Nothing, when the row's time has come."""
        await asyncio.sleep((origin.batch_ms + self._by_ms) / 1_000 - time())

    def rows(self, row: Any, result: None) -> Sequence[Any]:
        """The row."""
        return [self._row_type(**{name: getattr(row, name) for name in self._names})]

    def target(self, row: Any) -> str:
        """Nobody is asked."""
        return self._node

    def digest(self, row: Any) -> bytes:
        """The row."""
        return msgspec.msgpack.encode([getattr(row, name) for name in self._names])

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """A row of these values."""
        return self._row_type(**values)
