"""W3C trace context (https://www.w3.org/TR/trace-context/): version, trace id, span id and flags in hex.

traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
"""

import re
import secrets
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

TRACEPARENT = "traceparent"
#: Versions behind 00 may have more fields at the end, which are passed over as the standard says.
_FORM = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span that is sampled, by its ids in hex."""

    trace_id: str
    span_id: str

    @classmethod
    def new(cls) -> "TraceContext":
        """The first span of a trace."""
        return cls(secrets.token_hex(16), secrets.token_hex(8))

    @classmethod
    def of(cls, *names: str) -> "TraceContext":
        """The same for the same names, in a trace of its own."""
        return cls(_digest(16, *names), _digest(8, *names))

    def child(self, *names: str) -> "TraceContext":
        """A span of the same trace, always the same for the same names."""
        return TraceContext(self.trace_id, _digest(8, self.trace_id, self.span_id, *names))

    @property
    def header(self) -> bytes:
        """Value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-01".encode()


@dataclass(slots=True)
class Span:
    """Something that happened, as it is exported. Times in ns since 1970; `kind` as OpenTelemetry names it."""

    name: str
    context: TraceContext
    start_ns: int
    parent: TraceContext | None = None
    kind: str = "CONSUMER"
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[TraceContext, ...] = ()


def sampled_context(header: bytes | None) -> TraceContext | None:
    """The context of a header; None when there is none, it is damaged, or it is not sampled."""
    match = _FORM.fullmatch(header or b"")
    if match is None or not int(match[4], 16) & _SAMPLED or (match[1] == b"00" and match[5]):
        return None
    trace_id, span_id = match[2].decode(), match[3].decode()
    return TraceContext(trace_id, span_id) if trace_id.strip("0") and span_id.strip("0") else None


def _digest(size: int, *names: str) -> str:
    return blake2b("\0".join(names).encode(), digest_size=size).hexdigest()
