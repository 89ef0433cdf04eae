"""Refused requests on the bus: the first at once, those that follow summed up, so that a flood makes few events."""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.log import EventLog

#: No permission known, none given, too many requests.
STATUSES = (401, 403, 429)
#: How long refusals are summed up, and of how many different ones; beyond that clients are told as one.
SUM_S = 10.0
MAX_KINDS = 1_000

#: Of the answers to requests, and to handshakes of WebSockets.
_STARTS = ("http.response.start", "websocket.http.response.start")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET")

_Kind = tuple[int, str, str]


class RefusedRequests:
    """Counts refusals by status, operation and client."""

    def __init__(self, events: EventLog, topology: str, worker: str) -> None:
        self._events, self._topology, self._worker = events, topology, worker
        self._counts: Counter[_Kind] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, status: int, operation: str, client: str) -> None:
        """A request was refused."""
        kind = status, operation, client
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SUM_S, self.flush)
        if kind not in self._counts and len(self._counts) < MAX_KINDS:
            self._counts[kind] = 0
            self._say(kind, 1)
        else:
            self._counts[kind if kind in self._counts else (status, operation, "")] += 1

    def flush(self) -> None:
        """Say what was summed up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, Counter()
        for kind, count in counts.items():
            if count:
                self._say(kind, count)

    def _say(self, kind: _Kind, count: int) -> None:
        status, operation, client = kind
        data = {"worker": self._worker, "status": status, "operation": operation, "client": client, "count": count}
        self._events.emit(EventType.REQUEST_REFUSED, self._topology, data, severity=Severity.WARNING)


class CountRefused:
    """ASGI middleware that adds what is refused."""

    def __init__(self, app: ASGIApp, refused: RefusedRequests) -> None:
        self._app, self._refused = app, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""

        async def look(message: Message) -> None:
            if message["type"] in _STARTS and message["status"] in STATUSES:
                self._refused.add(message["status"], _operation(scope), (scope.get("client") or ("",))[0])
            await send(message)

        await self._app(scope, receive, look)


def _operation(scope: Scope) -> str:
    """What was asked for; where the guard refuses that is not known, and a method that nobody knows is not told."""
    route, method = scope.get("route"), scope.get("method", "WEBSOCKET")
    found = getattr(route, "operation_id", None) or getattr(route, "name", None)
    return found or (method if method in _METHODS else "other")
