"""Error answers: RFC 9457 problem documents, one shape for everything that goes wrong."""

from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response


class JsonResponse(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes of the body."""
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


class Refusal(Exception):
    """Ends a request with a problem document."""

    def __init__(self, status: int, reason: str, detail: str, *, retry_after_s: int | None = None, **more: Any) -> None:
        self.status, self.reason, self.detail, self.retry_after_s, self.more = (
            status,
            reason,
            detail,
            retry_after_s,
            more,
        )
        super().__init__(detail)


async def answer_refusal(_request: Request, error: Exception) -> Response:
    """Problem document of a Refusal."""
    assert isinstance(error, Refusal)
    body = {"type": "about:blank", "title": error.reason, "status": error.status, "detail": error.detail, **error.more}
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(orjson.dumps(body), error.status, headers, "application/problem+json")
