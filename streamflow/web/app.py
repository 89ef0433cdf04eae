"""The HTTP application: publish, query, look, and health."""

import asyncio
import socket
import ssl
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from streamflow.errors import SettingsError
from streamflow.web.access import KNOWN, PUBLIC
from streamflow.web.alerts import alert_routes
from streamflow.web.approvals import approval_routes
from streamflow.web.bodies import BoundedBodies
from streamflow.web.control import control_routes
from streamflow.web.event_status import FollowedStatus, status_routes
from streamflow.web.events import EventClients, event_routes
from streamflow.web.executing import executing_routes
from streamflow.web.execution_table import execution_routes
from streamflow.web.guard import Guard, Permitted
from streamflow.web.headers import AnswerHeaders
from streamflow.web.http_protocol import BoundedHttp
from streamflow.web.identity import OPEN, Access
from streamflow.web.letters import letter_routes
from streamflow.web.limits import PublishLimits, TokenBucket
from streamflow.web.live.hub import LiveTables
from streamflow.web.live.routes import live_routes
from streamflow.web.live.sockets import MESSAGE_MAX_BYTES, PING_S, socket_routes
from streamflow.web.nodes import node_routes
from streamflow.web.parameters import refuse_unknown_parameters
from streamflow.web.performance import performance_routes
from streamflow.web.plain_publish import PlainPublish
from streamflow.web.ports import Service
from streamflow.web.problems import (
    PROBLEM,
    JsonResponse,
    Refusal,
    answer_bad_parameters,
    answer_http_error,
    answer_refusal,
    json_answer,
)
from streamflow.web.profiling import profiling_routes
from streamflow.web.publishing import Publishing, publishing_routes
from streamflow.web.refused_requests import CountRefused, RefusedRequests
from streamflow.web.snapshots import snapshot_routes
from streamflow.web.tables import table_routes
from streamflow.web.why import why_routes

#: Permission each route needs, by operation (a WebSocket's: its name); `access.ROLES` has them. Nobody may use a route
#: that is not here, and a test fails on it.
PERMISSIONS = {
    "publish": "publish",
    "publish_as_owner": "operate",
    "query_table": "query",
    "execute": "publish",
    "show_execution": "query",
    "list_executions": "query",
    "show_timeline": "query",
    "cancel_execution": "operate",
    "follow_table": "query",
    "list_events": "operate",  # they tell who did what
    "follow_events": "operate",
    "show_status": "query",  # with the alerts, whose labels may be keys of rows
    "list_alerts": "query",
    "show_alert": "query",
    "acknowledge_alert": "operate",
    "clear_alert": "operate",
    "list_silences": "query",
    "silence_alerts": "operate",
    "lift_silence": "operate",
    "show_alert_rules": "view",
    "set_alert_rules": "operate",
    "summarize_performance": "view",
    "report_performance": "query",  # it names alerts
    "show_message_schema": "view",
    "follow_tables": KNOWN,  # each subscription asks for "query"
    "why_window": "query",
    "show_standings": "view",
    "list_letters": "operate",
    "show_letter": "operate",
    "edit_letter": "operate",
    "redrive_letters": "operate",
    "discard_letters": "operate",
    "pause": "operate",
    "resume": "operate",
    "stop": "operate",
    "cancel": "operate",
    "show_state": "view",
    "list_snapshots": "view",
    "take_snapshot": "operate",
    "restore_snapshot": "operate",
    "list_approvals": "query",
    "decide_approval": "operate",
    "list_topologies": "view",
    "show_topology": "view",
    "profile": "operate",
    "list_tasks": "operate",
    "list_kinds": "view",
    "show_kind": "view",
    "kind_options": "query",  # they are read from tables
    "check_kind": "query",
    "healthz": "public",
    "readyz": "public",
    "metrics": "public",
    "openapi": "view",
    "docs": "view",
}

#: How long a connection lives whose client takes nothing of what was sent, also when its request has ended here.
UNREAD_MS = 60_000
#: How long a stop lets idle connections end by themselves. TLS waits for a last word of the other side, which a client
#: that keeps a connection for later does not give.
LAST_WORD_S = 0.5


def create_app(service: Service, limits: PublishLimits, live: LiveTables, access: Access = OPEN) -> FastAPI:
    """The application over a service. `live`: whoever made it stops it before the server."""
    app = FastAPI(
        title="streamflow",
        summary="Kafka stream processing",
        version="1",
        openapi_url=None,  # the framework's own routes know no permissions
        responses={422: PROBLEM, "default": PROBLEM},
        dependencies=[Depends(Permitted(PERMISSIONS)), Depends(refuse_unknown_parameters)],
    )
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(RequestValidationError, answer_bad_parameters)
    app.add_exception_handler(HTTPException, answer_http_error)
    buckets: defaultdict[str, TokenBucket] = defaultdict(lambda: TokenBucket(limits.events_per_s))
    app.state.event_clients = EventClients()
    publishing = Publishing(service, limits, buckets)
    publishing_routes(service, publishing).add_to(app)
    executing_routes(service, limits, buckets).add_to(app)
    table_routes(service).add_to(app)
    live_routes(live).add_to(app)
    event_routes(service, app.state.event_clients).add_to(app)
    status = FollowedStatus()
    status_routes(service, status).add_to(app)
    execution_routes(service).add_to(app)
    alert_routes(service, status).add_to(app)
    performance_routes(service, status).add_to(app)
    socket_routes(live).add_to(app)
    why_routes(service).add_to(app)
    letter_routes(service).add_to(app)
    control_routes(service).add_to(app)
    snapshot_routes(service).add_to(app)
    approval_routes(service).add_to(app)
    node_routes(service).add_to(app)
    profiling_routes(service.profile, service.waiting_tasks).add_to(app)
    _add_looks(app, service)
    _add_health(app, service)
    _add_documents(app)
    app.state.refused = RefusedRequests(service.events, service.plan.topology, service.url)
    permission = PERMISSIONS["publish"]
    app.add_middleware(PlainPublish, publishing=publishing, route=_route(app, "publish"), permission=permission)
    app.add_middleware(BoundedBodies, max_bytes=limits.body_bytes)
    app.add_middleware(Guard, access=access)
    app.add_middleware(CountRefused, refused=app.state.refused)  # around the guard: it counts what that refuses
    app.add_middleware(AnswerHeaders)
    return app


def _route(app: FastAPI, operation: str) -> BaseRoute:
    return next(each for each in app.routes if getattr(each, "operation_id", "") == operation)


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
    @app.get("/healthz", tags=["health"], operation_id="healthz", responses={503: json_answer("No progress is made.")})
    async def healthz() -> Response:
        """200 while progress is made or nothing waits, else 503."""
        ok, details = service.health()
        return JsonResponse(details, status_code=200 if ok else 503)

    @app.get("/readyz", tags=["health"], operation_id="readyz", responses={503: json_answer("It is not ready.")})
    async def readyz() -> Response:
        """200 when assigned, restored and serving, else 503. Also how many topologies run here, and whether what they
        need of others is there: `dependencies`, which make nobody unready."""
        ok, details = service.readiness()
        return JsonResponse(details, status_code=200 if ok else 503)

    @app.get(
        "/metrics",
        tags=["health"],
        operation_id="metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
    )
    async def metrics(request: Request) -> Response:
        """Prometheus metrics; in OpenMetrics, when it is accepted, with ids of traces as exemplars of latencies."""
        body, media_type = service.metrics(request.headers.get("accept", ""))
        return Response(body, media_type=media_type)


def _add_documents(app: FastAPI) -> None:
    @app.get("/openapi.json", operation_id="openapi", include_in_schema=False)
    async def openapi() -> Response:
        """The OpenAPI document, with who may use what."""
        document = app.openapi()
        document.setdefault("components", {})["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for operation in (each for methods in document["paths"].values() for each in methods.values()):
            permission = PERMISSIONS.get(operation["operationId"], "")
            if permission != PUBLIC:
                operation |= {"security": [{"bearer": []}], "x-permission": permission}
        return JsonResponse(document)

    @app.get("/docs", operation_id="docs", include_in_schema=False)
    async def docs() -> Response:
        """The OpenAPI document, for people."""
        return get_swagger_ui_html(openapi_url="/openapi.json", title=app.title)


def _is_every_address(host: str) -> bool:
    """Whether a host means all addresses of the machine, in any spelling that `bind` takes (0 is 0.0.0.0)."""
    if not host.strip("0.:"):
        return True
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False  # a name


@dataclass(frozen=True, slots=True)
class Tls:
    """Files (PEM) of the certificate with its chain, and of its key."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raises SettingsError when they cannot be used."""
        try:
            # An encrypted key would be asked for on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, lambda: "")
        except OSError as error:  # ssl.SSLError is one
            message = f"{self.certificate} with key {self.key} is no certificate to serve with: {error}"
            raise SettingsError(message) from error


class HttpServer:
    """uvicorn on the running loop, without signal handlers of its own. `url` is known before it starts."""

    def __init__(self, host: str, port: int, advertised_url: str = "", tls: Tls | None = None) -> None:
        if not advertised_url and _is_every_address(host):
            message = f"other workers cannot reach {host!r}: set STREAMFLOW_ADVERTISED_URL to this worker's own address"
            raise SettingsError(message)
        if tls is not None:
            tls.check()
        # With the protocol named, asyncio turns Nagle's algorithm off; without it small answers wait 40 ms.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux; elsewhere such a connection lives until its client goes
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            message = f"{host}:{port} cannot be bound ({error.strerror}): set STREAMFLOW_HTTP_PORT"
            raise SettingsError(message) from error
        self._socket.listen(128)
        bound = self._socket.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        self.url = advertised_url.rstrip("/") or f"{'https' if tls else 'http'}://{name}:{bound}"
        self._tls = tls
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def serve(self, app: FastAPI) -> None:
        """Begin to serve in a background task."""
        tls = self._tls
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            log_config=None,  # as everything else is logged
            lifespan="off",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            http=BoundedHttp,
            ws="websockets-sansio",
            ws_max_size=MESSAGE_MAX_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # it costs more than all the rest of a message
            server_header=False,
            proxy_headers=False,  # whoever asks could name any address
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task = asyncio.create_task(self._server._serve([self._socket]), name="http")

    async def stop(self) -> None:
        """Finish requests (5 s at most) and close."""
        if self._server is not None and self._task is not None:
            idle = [each.transport for each in self._server.server_state.connections if _is_idle(each)]
            self._server.should_exit = True
            cut = asyncio.get_running_loop().call_later(LAST_WORD_S, _cut, idle)
            await self._task
            cut.cancel()
        self._socket.close()


def _is_idle(connection: Any) -> bool:
    """Whether it is kept for requests to come. Those of web sockets have no cycle of request and answer."""
    cycle = getattr(connection, "cycle", connection)
    return cycle is None or (cycle is not connection and cycle.response_complete)


def _cut(idle: list[asyncio.Transport]) -> None:
    for transport in idle:
        if transport.is_closing():  # no request came meanwhile
            transport.abort()
