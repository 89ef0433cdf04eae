"""Snapshots over HTTP: list them, keep the state of a topology that stands still, make a run that goes on from one."""

from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from streamflow.errors import (
    BrokerUnavailable,
    ExternalError,
    IllegalMove,
    ObjectsUnreachable,
    StateMismatch,
    UserError,
)
from streamflow.web.guard import caller_of
from streamflow.web.ports import Service
from streamflow.web.problems import JsonResponse, Refusal, broker_unavailable, json_answer
from streamflow.web.routes import Routes

_PATH = "/v1/topologies/{topology}/snapshots"
#: It becomes part of a place in the object store.
_Id = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,40}$")]
_Answer = TypeVar("_Answer")


class RestoreBody(BaseModel):
    """The run to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    into: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="its name; it must not be there yet")
    origin: str = Field("", max_length=40, description="region that the snapshot was taken in, when it is not this one")


def snapshot_routes(service: Service) -> Routes:
    """Routes of the topology's snapshots."""
    router = Routes(tags=["snapshots"])

    @router.get(_PATH, operation_id="list_snapshots")
    async def list_snapshots(topology: str) -> Response:
        """Snapshots of the topology, the oldest first: id, when and by whom, records and bytes."""
        _check(service, topology)
        return JsonResponse({"snapshots": await _asked(service.snapshots.taken())})

    @router.post(
        _PATH,
        operation_id="take_snapshot",
        status_code=201,
        responses={201: json_answer("The snapshot, which is in the list from now on.")},
    )
    async def take_snapshot(request: Request, topology: str) -> Response:
        """Keep rows, positions and what lies between stages, as one cut. The topology must have been paused, stopped or
        cancelled, on all workers, and must stay so until this answers: 409 otherwise."""
        _check(service, topology)
        return JsonResponse(await _asked(service.snapshots.take(caller_of(request).name)), status_code=201)

    @router.post(
        _PATH + "/{snapshot}/restore",
        operation_id="restore_snapshot",
        status_code=201,
        responses={201: json_answer("The run. `streamflow run TOPOLOGY --into RUN` starts it.")},
    )
    async def restore_snapshot(request: Request, topology: str, snapshot: _Id, body: RestoreBody) -> Response:
        """Make a run of its own that goes on from the snapshot: its state, and from its positions on. The topology
        itself is not touched. 409 when there is such a run, or the snapshot does not fit the topology."""
        _check(service, topology)
        caller = caller_of(request).name
        return JsonResponse(
            await _asked(service.snapshots.restore(snapshot, body.into, body.origin, caller)), status_code=201
        )

    return router


async def _asked(asking: Awaitable[_Answer]) -> _Answer:
    try:
        return await asking
    except IllegalMove as error:
        raise Refusal(409, "illegal_move", str(error)) from error
    except StateMismatch as error:
        raise Refusal(409, "snapshot_does_not_fit", str(error)) from error
    except UserError as error:
        raise Refusal(409, "snapshots_refused", str(error)) from error
    except BrokerUnavailable as error:
        raise broker_unavailable(error) from error
    except ExternalError as error:
        retry_after_s = 2 if isinstance(error, ObjectsUnreachable) else None
        raise Refusal(503, "snapshots_unavailable", str(error), retry_after_s=retry_after_s) from error


def _check(service: Service, topology: str) -> None:
    if topology != service.plan.topology:
        raise Refusal(404, "unknown_topology", f"no topology {topology!r}; there is {service.plan.topology!r}")
