"""Executions: events that somebody waits for, and what became of them. The waiting room behind `execute`.

Every bound is stated here. What is dropped is not lost: results are in their sinks, the parts in the outcome topic.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from operator import attrgetter

import orjson

from streamflow.model.outcome import Outcome

#: Events that may be waited for at once; more are refused with 429.
WAITING_MAX = 1_000
#: Outcomes kept for whoever comes back: so many, so many bytes, for so long.
KEPT_MAX = 10_000
KEPT_MAX_BYTES = 64 << 20
KEPT_S = 600

#: See model.outcome.new_execution.
_ID = re.compile(r"([0-9a-f]{11})-[0-9a-f]{32}")
_Known = Callable[[Outcome], bool]
_is_complete: _Known = attrgetter("is_complete")
_is_judged: _Known = attrgetter("is_judged")


def age_s(execution: str) -> float | None:
    """Seconds since an id was made; None when it is none of ours."""
    found = _ID.fullmatch(execution)
    return None if found is None else time.time() - int(found[1], 16) / 1_000


class Executions:
    """Outcomes as their parts come in, and the requests that wait for them. Single-threaded."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()
        self._waiting: dict[str, list[tuple[asyncio.Future[None], _Known]]] = {}
        self._waiting_count = 0
        self._size_bytes = 0

    def has_room(self, count: int) -> bool:
        """Whether so many more events may be waited for; if not, the request should come back later."""
        return self._waiting_count + count <= WAITING_MAX

    def add(self, part: bytes) -> None:
        """A part of an outcome has come."""
        body = orjson.loads(part)
        outcome = self._outcomes.setdefault(body["id"], Outcome())
        before = outcome.size_bytes
        outcome.add(body, len(part))
        self._size_bytes += outcome.size_bytes - before
        for waiting, is_known in self._waiting.get(body["id"], ()):
            if is_known(outcome) and not waiting.done():
                waiting.set_result(None)
        while len(self._outcomes) > KEPT_MAX or self._size_bytes > KEPT_MAX_BYTES:
            _, dropped = self._outcomes.popitem(last=False)
            self._size_bytes -= dropped.size_bytes

    async def wait(self, execution: str, timeout_s: float, *, judged: bool = False) -> Outcome:
        """The outcome, as far as it is known when it is complete (or judged as a write), or the time is over."""
        is_known = _is_judged if judged else _is_complete
        known = self._outcomes.get(execution)
        if known is not None and is_known(known):
            return known
        waiting = asyncio.get_running_loop().create_future(), is_known
        self._waiting.setdefault(execution, []).append(waiting)
        self._waiting_count += 1
        try:
            await asyncio.wait([waiting[0]], timeout=timeout_s)
        finally:
            self._waiting_count -= 1
            others = self._waiting[execution]
            others.remove(waiting)
            if not others:
                del self._waiting[execution]
        return self._outcomes.get(execution, Outcome())

    async def wait_all(self, executions: list[str], timeout_s: float) -> list[Outcome]:
        """The outcomes of several, all within the same time."""
        return list(await asyncio.gather(*(self.wait(each, timeout_s) for each in executions)))
