"""The HTTP application: publish, query, look, and health."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from fastapi import FastAPI, Request, Response

from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, answer_refusal
from streamflow.web.publishing import publishing_routes
from streamflow.web.tables import table_routes

#: Permission each route needs, by operation. A test fails on a route that is not here; keys and roles build on it.
PERMISSIONS = {
    "publish": "publish",
    "query_table": "query",
    "list_topologies": "view",
    "show_topology": "view",
    "healthz": "public",
    "readyz": "public",
    "metrics": "public",
}


def create_app(service: Service, body_max_bytes: int) -> FastAPI:
    """The application over a service."""
    app = FastAPI(title="streamflow", summary="Kafka stream processing", version="1", redoc_url=None)
    app.add_exception_handler(Refusal, answer_refusal)
    app.include_router(publishing_routes(service, body_max_bytes))
    app.include_router(table_routes(service))
    _add_looks(app, service)
    _add_health(app, service)
    app.middleware("http")(_without_traces)
    return app


async def _without_traces(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """No answer shows a stack trace or may be guessed to be something else by a browser."""
    response = await call_next(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
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


class HttpServer:
    """uvicorn on the running loop, without signal handlers of its own. `url` is known before it starts."""

    def __init__(self, host: str, port: int, advertised_url: str = "") -> None:
        self._socket = socket.create_server((host, port), reuse_port=False)
        bound = self._socket.getsockname()[1]
        self.url = advertised_url or f"http://{host}:{bound}"
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
