"""The HTTP application: publish, query, look, and health."""

import asyncio
import re
import socket
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from streamflow.errors import SettingsError
from streamflow.web.control import control_routes
from streamflow.web.executing import executing_routes
from streamflow.web.limits import HEADERS_MAX_BYTES, PublishLimits, TokenBucket
from streamflow.web.nodes import node_routes
from streamflow.web.ports import Service
from streamflow.web.problems import (
    JsonResponse,
    Refusal,
    answer_bad_parameters,
    answer_fault,
    answer_http_error,
    answer_large_headers,
    answer_refusal,
)
from streamflow.web.publishing import publishing_routes
from streamflow.web.tables import table_routes
from streamflow.web.why import why_routes

#: Permission each route needs, by operation. A test fails on a route that is not here; keys and roles build on it.
PERMISSIONS = {
    "publish": "publish",
    "query_table": "query",
    "execute": "publish",
    "show_execution": "query",
    "why_window": "query",
    "show_standings": "view",
    "pause": "control",
    "resume": "control",
    "stop": "control",
    "cancel": "control",
    "show_state": "view",
    "list_topologies": "view",
    "show_topology": "view",
    "list_kinds": "view",
    "show_kind": "view",
    "healthz": "public",
    "readyz": "public",
    "metrics": "public",
}

#: What a client may call its request; anything else could forge lines of a log.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def create_app(service: Service, limits: PublishLimits) -> FastAPI:
    """The application over a service."""
    app = FastAPI(title="streamflow", summary="Kafka stream processing", version="1", redoc_url=None)
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(RequestValidationError, answer_bad_parameters)
    app.add_exception_handler(HTTPException, answer_http_error)
    buckets: defaultdict[str, TokenBucket] = defaultdict(lambda: TokenBucket(limits.events_per_s))
    app.include_router(publishing_routes(service, limits, buckets))
    app.include_router(executing_routes(service, limits, buckets))
    app.include_router(table_routes(service))
    app.include_router(why_routes(service))
    app.include_router(control_routes(service))
    app.include_router(node_routes())
    _add_looks(app, service)
    _add_health(app, service)
    app.middleware("http")(_with_headers)
    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Every answer has a request id, also that of a fault, and no browser guesses it to be something else."""
    given = request.headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    try:
        if sum(len(name) + len(value) for name, value in request.headers.raw) > HEADERS_MAX_BYTES:
            response = answer_large_headers(HEADERS_MAX_BYTES)
        else:
            response = await call_next(request)
    except Exception as error:  # the outermost place where the request id is known
        response = answer_fault(request_id, error)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Request-ID"] = request_id
    return response


def _add_looks(app: FastAPI, service: Service) -> None:
    @app.get("/v1/topologies", tags=["look"], operation_id="list_topologies")
    async def list_topologies() -> Response:
        """Topologies this worker runs."""
        plan = service.plan
        return JsonResponse({"topologies": [{"name": plan.topology, "version": plan.version}]})

    @app.get("/v1/topologies/{topology}", tags=["look"], operation_id="show_topology")
    async def show_topology(topology: str) -> Response:
        """Spec, plan, state, positions, lag and watermark per stage and partition."""
        if topology != service.plan.topology:
            detail = f"no topology {topology!r}; there is {service.plan.topology!r}"
            raise Refusal(404, "unknown_topology", detail)
        return JsonResponse(service.view())


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"], operation_id="healthz")
    async def healthz() -> Response:
        """200 while progress is made or nothing waits, else 503."""
        ok, details = service.health()
        return JsonResponse(details, status_code=200 if ok else 503)

    @app.get("/readyz", tags=["health"], operation_id="readyz")
    async def readyz() -> Response:
        """200 when assigned, restored and serving, else 503."""
        ok, details = service.readiness()
        return JsonResponse(details, status_code=200 if ok else 503)

    @app.get("/metrics", tags=["health"], operation_id="metrics")
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _is_every_address(host: str) -> bool:
    """Whether a host means all addresses of the machine, in any spelling that `bind` takes (0 is 0.0.0.0)."""
    if not host.strip("0.:"):
        return True
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False  # a name


class HttpServer:
    """uvicorn on the running loop, without signal handlers of its own. `url` is known before it starts."""

    def __init__(self, host: str, port: int, advertised_url: str = "") -> None:
        if not advertised_url and _is_every_address(host):
            message = f"other workers cannot reach {host!r}: set STREAMFLOW_ADVERTISED_URL to this worker's own address"
            raise SettingsError(message)
        # With the protocol named, asyncio turns Nagle's algorithm off; without it small answers wait 40 ms.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            message = f"{host}:{port} cannot be bound ({error.strerror}): set STREAMFLOW_HTTP_PORT"
            raise SettingsError(message) from error
        self._socket.listen(128)
        bound = self._socket.getsockname()[1]
        self.url = advertised_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def serve(self, app: FastAPI) -> None:
        """Begin to serve in a background task."""
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            http="h11",
            h11_max_incomplete_event_size=HEADERS_MAX_BYTES,
        )
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task = asyncio.create_task(self._server._serve([self._socket]), name="http")

    async def stop(self) -> None:
        """Finish requests (5 s at most) and close."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()
