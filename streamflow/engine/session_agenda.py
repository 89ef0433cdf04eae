"""When sessions fire: keys by buckets of time, and what is due, by (time, key).

    add ──► bucket of its time ──► (the watermark comes there) each key is looked at ──► waves ──► up ──► pop
            keys alone              in the order of keys, in slices;                      by time   sorted
        ──► heap, when its bucket   those that fire later move on
            has come up already     to the bucket of that

In a bucket a key takes few bytes (key_runs.py). It is looked at in the order of the store, which is far cheaper there
than in that of time; so an entry that is due carries the row that was read, up to CARRIED_MAX_BYTES of them.

Entry: time + 2^63, 8 bytes | key | 0 | row or nothing | length of the key, 2 bytes. Sorts by time and key.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import islice
from struct import Struct

from streamflow.engine.fold_table import NEVER
from streamflow.engine.key_runs import KeyRuns

#: Rows that entries carry; those beyond it are read again when they fire.
CARRIED_MAX_BYTES = 384 << 20
#: Keys of a bucket that are looked at before a checkpoint.
RISING_KEYS = 100_000
#: Keys whose carried rows are known to be old; at more of them none is believed.
_STALE_MAX_KEYS = 100_000
#: Spans of a bucket that are sorted one after the other.
_WAVES = 1_024
_TIME = Struct(">Q")
_LENGTH = Struct(">H")
_SHIFT = 1 << 63

#: (when it fires in ms, record key, row of the key's only session or nothing)
Due = tuple[int, bytes, bytes]
#: Of one key: record key, times in ms at which its sessions fire, row to carry or nothing.
Seen = tuple[bytes, list[int], bytes]
#: Looks at keys, given ascending and how many they are, roughly.
Look = Callable[[Iterator[bytes], int], Iterator[Seen]]


class SessionAgenda:
    """Of one table, whose buckets are `span_ms` long. All keys are record keys."""

    def __init__(self, span_ms: int, look: Look) -> None:
        self._span, self._look = span_ms, look
        self._wave_ms = max(1, span_ms // _WAVES)
        self._buckets: dict[int, KeyRuns] = {}
        self._heads: list[int] = []
        self._rising: Iterator[Seen] | None = None
        self._risen_to = -NEVER
        self._waves: dict[int, list[bytes]] = {}
        self._wave_heads: list[int] = []
        #: The wave that is due; the first entry is the last one.
        self._up: list[bytes] = []
        self._single: list[bytes] = []
        self._carried_bytes = 0
        #: Keys whose carried rows are old; None: all are.
        self._stale: set[bytes] | None = set()

    def add(self, time_ms: int, key: bytes, watermark_ms: int) -> int:
        """A session fires at a time behind the watermark; the first watermark at which that matters."""
        bucket = time_ms // self._span
        keys = self._buckets.get(bucket)
        if keys is not None:
            keys.add(key)
        elif bucket * self._span <= watermark_ms or time_ms < self._risen_to:
            self.add_now(time_ms, key)
            return time_ms
        else:
            self.restore(time_ms, key)
        return max(bucket * self._span, watermark_ms + 1)

    def add_now(self, time_ms: int, key: bytes) -> None:
        """The same when the watermark may be there already."""
        heapq.heappush(self._single, _entry(time_ms, key, b""))

    def restore(self, time_ms: int, key: bytes) -> None:
        """The same of a task that comes back: it may be one of many."""
        bucket = time_ms // self._span
        keys = self._buckets.get(bucket)
        if keys is None:
            keys = self._buckets[bucket] = KeyRuns()
            heapq.heappush(self._heads, bucket)
        keys.add(key)

    @property
    def next_bucket_ms(self) -> int:
        """Start of the first bucket that has not come up, NEVER without one."""
        return self._heads[0] * self._span if self._heads else NEVER

    @property
    def is_rising(self) -> bool:
        """Whether a bucket is being looked at: memory must keep what the store did not have when that began."""
        return self._rising is not None

    def rise(self, watermark_ms: int) -> bool:
        """Bring up the first bucket, if it begins by then and nothing is due before it.

        False: that is not all of it, there is more behind the next checkpoint.
        """
        if self._rising is None:
            head_ms = self.next_bucket_ms
            if head_ms > watermark_ms or self.first_ms() < head_ms:
                return True
            keys = self._buckets.pop(heapq.heappop(self._heads))
            self._risen_to = head_ms + self._span
            self._rising = self._look(keys.ascending(), keys.count)
        count = 0
        for key, times, row in islice(self._rising, RISING_KEYS):
            count += 1
            for time_ms in times:
                if time_ms < self._risen_to:
                    self._put(time_ms, key, row)
                else:
                    self.restore(time_ms, key)
        if count == RISING_KEYS:
            return False
        self._rising = None
        return True

    def _put(self, time_ms: int, key: bytes, row: bytes) -> None:
        if self._carried_bytes > CARRIED_MAX_BYTES:
            row = b""
        self._carried_bytes += len(row)
        wave = time_ms // self._wave_ms
        entries = self._waves.get(wave)
        if entries is None:
            entries = self._waves[wave] = []
            heapq.heappush(self._wave_heads, wave)
        entries.append(_entry(time_ms, key, row))

    def first_ms(self) -> int:
        """When the first of what is up fires, NEVER without one."""
        up, single = self._first_up(), self._single
        if up and not (single and single[0] < up[-1]):
            return _time_of(up[-1])
        return _time_of(single[0]) if single else NEVER

    def pop(self) -> Due:
        """Take that one away."""
        up, single = self._first_up(), self._single
        entry = up.pop() if up and not (single and single[0] < up[-1]) else heapq.heappop(single)
        due = time_ms, key, row = _parts(entry)
        if row:
            self._carried_bytes -= len(row)
            if self._stale is None or key in self._stale:
                return time_ms, key, b""
        return due

    def _first_up(self) -> list[bytes]:
        if not self._up:
            if self._wave_heads:
                self._up = sorted(self._waves.pop(heapq.heappop(self._wave_heads)), reverse=True)
            elif self._carried_bytes == 0 and (self._stale is None or self._stale):
                self._stale = set()
        return self._up

    def outdate(self, key: bytes) -> None:
        """A key's row may be about to change: what an entry carries is not to be believed any more."""
        if self._carried_bytes and self._stale is not None:
            self._stale.add(key)
            if len(self._stale) > _STALE_MAX_KEYS:
                self._stale = None


def _entry(time_ms: int, key: bytes, row: bytes) -> bytes:
    return b"%b%b\0%b%b" % (_TIME.pack(time_ms + _SHIFT), key, row, _LENGTH.pack(len(key)))


def _time_of(entry: bytes) -> int:
    time: int = _TIME.unpack_from(entry)[0]
    return time - _SHIFT


def _parts(entry: bytes) -> Due:
    border = _TIME.size + _LENGTH.unpack_from(entry, len(entry) - _LENGTH.size)[0]
    return _time_of(entry), entry[_TIME.size : border], entry[border + 1 : -_LENGTH.size]
