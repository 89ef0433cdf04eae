"""Error answers: RFC 9457 problem documents, one shape for everything that goes wrong."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from streamflow.errors import ErrorClass

log = logging.getLogger(__name__)

#: What helps, by status; of others of the client another request, of others of ours nothing that it can do.
_CLASSES = dict.fromkeys((202, 408, 421, 502, 503, 504), ErrorClass.TRANSIENT)

#: What every answer that is no success looks like, for the OpenAPI document.
PROBLEM: dict[str, Any] = {
    "description": "a problem (RFC 9457): `title` is a stable word, `detail` says what to do, "
    "`error_class` whether waiting (transient), another request (user) or neither helps",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "error_class"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "error_class": {"type": "string", "enum": [each.value for each in ErrorClass]},
                },
            }
        }
    },
}


def json_answer(description: str) -> dict[str, Any]:
    """An answer that is no 200 and no problem, for the OpenAPI document."""
    return {"description": description, "content": {"application/json": {}}}


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


def broker_unavailable(error: Exception) -> Refusal:
    """What a request is told when Kafka does not do what it needs."""
    return Refusal(503, "broker_unavailable", str(error), retry_after_s=2)


def problem_body(status: int, title: str, detail: str, **more: Any) -> dict[str, Any]:
    """A problem document."""
    blame = _CLASSES.get(status, ErrorClass.USER if status < 500 else ErrorClass.SYSTEM)
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "error_class": blame, **more}


def _problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(problem_body(status, title, detail)), status, headers, "application/problem+json")


async def answer_bad_parameters(_request: Request, error: Exception) -> Response:
    """Problem document naming every parameter at fault."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()]
    return _problem(422, "bad_parameter", "; ".join(faults))


async def answer_http_error(_request: Request, error: Exception) -> Response:
    """Problem document of what the framework itself refuses: unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Refusal):  # ours, raised while the framework read the body
        return problem_of(error.__cause__)
    return _problem(error.status_code, "refused", str(error.detail), error.headers)


def answer_large_headers(max_bytes: int) -> Response:
    """Problem document of a request whose headers are too large."""
    return _problem(431, "headers_too_large", f"headers may have {max_bytes} bytes together")


def answer_fault(request_id: str, error: Exception) -> Response:
    """Problem document of a fault of ours; the trace goes to the log, not to the client."""
    log.error("request %s failed", request_id, exc_info=error)
    return _problem(500, "fault", f"the request failed; the worker's log has request {request_id}")


async def answer_refusal(_request: Request, error: Exception) -> Response:
    """Problem document of a Refusal."""
    assert isinstance(error, Refusal)
    return problem_of(error)


def problem_of(error: Refusal) -> Response:
    """Its problem document."""
    body = problem_body(error.status, error.reason, error.detail, **error.more)
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(body), error.status, headers, "application/problem+json")
