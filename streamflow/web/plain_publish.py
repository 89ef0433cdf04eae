"""The publish that needs no more than its path and its body, without the framework's look at parameters.

    POST /v1/topics/{topic}/events   no query, no Idempotency-Key, If-Match or If-None-Match   answered here
    everything else                                                                            passed on

Stands behind the guard and the bound of bodies, asks for the permission of `publish`, and answers what the route would:
of 0.43 ms a request this saves 0.2.
"""

from fastapi import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from streamflow.web.guard import require
from streamflow.web.problems import Refusal, problem_of
from streamflow.web.publishing import Publishing

_HEAD, _TAIL = "/v1/topics/", "/events"
#: Headers that have a meaning for the route only.
_MEANT = frozenset({b"idempotency-key", b"if-match", b"if-none-match"})


class PlainPublish:
    """ASGI middleware. route, permission: of the operation `publish`."""

    def __init__(self, app: ASGIApp, publishing: Publishing, route: BaseRoute, permission: str) -> None:
        self._app, self._publishing, self._route, self._permission = app, publishing, route, permission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        topic = _topic_of(scope)
        if topic is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            require(request, self._permission, topic=topic)
            answer = await self._publishing.answer(request, topic, None, None)
        except Refusal as refusal:
            answer = problem_of(refusal)
        await answer(scope, receive, send)


def _topic_of(scope: Scope) -> str | None:
    """The topic, None where the route is to answer."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
        return None
    path: str = scope["path"]
    topic = path[len(_HEAD) : -len(_TAIL)]
    if not (path.startswith(_HEAD) and path.endswith(_TAIL) and topic) or "/" in topic:
        return None
    return None if any(name in _MEANT for name, _ in scope["headers"]) else topic
