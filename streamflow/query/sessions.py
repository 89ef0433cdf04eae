"""Reads sessions: closed ones by bucket of their end, key and start; behind them the open ones by key and start.

`from` and `to` bound the end of a session, because that is when it happened for whoever asks what ended yesterday, and
because the store has them by end.
"""

from collections.abc import Iterator
from typing import Any

from streamflow.plan.plan import TablePlan
from streamflow.query.reader import TableReader, behind
from streamflow.query.request import RowState, TableQuery
from streamflow.state.keys import OPEN_PREFIX, open_key, pane_prefix, session_key, split_session_key
from streamflow.state.store import Store
from streamflow.windows.layout import AccumulatorLayout
from streamflow.windows.session import Session

_FAR = 1 << 62


class SessionReader(TableReader):
    """Rows of sessions. Times in ms."""

    def __init__(self, table: TablePlan, layout: AccumulatorLayout) -> None:
        super().__init__(table)
        assert isinstance(table.window, Session)
        self._layout, self._shape = layout, table.window

    def _rows(
        self, store: Store, watermark_ms: int, query: TableQuery
    ) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        in_open = query.after is not None and query.after.startswith(OPEN_PREFIX)
        if query.state is not RowState.OPEN and not in_open:
            for stored, raw in self._closed(store, query):
                if raw is None:
                    yield stored, None
                    return
                session = self._layout.decode(raw)
                if self._is_asked(session, query):
                    _, key, _ = split_session_key(stored)
                    yield stored, self._session_row(key, session, True)
        if query.state is not RowState.FINAL:
            yield from self._open(store, watermark_ms, query)

    def place(self, store_key: bytes) -> tuple[int | None, bytes]:
        """The key; a session's times are not in it."""
        is_open = store_key.startswith(OPEN_PREFIX)
        return None, store_key[len(OPEN_PREFIX) :] if is_open else split_session_key(store_key)[1]

    def shown(self, store_key: bytes, raw: bytes, watermark_ms: int) -> list[dict[str, Any]]:
        """The open sessions of a key, or one closed session."""
        key = self.place(store_key)[1]
        if not store_key.startswith(OPEN_PREFIX):
            return [self._session_row(key, self._layout.decode(raw), True)]
        return [
            self._session_row(key, each, self._is_final(each, watermark_ms)) for each in self._layout.decode_all(raw)
        ]

    def _is_final(self, session: Any, watermark_ms: int) -> bool:
        return bool(session.last + self._shape.gap_ms + self._table.lateness_ms <= watermark_ms)

    def _is_asked(self, session: Any, query: TableQuery) -> bool:
        end = session.last + self._shape.gap_ms
        return (query.from_ms is None or end >= query.from_ms) and (query.to_ms is None or end < query.to_ms)

    def _session_row(self, key: bytes, session: Any, final: bool) -> dict[str, Any]:
        end = session.last + self._shape.gap_ms
        return self._row(key, session.start, end, final, self._layout.named(session))

    def _closed(self, store: Store, query: TableQuery) -> Iterator[tuple[bytes, bytes | None]]:
        bucket_ms, name = self._shape.bucket_ms, self._table.name
        first = b"" if query.from_ms is None else pane_prefix(query.from_ms - query.from_ms % bucket_ms)
        last = OPEN_PREFIX if query.to_ms is None else pane_prefix(query.to_ms - query.to_ms % bucket_ms + bucket_ms)
        lower, key = behind(query.after, first), query.key
        if key is None:
            return store.scan(name, lower, last)

        def sessions_of(bucket: int, lower: bytes) -> Iterator[tuple[bytes, bytes]]:
            begin = max(lower, session_key(bucket, key, -_FAR))
            found = store.scan(name, begin, session_key(bucket, key, _FAR))
            return (row for row in found if split_session_key(row[0])[1] == key)

        return self._parts_of_key(store, lower, last, sessions_of)

    def _open(self, store: Store, watermark_ms: int, query: TableQuery) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Sessions of the rows of open ones; in a cursor such a session has its start behind its row's key."""
        after = query.after if query.after is not None and query.after.startswith(OPEN_PREFIX) else b""
        if query.key is not None:
            row = store.get(self._table.name, open_key(query.key))
            found = iter([(open_key(query.key), row)] if row is not None else [])
        else:
            found = store.scan(self._table.name, max(OPEN_PREFIX, after[:-8]))
        for stored, raw in found:
            key = stored[len(OPEN_PREFIX) :]
            for session in self._layout.decode_all(raw):
                place = stored + pane_prefix(session.start)
                final = self._is_final(session, watermark_ms)
                if place > after and self._is_asked(session, query):
                    yield place, self._session_row(key, session, final)
