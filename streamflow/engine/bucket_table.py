"""Token buckets of one task, in whole numbers: a token is `per_ms` parts, `rate` parts come back per ms.

A bucket that is full again at the watermark is as good as none, since its clock is the watermark at least: it is
forgotten then, and nobody can tell. One agenda entry per key finds the moment.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from streamflow.engine.fold_table import MAX_LIVE, Fire
from streamflow.kit.agenda import Agenda
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Limit
from streamflow.state.keys import checked_key_bytes, key_from_bytes
from streamflow.state.store import Change, Store, TableChanges

#: Parts in a bucket, and the event time at which that was so.
Bucket = tuple[int, int]


class BucketTable:
    """A FoldTable of buckets.

    border_moved: told an event time at which a bucket is full. watermark_now: the task's up to this event, below every
    time while tables are being closed.
    """

    def __init__(
        self,
        operator: Limit,
        store: Store,
        key_type: FieldType,
        border_moved: Callable[[int], None],
        watermark_now: Callable[[], int],
    ) -> None:
        self.name = operator.table
        self._rate, self._cost = operator.rate, operator.per_ms
        self._full = operator.burst * operator.per_ms
        self._store, self._border_moved, self._watermark_now = store, border_moved, watermark_now
        self._integer_keys = key_type is FieldType.INT
        self._complete = True
        self._live: dict[Any, Bucket] = {}
        #: Keys whose buckets changed since the last checkpoint; False: the bucket is forgotten.
        self._changed: dict[Any, bool] = {}
        self._agenda = Agenda()
        self._encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder(Bucket).decode

    def open_at(self, watermark_ms: int) -> None:
        """Read all buckets; as many as fit stay."""
        for stored, raw in self._store.scan(self.name):
            key, bucket = key_from_bytes(stored, self._integer_keys), self.decode(raw)
            self._agenda.want(key, self._full_at(bucket))
            if len(self._live) < MAX_LIVE:
                self._live[key] = bucket
            else:
                self._complete = False

    def _full_at(self, bucket: Bucket) -> int:
        """Event time at which it is full."""
        parts, at_ms = bucket
        # Divided downwards of a negative number: rounded up to the next whole ms.
        return at_ms - (parts - self._full) // self._rate

    def _bucket(self, key: Any) -> Bucket | None:
        bucket = self._live.get(key)
        if bucket is None and not self._complete:
            # A row of the store that is forgotten but not yet deleted is of a bucket that is full too.
            raw = self._store.get(self.name, checked_key_bytes(key))
            bucket = None if raw is None else self.decode(raw)
        return bucket

    def take(self, key: Any, time_ms: int) -> bool:
        """Take a token for a row; whether there was one."""
        now_ms = max(time_ms, self._watermark_now())
        parts, bucket = self._full, self._bucket(key)
        if bucket is None:
            checked_key_bytes(key)
        else:
            parts, at_ms = bucket
            if now_ms > at_ms:
                parts = min(self._full, parts + (now_ms - at_ms) * self._rate)
            else:
                now_ms = at_ms
        passes = parts >= self._cost
        self._live[key] = bucket = (parts - self._cost if passes else parts, now_ms)
        self._changed[key] = True
        if self._agenda.want(key, self._full_at(bucket)):
            self._border_moved(self._full_at(bucket))
        return passes

    def next_border(self, watermark_ms: int) -> int:
        """The first moment at which a bucket may be full."""
        return max(self._agenda.first_ms, watermark_ms + 1)

    def close(self, watermark_ms: int, fire: Fire) -> None:
        """Forget full buckets."""
        while (found := self._agenda.pop(watermark_ms)) is not None:
            key = found[1]
            bucket = self._bucket(key)
            if bucket is not None and self._full_at(bucket) > watermark_ms:
                self._agenda.want(key, self._full_at(bucket))
            elif bucket is not None:
                self._live.pop(key, None)
                self._changed[key] = False

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """No row is late here."""
        return 0

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Rows leave when they come."""

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Every bucket that changed."""
        if not self._changed:
            return None
        changes: list[Change] = []
        for key, kept in self._changed.items():
            changes.append((checked_key_bytes(key), self._encode(self._live[key]) if kept else None))
        self._changed.clear()
        return TableChanges(self.name, changes)

    def evict(self) -> None:
        """Buckets without a change since the last checkpoint are left to the store, when memory is full."""
        if len(self._live) > MAX_LIVE:
            self._live = {key: self._live[key] for key, kept in self._changed.items() if kept}
            self._complete = False

    @property
    def live_count(self) -> int:
        """Buckets in memory."""
        return len(self._live)
