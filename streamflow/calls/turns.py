"""Those who wait for a target, first come first served: one timer for all of them, however many they are."""

import asyncio
from collections import deque

#: How often the first one looks, at the least.
_LOOK_S = 1.0


class Turns:
    """Of one target."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, for_s: float, *, again: bool) -> None:
        """Until it is let go, or is the first one and so many seconds are over. again: it was first already."""
        turn = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if again else self._waiting.append)(turn)
        self.look_in(for_s)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:
                self.let_go(1)  # it was let go and cannot go
            raise

    def let_go(self, count: int) -> None:
        """The first ones."""
        for _ in range(min(count, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def look_in(self, for_s: float) -> None:
        """Let the first one go by then."""
        loop = asyncio.get_running_loop()
        due = loop.time() + min(for_s, _LOOK_S)
        if self._timer is None or due < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        self.let_go(1)
        if self._waiting:
            self.look_in(_LOOK_S)
