"""A person's `async def` over one row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from streamflow.calls.caller import Caller, Origin, Outside
from streamflow.kit.declaration import Declaration
from streamflow.kit.rows import schema_of
from streamflow.kit.run import Results


@dataclass(frozen=True)
class CoroutineAction:
    """Awaits a function for every row. `arguments`: what it gets besides, by name."""

    declared: Declaration
    arguments: tuple[tuple[str, Any], ...]

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""
        return CoroutineCaller(self, node)


class CoroutineCaller:
    """Awaits a function. See `caller.Caller`."""

    def __init__(self, action: CoroutineAction, node: str) -> None:
        assert action.declared.output_type is not None
        self._row_type: type[Any] = action.declared.output_type
        self.result_type = list[action.declared.output_type]  # type: ignore[name-defined]
        self._node = node
        self._results = Results(action.declared.output_type)
        self._function: Any = partial(action.declared.target, **dict(action.arguments))
        given = action.declared.input_type
        self._inputs = None if given is None else schema_of(given).names
        self._encode = msgspec.msgpack.Encoder().encode

    async def open(self) -> None:
        """Nothing is kept open."""

    async def close(self) -> None:
        """Nothing is kept open."""

    async def call(self, row: Any, origin: Origin) -> list[Any]:
        """The function's rows, checked against their class."""
        return self._results.rows(await self._function(row))

    def rows(self, row: Any, result: list[Any]) -> Sequence[Any]:
        """The result."""
        return result

    def target(self, row: Any) -> str:
        """The node: what the function calls is not known."""
        return self._node

    def digest(self, row: Any) -> bytes:
        """The fields that the function's row class names, all of the row when it names none."""
        names = self._inputs or [name for name in row.__struct_fields__ if not name.startswith("_")]
        return self._encode([getattr(row, name) for name in names])

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """A row of these values."""
        return self._row_type(**values)
