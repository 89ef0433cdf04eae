"""Runs a node over the rows and timers of many keys. Knows neither store nor engine; both the engine and Trial use it.

process(row, key, time) ──► rows           fire(watermark) ──► rows of timers, oldest first
      │ writes                                   ▲
      ▼                                          │
live[key], changed[key] ──► agenda ── key comes up
"""

import os
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

from msgspec import Struct

from streamflow.errors import EventError
from streamflow.kit.agenda import Agenda
from streamflow.kit.declaration import Declaration
from streamflow.kit.keystate import KeyState
from streamflow.kit.process import Process, states_of
from streamflow.kit.rows import Row, row_problem, row_test
from streamflow.kit.timers import Timer, timer_size

#: Rows that one call may give.
ROWS_MAX = 100_000

#: Rows of a timer leave: (key, event time, rows).
Give = Callable[[Any, int, list[Any]], None]
#: A timer failed: (key, timer, what happened). Its writes are undone; the timer is gone.
Fail = Callable[[Any, Timer, EventError], None]


class KeyedRun:
    """State of all keys in memory, and when they want attention. Single-threaded; nothing here waits.

    load: a key's state from the store, None when it has none. news: told an event time at which something is due that
    was not known before. now, watermark: wall clock and event time up to the row at hand, ms.
    """

    def __init__(
        self,
        node: Process,
        output_type: type[Row] | None,
        *,
        load: Callable[[Any], KeyState | None],
        news: Callable[[int], None],
        now: Callable[[], int],
        watermark: Callable[[], int],
    ) -> None:
        self.node, self._load, self._news = node, load, news
        self.live: dict[Any, KeyState] = {}
        self.changed: dict[Any, None] = {}
        self.agenda, self.clock_agenda = Agenda(), Agenda()
        #: Timers that were set after the last watermark, by key.
        self._too_late: dict[Any, set[str]] = {}
        self._last = False
        self._result = Results(output_type)
        self._states = states_of(type(node))
        self._ttls = tuple(state.ttl_ms for state in self._states)
        self._current = node.current
        self._current.now, self._current.watermark = now, watermark

    def _state(self, key: Any) -> KeyState:
        state = self.live.get(key)
        if state is None:
            state = self._load(key)
            if state is None:
                nothing: list[Any] = [None] * len(self._ttls)
                state = KeyState(nothing, nothing[:], {}, {})
            else:
                self.live[key] = state
        return state

    def process(self, row: Any, key: Any, time_ms: int) -> list[Any]:
        """Rows that the node gives for a row. Raises EventError with its writes undone."""
        state, current = self.live.get(key) or self._state(key), self._current
        current.enter(state, key, time_ms)
        try:
            rows = self._result.rows(self.node.process(row))
        except Exception as error:
            current.rollback()
            failure = said(error)
            failure.state_digest = state.digest
            raise failure from error
        finally:
            current.state = None
        if current.undo:
            current.undo.clear()
            self._keep(key, state)
        return rows

    def _keep(self, key: Any, state: KeyState) -> None:
        self.live[key] = state
        self.changed[key] = None
        self.register(key, state)

    def register(self, key: Any, state: KeyState) -> None:
        """Enter a key into the agendas."""
        wanted = state.wanted(self._ttls, self._too_late.get(key, ()))
        if wanted is not None and self.agenda.want(key, wanted):
            self._news(wanted)
        at_ms = state.wanted_clock()
        if at_ms is not None:
            self.clock_agenda.want(key, at_ms)

    def fire(self, watermark_ms: int, give: Give, fail: Fail, *, last: bool = False) -> None:
        """Everything that is due by event time: timers oldest first, ties by key and name, then what expires.

        last: no event will come, so timers that are set meanwhile stay set: one that sets itself would fire for ever.
        """
        self._last = last
        while (found := self.agenda.pop(watermark_ms)) is not None:
            at_ms, key = found
            state = self._state(key)
            late = self._too_late.get(key, ())
            due = sorted((time, name) for name, time in state.timers.items() if time <= at_ms and name not in late)
            for time_ms, name in due:
                # An earlier one of them may have moved it or taken it back.
                if state.timers.get(name) == time_ms:
                    del state.timers[name]
                    self._fire_one(key, state, Timer(name, time_ms), time_ms, give, fail)
            if state.expire(at_ms, self._ttls):
                self.changed[key] = None
            self.register(key, state)

    def fire_clock(self, now_ms: int, watermark_ms: int, give: Give, fail: Fail) -> bool:
        """Every clock timer that is due, by wall clock; whether there was one.

        Event time of the rows is the watermark, or when the timer was set if that is later: so they are never late.
        """
        fired = False
        while (found := self.clock_agenda.pop(now_ms)) is not None:
            at_ms, key = found
            state = self._state(key)
            for wall_ms, name in sorted((wall, name) for name, (wall, _) in state.clock.items() if wall <= at_ms):
                if state.clock.get(name, (None,))[0] == wall_ms:
                    _, set_ms = state.clock.pop(name)
                    timer = Timer(name, wall_ms, clock=True)
                    self._fire_one(key, state, timer, max(watermark_ms, set_ms), give, fail)
                    fired = True
            self.register(key, state)
        return fired

    def _fire_one(self, key: Any, state: KeyState, timer: Timer, time_ms: int, give: Give, fail: Fail) -> None:
        state.size -= timer_size(timer.name)
        self.live[key] = state
        self.changed[key] = None
        current = self._current
        current.enter(state, key, time_ms, None if timer.clock else timer.time_ms)
        before = dict(state.timers) if self._last else state.timers
        try:
            rows = self._result.rows(self.node.on_timer(timer))
        except Exception as error:
            current.rollback()
            failure = said(error)
            failure.state_digest = state.digest
            if failure is not error:
                failure.__cause__ = error
            fail(key, timer, failure)
        else:
            current.undo.clear()
            if self._last:
                moved = {name for name, time in state.timers.items() if before.get(name) != time}
                self._too_late[key] = self._too_late.get(key, set()) | moved
            give(key, time_ms, rows)
        finally:
            current.state = None


class Results:
    """What a call gave, as a list of rows that fit the declared class."""

    def __init__(self, output_type: type[Row] | None) -> None:
        self._type = output_type
        self._fits: Callable[[Any], bool] = (lambda row: False) if output_type is None else row_test(output_type)

    def rows(self, result: Any) -> list[Any]:
        """Rows of None, one row, or an iterable. Raises EventError(`process`)."""
        if result is None:
            return []
        if isinstance(result, Row) or not isinstance(result, Iterable):
            found = [result]
        else:
            found = list(islice(result, ROWS_MAX + 1))
            if len(found) > ROWS_MAX:
                raise EventError("process", f"one call gave more than {ROWS_MAX} rows")
        return found if all(map(self._fits, found)) else list(map(self._fitting, found))

    def _fitting(self, row: Any) -> Any:
        """A row of the declared class. One that was given and comes back unchanged has a class of the engine's, or of
        another node's."""
        if self._type is not None and isinstance(row, Struct):
            names = self._type.__struct_fields__
            if set(names) <= set(row.__struct_fields__):
                row = self._type(**{name: getattr(row, name) for name in names})
        if not self._fits(row):
            raise EventError("process", row_problem(row, self._type))
        return row


def applied(declared: Declaration, arguments: tuple[tuple[str, Any], ...]) -> Callable[[Any], list[Any]]:
    """A function over one row as one that gives a list. It raises EventError(`process`)."""
    results = Results(declared.output_type)
    function = partial(declared.target, **dict(arguments)) if arguments else declared.target

    def apply(row: Any) -> list[Any]:
        try:
            return results.rows(function(row))
        except Exception as error:
            raise said(error) from error

    return apply


def said(error: Exception) -> EventError:
    """What a person's code raised, with the line that did. MemoryError is not the row's fault and goes on."""
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, EventError):
        return error
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
    return EventError("process", f"{type(error).__name__}: {error}{place}")
