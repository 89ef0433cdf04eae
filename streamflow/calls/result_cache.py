"""Results of calls, least recently used first out, bounded in number, bytes and age; if wanted with a tier on disk.

    get ─► memory ─miss─► disk ─miss─► the call        put ─► memory and disk
             └hit         └hit: back into memory, no younger than it is

Values are encoded rows, so nobody can change what is kept, an empty result is a result, and their size is known.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from streamflow.calls.cache_advice import advice, grade
from streamflow.calls.policy import CachePlan
from streamflow.errors import StoreFailed

log = logging.getLogger(__name__)

#: What an entry costs beside its value: key, tuple and place in the order.
_ENTRY_BYTES = 200


class Tier(Protocol):
    """Results that outlive the process (state/kept_results.py). Times in ms of the wall clock."""

    def get(self, key: bytes) -> tuple[int, bytes] | None:
        """(when it was kept, the result), None when there is none. Raises StoreFailed."""

    def put(self, key: bytes, kept_ms: int, value: bytes) -> None:
        """Keep a result. Raises StoreFailed."""

    def view(self) -> dict[str, int]:
        """Entries and bytes."""

    def close(self) -> None:
        """Let go of it."""


class ResultCache:
    """Of one node in one worker. `now`: seconds of a monotonic clock. Counts hits, misses and evictions.

    hits are those of both tiers, disk_hits those of the disk. tier: may be set before the first use; one that fails
    is closed and left alone, as a cache is worth no outage.
    """

    def __init__(self, plan: CachePlan, now: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self.plan, self._now, self._wall = plan, now, wall
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self.tier: Tier | None = None
        self.size_bytes = self.hits = self.misses = self.evictions = self.disk_hits = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """The value, None when there is none or it is too old."""
        found = self._entries.get(key)
        if found is not None and self._now() - found[0] >= self.plan.ttl_ms / 1_000:
            self._drop(key)
            found = None
        if found is None:
            found = self._on_disk(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        if key in self._entries:
            self._entries.move_to_end(key)
        return found[1]

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one that is larger than a tenth of all is not worth the others."""
        self._keep(key, self._now(), value)
        if self.tier is not None and len(value) <= self.plan.disk_bytes // 10:
            try:
                self.tier.put(key, int(self._wall() * 1_000), value)
            except StoreFailed as error:
                self._leave(error)

    def close(self) -> None:
        """Let go of the tier on disk."""
        tier, self.tier = self.tier, None
        if tier is not None:
            tier.close()

    def _on_disk(self, key: bytes) -> tuple[float, bytes] | None:
        """(when it was kept, by the monotonic clock; the result), which is in memory from here on."""
        if self.tier is None:
            return None
        try:
            found = self.tier.get(key)
        except StoreFailed as error:
            self._leave(error)
            return None
        if found is None:
            return None
        age_s = max(0.0, self._wall() - found[0] / 1_000)
        if age_s >= self.plan.ttl_ms / 1_000:
            return None
        self.disk_hits += 1
        entry = self._now() - age_s, found[1]
        self._keep(key, *entry)
        return entry

    def _keep(self, key: bytes, kept_s: float, value: bytes) -> None:
        if len(value) > self.plan.max_bytes // 10:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = (kept_s, value)
        self.size_bytes += len(value) + _ENTRY_BYTES
        while len(self._entries) > self.plan.max_entries or self.size_bytes > self.plan.max_bytes:
            self._drop(next(iter(self._entries)))
            self.evictions += 1

    def _drop(self, key: bytes) -> None:
        _, value = self._entries.pop(key)
        self.size_bytes -= len(value) + _ENTRY_BYTES

    def _leave(self, error: StoreFailed) -> None:
        log.warning("results are kept in memory alone from here on: %s", error)
        self.close()

    def view(self) -> dict[str, Any]:
        """Counts and sizes, and what to do about them."""
        found = {
            "hits": self.hits,
            "misses": self.misses,
            "entries": len(self),
            "bytes": self.size_bytes,
            "evictions": self.evictions,
            "hit_ratio": round(self.hit_ratio, 4),
        }
        disk = None if self.tier is None else self.tier.view() | {"hits": self.disk_hits}
        return found | {"disk": disk, "grade": grade(found), "advice": advice(found, self.plan)}

    @property
    def hit_ratio(self) -> float:
        """Hits of all look-ups, 0 when there were none."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0
