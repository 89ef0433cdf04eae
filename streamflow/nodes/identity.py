"""What a kept result depends on beside its input: another identity never finds the results of this one."""

import json
from collections.abc import Callable
from hashlib import sha256
from types import CodeType
from typing import Any

from streamflow.kit.declaration import Declaration
from streamflow.kit.rows import schema_of
from streamflow.nodes.kind import NodeConfig, NodeKind

#: Options that change how a result is had, and not which.
_HOW = frozenset(
    {"resilience", "concurrency", "order", "processes", "threads", "memory_bytes", "connections", "connect_timeout"}
)


def identity_of(kind: NodeKind, config: NodeConfig) -> str:
    """Kind, version and options, as text."""
    options = config.model_dump(mode="python", by_alias=True, exclude=set(_HOW))
    return json.dumps([kind.kind, kind.version, options], sort_keys=True, default=_named)


def code_of(found: Declaration) -> str:
    """A function's code and the fields that it takes; not that of what it calls."""
    fields = () if found.input_type is None else schema_of(found.input_type).fields
    code = getattr(found.target, "__code__", None)
    return f"{', '.join(map(str, fields))} {_digest(code) if isinstance(code, CodeType) else ''}"


def _digest(code: CodeType) -> str:
    return sha256(repr((code.co_code, code.co_names, _constant(code.co_consts))).encode()).hexdigest()


def _constant(value: Any) -> str:
    """The same in every process: a set has another order in each."""
    if isinstance(value, CodeType):
        return _digest(value)
    if isinstance(value, tuple | frozenset):
        values = [_constant(each) for each in value]
        return str(values if isinstance(value, tuple) else {"set": sorted(values)})
    return repr(value)


def _named(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, Callable) else str(value)  # type: ignore[arg-type]
