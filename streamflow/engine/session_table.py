"""Session windows of one task: sessions of each key, a write-back cache over the store.

    event of key k ──► recent[k]      the last session of k, entered since the last checkpoint: one look-up
                         │ not in it
                       live[k]        all open sessions of k in memory, ascending
                         │ miss, and not everything is in memory
                       store          row of k's open sessions
                         │ none holds the event
                       new session, or sessions bridged into one

    a session [start, last + gap)     open ──────────────► fired ─────────────────────► closed
                                            end + fire lag         end + allowed lateness     <= watermark

A late event may change a fired session: then it fires again with the next revision, at the next checkpoint, or at its
new end when that lies ahead.

Firing is driven by buckets of time (session_agenda.py): a session is registered once, in the bucket of its end when it
was made, and moves on when that bucket comes up and it has grown meanwhile; so an event that extends a session costs
nothing. Registrations of sessions that were merged or fired since find nothing.

Store: the open sessions of a key are one row (`open_key`), rewritten when one of them changes; closed sessions have one
row each, by bucket of their end, key and start (`session_key`), and leave by retention.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from streamflow.engine import fold_table
from streamflow.engine.early import Early, Windows
from streamflow.engine.fold_table import NEVER, Fire, Reached, live_max, refuse_window
from streamflow.engine.session_agenda import Seen, SessionAgenda
from streamflow.model.schema import FieldType
from streamflow.nodes.operators import Firing, Fold
from streamflow.plan.plan import TablePlan
from streamflow.state.keys import (
    AFTER_TEXT,
    OPEN_PREFIX,
    checked_key_bytes,
    key_bytes,
    key_from_bytes,
    open_key,
    pane_prefix,
    session_key,
)
from streamflow.state.store import Change, Store, TableChanges
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.session import Session

#: Open sessions of one key: late data with many gaps may open several; more are a mistake of the data or the gap.
MAX_PER_KEY = 1_000
_LONG_AGO = -(1 << 61)
#: Behind all keys of open sessions.
_LAST_KEY = OPEN_PREFIX + AFTER_TEXT


class SessionTable:
    """A FoldTable of sessions. Accumulators carry `start`, `last` (event times) and, when corrected, `revision`.

    border_moved: called with a watermark at which a session made just now fires, when that may be before the border
    that the task knows. watermark_now: the task's up to this event, of which `close` hears at borders only; below every
    time while tables are being closed, so that what a window before it gives then is not late here.
    """

    def __init__(
        self,
        table: TablePlan,
        fold: Fold,
        layout: AccumulatorLayout,
        store: Store,
        key_type: FieldType,
        border_moved: Callable[[int], None],
        watermark_now: Callable[[], int],
    ) -> None:
        assert isinstance(fold.window, Session)
        self.name = table.name
        self.layout = layout
        self._fold = fold
        self._gap = fold.window.gap_ms
        self._lateness, self._fire_lag = fold.allowed_lateness_ms, fold.fire_lag_ms
        self._corrects, self._closed_span = fold.corrects, fold.window.bucket_ms
        self._max_per_key = min(fold.max_open_per_key or MAX_PER_KEY, MAX_PER_KEY)
        self._store = store
        self._integer_keys = key_type is FieldType.INT
        self._border_moved, self._watermark_now = border_moved, watermark_now
        self._watermark = -NEVER
        self._early = Early(fold.early_ms)
        self._is_taken = False
        self._expired_below: int | None = None
        self._recent: dict[Any, Any] = {}
        #: The last session of a key, once entered since the last checkpoint.
        self.get = self._recent.get
        self._live: dict[Any, list[Any]] = {}
        #: Keys whose open sessions only the store has; without any, a key that is not in memory has none.
        self._away_count = 0
        self._changed: dict[Any, None] = {}
        #: Keys without a session, as taken by the last checkpoint; in memory until the store knows.
        self._emptied: list[Any] = []
        #: By identity, the fired sessions that changed since they were told, with their keys.
        self._corrected: dict[int, tuple[Any, Any]] = {}
        self._closed: list[Change] = []
        self._count = 0
        self._agenda = SessionAgenda(max(1, self._gap // 16), self._look)
        #: A heap of (when it closes, key) of sessions that have fired.
        self._closing: list[tuple[int, Any]] = []

    def open_at(self, watermark_ms: int) -> None:
        """Register the open sessions of the store; load them as far as memory goes."""
        if watermark_ms > _LONG_AGO:
            self._watermark = watermark_ms
        most = live_max(self.layout)
        for stored, raw in self._store.scan(self.name, OPEN_PREFIX):
            key = key_from_bytes(stored[len(OPEN_PREFIX) :], self._integer_keys)
            sessions = self.layout.decode_all(raw)
            if len(self._live) < most:
                self._live[key] = sessions
            else:
                self._away_count += 1
            self._count += len(sessions)
            for session in sessions:
                if self._has_fired(session):
                    self._register(session, key)
                else:
                    self._agenda.restore(session.last + self._gap + self._fire_lag, stored[len(OPEN_PREFIX) :])

    def resume(self, rows: int, told_ms: int) -> None:
        """As in PaneTable."""
        self._early.resume(told_ms, rows)

    def distance_ms(self, time_ms: int, watermark_ms: int) -> int:
        """From the last moment of a session of that event alone to the watermark."""
        return watermark_ms - time_ms - self._gap - self._lateness

    # -- the fold's slow path -----------------------------------------------------------------------------------------

    def enter(self, key: Any, time_ms: int) -> Any:
        """The session that an event belongs to, made or bridged for it; None when the event is late."""
        sessions, gap = self._sessions(key), self._gap
        touching = [each for each in sessions if each.start < time_ms + gap and time_ms < each.last + gap]
        if touching:
            session, is_news = self._bridge(sessions, touching), any(self._has_fired(each) for each in touching)
            session.start, session.last = min(session.start, time_ms), max(session.last, time_ms)
        elif time_ms + gap + self._lateness > max(self._watermark_now(), self._watermark):
            session, is_news = self._make(key, sessions, time_ms), True
        else:
            return None
        self._changed[key] = None
        if self._has_fired(session):
            self._corrected[id(session)] = (key, session)
            self._recent.pop(key, None)
        elif session is sessions[-1]:
            self._recent[key] = session  # one that grows without a look must have none after it to grow into
        else:
            self._recent.pop(key, None)
        if is_news:
            self._register(session, key)
        return session

    def _has_fired(self, session: Any) -> bool:
        """Whether the watermark has passed the moment at which it fires."""
        fired: bool = session.last + self._gap + self._fire_lag <= self._watermark
        return fired

    def _sessions(self, key: Any) -> list[Any]:
        """Open sessions of a key, ascending; those that there are are in memory from now on."""
        sessions = self._live.get(key)
        if sessions is None:
            data = checked_key_bytes(key) if self._away_count else b""
            raw = self._store.get(self.name, open_key(data)) if self._away_count else None
            sessions = []
            if raw is not None:
                self._agenda.outdate(data)
                sessions = self._brought(key, raw)
        return sessions

    def _brought(self, key: Any, raw: bytes) -> list[Any]:
        """Sessions of a row that only the store had."""
        sessions = self._live[key] = self.layout.decode_all(raw)
        self._away_count -= 1
        return sessions

    def _make(self, key: Any, sessions: list[Any], time_ms: int) -> Any:
        checked_key_bytes(key)
        if self._count >= self._fold.max_open:
            refuse_window(self._fold, f"{self._count} sessions are open in this task, max_open allows no more")
        if len(sessions) >= self._max_per_key:
            refuse_window(self._fold, f"{len(sessions)} sessions of this key are open, no more are allowed")
        session = self.layout.new()
        session.start = session.last = time_ms
        sessions.append(session)
        if len(sessions) > 1:
            sessions.sort(key=_start_of)
        self._live[key] = sessions
        self._count += 1
        return session

    def _bridge(self, sessions: list[Any], touching: list[Any]) -> Any:
        """Merge sessions into the first of them."""
        first = touching[0]
        for other in touching[1:]:
            revision = max(first.revision, other.revision) if self._corrects else 0
            self.layout.merge(first, other)
            if self._corrects:
                first.revision = revision
            first.last = max(first.last, other.last)
            sessions.remove(other)
            self._corrected.pop(id(other), None)
            self._count -= 1
        return first

    # -- firing and closing -------------------------------------------------------------------------------------------

    def _register(self, session: Any, key: Any) -> None:
        """See to it that a session is looked at when it may fire, or, when it has fired, when it may close."""
        end = session.last + self._gap
        fires = end + self._fire_lag
        if fires <= self._watermark:
            heapq.heappush(self._closing, (end + self._lateness, key))
            self._border_moved(end + self._lateness)
        else:
            self._border_moved(self._agenda.add(fires, key_bytes(key), self._watermark))

    def next_border(self, watermark_ms: int) -> int:
        """The first session that may fire or close, bucket that comes up, or early firing."""
        first = min(self._agenda.first_ms(), self._agenda.next_bucket_ms, self._early.next_border(watermark_ms))
        if self._closing:
            first = min(first, self._closing[0][0])
        return max(first, watermark_ms + 1)

    def close(self, watermark_ms: int, fire: Fire) -> Reached | None:
        """Fire what ended, ordered by end and key; forget what takes no more rows. Bucket by bucket, up to a slice."""
        room = fold_table.CLOSING_ROWS
        while self._watermark < watermark_ms:
            if room <= 0 or not self._agenda.rise(watermark_ms):
                return Reached(self._watermark)
            rows = self._fired_rows(min(watermark_ms, self._agenda.next_bucket_ms - 1), room)
            room -= len(rows)
            if rows:
                fire(0, 0, rows, True)
            if self._closing and self._closing[0][0] <= self._watermark:
                self._close_fired(self._watermark, fire)
        return self._early.tell(watermark_ms, self._open_windows, fire)

    def _look(self, keys: Iterator[bytes], count: int) -> Iterator[Seen]:
        """What the agenda asks about keys of a bucket that has come up. Of many, all rows of the store are read."""
        lag, watermark_ms, live = self._gap + self._fire_lag, self._watermark, self._live
        row_of = self._row_of if count * 4 < self._count else self._next_row_of()
        for data in keys:
            sessions, carried = live.get(key_from_bytes(data, self._integer_keys)), b""
            if sessions is None:
                raw = row_of(data) if self._away_count else None
                sessions = [] if raw is None else self.layout.decode_all(raw)
                if raw is not None and len(sessions) == 1:
                    carried = raw
            yield data, [fires for each in sessions if (fires := each.last + lag) > watermark_ms], carried

    def _row_of(self, data: bytes) -> bytes | None:
        return self._store.get(self.name, open_key(data))

    def _next_row_of(self) -> Callable[[bytes], bytes | None]:
        """The same for keys that ascend."""
        rows = self._store.scan(self.name, OPEN_PREFIX)
        place, raw = b"", b""

        def row_of(data: bytes) -> bytes | None:
            nonlocal place, raw
            wanted = open_key(data)
            while place < wanted:
                place, raw = next(rows, (_LAST_KEY, b""))
            return raw if place == wanted else None

        return row_of

    def _fired_rows(self, watermark_ms: int, room: int) -> list[tuple[Any, Any]]:
        """(key, session) of what fires at this watermark, about `room` rows at most; moves the own one on as far.

        Sessions that fire and stay, for corrections, are known to have fired by that watermark alone. So all of one
        moment go together; of others the store knows which are gone.
        """
        rows: list[tuple[Any, Any]] = []
        told: tuple[int, bytes] | None = None
        self._watermark, agenda = watermark_ms, self._agenda
        while (first_ms := agenda.first_ms()) <= watermark_ms:
            if len(rows) >= room and not (self._corrects and told is not None and first_ms == told[0]):
                self._watermark = first_ms - 1
                break
            fires, data, row = agenda.pop()
            if told == (fires, data):
                continue  # registered more than once
            told, key = (fires, data), key_from_bytes(data, self._integer_keys)
            sessions = self._brought(key, row) if row and key not in self._live else self._sessions(key)
            for session in sessions[:]:
                ends = session.last + self._gap + self._fire_lag
                if ends == fires:
                    self._fire_one(key, sessions, session)
                    rows.append((key, session))
                elif ends > watermark_ms:
                    self._register(session, key)
                elif ends > fires:
                    agenda.add_now(ends, data)
        return rows

    def _fire_one(self, key: Any, sessions: list[Any], session: Any) -> None:
        self._changed[key] = None
        if self._recent.get(key) is session:
            del self._recent[key]
        if self._corrects:
            session.revision += 1
            heapq.heappush(self._closing, (session.last + self._gap + self._lateness, key))
        else:
            self._forget(key, sessions, session)

    def _close_fired(self, watermark_ms: int, fire: Fire) -> None:
        """Let go fired sessions that no late row can reach any more; a last correction goes out before."""
        while self._closing and self._closing[0][0] <= watermark_ms:
            _, key = heapq.heappop(self._closing)
            sessions = self._sessions(key)
            for session in sessions[:]:
                closes = session.last + self._gap + self._lateness
                if closes <= watermark_ms:
                    self._changed[key] = None
                    if self._corrected.pop(id(session), None) is not None:
                        session.revision += 1
                        fire(0, 0, [(key, session)], True)
                    self._forget(key, sessions, session)
                elif self._has_fired(session):
                    heapq.heappush(self._closing, (closes, key))

    def _forget(self, key: Any, sessions: list[Any], session: Any) -> None:
        sessions.remove(session)
        self._count -= 1
        bucket = self._bucket_start(session.last + self._gap)
        self._closed.append((session_key(bucket, checked_key_bytes(key), session.start), self.layout.bytes_of(session)))

    def _bucket_start(self, time_ms: int) -> int:
        return time_ms - time_ms % self._closed_span

    def _open_windows(self) -> Windows:
        """Every session that has not fired, by key."""
        while self._away_count and (self._changed or self._is_taken):
            yield None  # the store gives the order, so it has to have all
        yield 0, 0, self._open_rows()

    def _open_rows(self) -> Iterator[tuple[Any, Any]]:
        live = self._live
        if not self._away_count:
            for key in sorted(live, key=key_bytes):
                yield from ((key, each) for each in live.get(key, ()) if not self._has_fired(each))
            return
        for stored, raw in self._store.scan(self.name, OPEN_PREFIX):
            key = key_from_bytes(stored[len(OPEN_PREFIX) :], self._integer_keys)
            sessions = live[key] if key in live else self.layout.decode_all(raw)
            yield from ((key, each) for each in sessions if not self._has_fired(each))

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def show(self, watermark_ms: int, fire: Fire) -> None:
        """Updates of open sessions, or corrections of fired ones."""
        if self._fold.firing is Firing.UPDATE:
            rows = [(key, each) for key in self._changed for each in self._sessions(key)]
            if rows:
                fire(0, 0, rows, False)
        corrected = [(key, each) for key, each in self._corrected.values() if self._has_fired(each)]
        self._corrected.clear()
        for _, session in corrected:
            session.revision += 1
        if corrected:
            fire(0, 0, corrected, True)

    def untold_count(self) -> int:
        """Results that the next `show` gives, roughly."""
        return len(self._corrected) + len(self._changed) * (self._fold.firing is Firing.UPDATE)

    def take_changes(self, watermark_ms: int) -> TableChanges | None:
        """Rows of closed sessions, and the open ones of every key that changed."""
        self._is_taken = True
        changes, self._closed = self._closed, []
        for key in self._changed:
            sessions = self._live[key]
            if not sessions:
                self._emptied.append(key)
            changes.append((open_key(checked_key_bytes(key)), self.layout.bytes_of_all(sessions) if sessions else None))
        self._changed.clear()
        self._recent.clear()
        expire_below = self._expiry(watermark_ms)
        if not changes and expire_below is None:
            return None
        return TableChanges(self.name, changes, expire_below)

    def _expiry(self, watermark_ms: int) -> bytes | None:
        if watermark_ms < _LONG_AGO:
            return None
        limit = self._bucket_start(watermark_ms - self._fold.retention_ms)
        if self._expired_below is not None and limit <= self._expired_below:
            return None
        self._expired_below = limit
        return pane_prefix(limit)

    def evict(self) -> None:
        """Keys without a change since the last checkpoint are left to the store, when memory is full."""
        self._is_taken = False
        if self._agenda.is_rising:
            return
        for key in self._emptied:
            if key not in self._changed and not self._live.get(key):
                self._live.pop(key, None)
        self._emptied.clear()
        if len(self._live) <= live_max(self.layout) or self._early.is_telling:
            return
        before_count = len(self._live)
        self._live = {key: self._live[key] for key in self._changed}
        self._away_count += before_count - len(self._live)

    @property
    def live_count(self) -> int:
        """Sessions in memory."""
        return sum(len(sessions) for sessions in self._live.values())


def _start_of(session: Any) -> int:
    start: int = session.start
    return start
