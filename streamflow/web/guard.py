"""What stands before every route, HTTP and WebSocket alike. One table says what each needs: `app.PERMISSIONS`.

    Guard (ASGI)  too much at once? ─ 503   who asks? ─ 401, 429   too often? ─ 429   else nothing but public paths
    Permitted     (dependency of every route) may they? ─ 403            what is not in the table is nobody's

A route whose answer depends on more than its path asks again with `require`.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from streamflow.errors import ErrorClass
from streamflow.web.access import ANONYMOUS, PUBLIC, WORKER, Caller
from streamflow.web.identity import Access, unauthorized
from streamflow.web.limits import TokenBucket
from streamflow.web.problems import Refusal, problem_of

#: Paths of routes whose permission is `public`; a test keeps the two together.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
#: Requests under way at once. Streams have seats of their own, and leave when they have one.
REQUESTS_AT_ONCE = 512
#: Callers whose pace is remembered.
CALLERS = 10_000
_CALLER = "streamflow.caller"
_LEAVE = "streamflow.leave"


class Guard:
    """ASGI middleware: finds out who asks before anything of a request is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._under_way = 0
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            if self._under_way >= REQUESTS_AT_ONCE:
                raise Refusal(503, "busy", f"{REQUESTS_AT_ONCE} requests are under way", retry_after_s=1)
            _refuse_foreign_pages(connection, self._access)
            found = await self._access.caller(connection)
            if found is None:
                raise unauthorized()
            self._pace(found)
        except Refusal as refusal:
            await problem_of(refusal)(scope, receive, send)
            return
        scope[_CALLER] = found
        self._under_way += 1
        scope[_LEAVE] = leave = _Once(self._leave)
        try:
            await self._app(scope, receive, send)
        finally:
            leave()

    def _leave(self) -> None:
        self._under_way -= 1

    def _pace(self, who: Caller) -> None:
        """Refuse (429) who asks too often; whoever is not told from others is not counted."""
        if who in (ANONYMOUS, WORKER):
            return
        bucket = self._buckets.setdefault(who.name, TokenBucket(self._access.requests_per_s))
        self._buckets.move_to_end(who.name)
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        wait_s = bucket.wait_s()
        if wait_s > 0:
            detail = f"{self._access.requests_per_s} requests/s are taken from each caller"
            raise Refusal(429, "too_fast", detail, retry_after_s=math.ceil(wait_s))
        bucket.take(1)


class _Once:
    """Calls a function the first time only."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def is_seated(connection: HTTPConnection) -> None:
    """The connection stays, on a seat of its own; it is no request under way any more."""
    connection.scope[_LEAVE]()


class Permitted:
    """Dependency of every route: refuses a caller without the permission that its operation needs (a WebSocket's: its
    name)."""

    def __init__(self, permissions: Mapping[str, str]) -> None:
        self._permissions = permissions

    async def __call__(self, connection: HTTPConnection) -> None:
        """Raises Refusal."""
        route = connection.scope["route"]
        operation = getattr(route, "operation_id", None) or route.name
        permission = self._permissions.get(operation, "of nobody")
        if permission != PUBLIC:
            require(connection, permission, **connection.path_params)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks."""
    found: Caller = connection.scope[_CALLER]
    return found


def require(connection: HTTPConnection, permission: str, **resources: str) -> None:
    """Refuse (403) unless the caller has a permission on resources by kind: topology, table, topic."""
    if not caller_of(connection).may(permission, resources):
        raise Refusal(403, "forbidden", f"this needs the permission {permission!r} here")


def _refuse_foreign_pages(connection: HTTPConnection, access: Access) -> None:
    """A page of somebody else in a browser of this machine must not use what is open to the machine."""
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise Refusal(403, "foreign_page", "pages of other hosts may not ask")
    server = connection.scope.get("server")
    closed = access.is_open and not access.is_exposed
    if closed and server is not None and is_loopback(str(server[0])) and not is_loopback(_name(host)):
        detail = "ask for it by a name of this machine: 127.0.0.1 or localhost"
        raise Refusal(421, "foreign_host", detail, error_class=ErrorClass.USER)


def _name(host: str) -> str:
    """Host of a Host header, without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
