"""What one publish may be, and how many events a topic takes: bounds against mistakes and misuse."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Nesting of objects and arrays in an event, itself included.
DEPTH_MAX = 32
#: Media types of a body. None at all is taken too; a browser's forms are not, so no page can post here unasked.
MEDIA_TYPES = ("application/json", "application/x-ndjson", "application/ndjson", "application/jsonl")
#: How long a body may take to arrive.
BODY_S = 10.0
HEADERS_MAX_BYTES = 16 << 10

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """Bounds of the publish endpoint: bytes of a body, events of a request, events per second and topic."""

    body_bytes: int = 1 << 20
    batch_events: int = 1_000
    events_per_s: int = 200_000


@dataclass
class TokenBucket:
    """Lets `per_s` events a second through, and that many at once. A batch goes as a whole, on credit if need be."""

    per_s: int
    now_s: Callable[[], float] = time.monotonic
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens, self._at = float(self.per_s), self.now_s()

    def wait_s(self) -> float:
        """Seconds until something may pass; 0 when it may now."""
        now = self.now_s()
        self._tokens = min(float(self.per_s), self._tokens + (now - self._at) * self.per_s)
        self._at = now
        return 0.0 if self._tokens > 0 else -self._tokens / self.per_s

    def take(self, count: int) -> None:
        """Let `count` events pass."""
        self._tokens -= count


def is_too_deep(event: bytes) -> bool:
    """Whether JSON nests deeper than 32. Counting brackets settles nearly every event."""
    if event.count(b"{") + event.count(b"[") <= DEPTH_MAX:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", event)):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False
