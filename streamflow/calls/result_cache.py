"""Results of calls, least recently used first out, bounded in number, bytes and age.

Values are encoded rows, so nobody can change what is kept, an empty result is a result, and their size is known.
"""

from collections import OrderedDict
from collections.abc import Callable

from streamflow.calls.policy import CachePlan

#: What an entry costs beside its value: key, tuple and place in the order.
_ENTRY_BYTES = 200


class ResultCache:
    """Of one node in one worker. `now`: seconds of a monotonic clock. Counts hits, misses and evictions."""

    def __init__(self, plan: CachePlan, now: Callable[[], float]) -> None:
        self._plan, self._now = plan, now
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self.size_bytes = self.hits = self.misses = self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """The value, None when there is none or it is too old."""
        found = self._entries.get(key)
        if found is not None and self._now() - found[0] >= self._plan.ttl_ms / 1_000:
            self._drop(key)
            found = None
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return found[1]

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one that is larger than a tenth of all is not worth the others."""
        if len(value) > self._plan.max_bytes // 10:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (self._now(), value)
        self.size_bytes += len(value) + _ENTRY_BYTES
        while len(self._entries) > self._plan.max_entries or self.size_bytes > self._plan.max_bytes:
            self._drop(next(iter(self._entries)))
            self.evictions += 1

    def _drop(self, key: bytes) -> None:
        _, value = self._entries.pop(key)
        self.size_bytes -= len(value) + _ENTRY_BYTES

    def view(self) -> dict[str, float]:
        """Counts and sizes."""
        return {
            "hits": self.hits,
            "misses": self.misses,
            "entries": len(self),
            "bytes": self.size_bytes,
            "evictions": self.evictions,
            "hit_ratio": round(self.hit_ratio, 4),
        }

    @property
    def hit_ratio(self) -> float:
        """Hits of all look-ups, 0 when there were none."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0
