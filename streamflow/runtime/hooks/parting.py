"""Private hook into aiokafka's group coordinator: what a static member says to the group when it stops.

By itself it says nothing, so that its partitions wait for it for a whole session, also when it never comes back. Ours
says how long it may be gone:

    return_within_ms of 0      LeaveGroup: its partitions are given to others at once
    below the session          JoinGroup once more, with this as its session: who is back in time finds everything as it
                               was, and no rebalance; afterwards others get its partitions
    the session, or more       nothing

The second JoinGroup changes no assignment: a stable group takes a static member back as it is (KIP-345). One that is
not stable would keep it waiting, and is left instead.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

import logging
from collections.abc import Callable
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)


class _LeaveResponse(Response):
    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "members",
            Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")), ("error_code", Int16)),
        ),
    )


class _LeaveStruct(RequestStruct):
    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = _LeaveResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("members", Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")))),
    )


class _LeaveRequest(Request[_LeaveStruct]):
    """LeaveGroup of a static member; Kafka 2.4 and newer. Without a member id it would be that of whoever has taken its
    place."""

    API_KEY = 13

    def __init__(self, group: str, member: str, instance: str) -> None:
        self._group, self._member, self._instance = group, member, instance

    def build(self, request_struct_class: type[_LeaveStruct]) -> _LeaveStruct:
        return request_struct_class(self._group, [(self._member, self._instance)])


def prepare(consumer: Any, settings: Settings) -> None:
    """Let a consumer that is about to be stopped say for how long, once its coordinator is at rest."""
    coordinator = consumer and consumer._coordinator
    if coordinator is None or not settings.instance_id or settings.return_within_ms >= settings.session_timeout_ms:
        return
    coordinator._maybe_leave_group = _parting(coordinator, settings.return_within_ms)


def _parting(coordinator: Any, return_within_ms: int) -> Callable[[], Any]:
    async def part() -> None:
        if coordinator.generation <= 0:
            return  # not a member, or not one any more
        try:
            leaves: str | None = coordinator.member_id
            if return_within_ms:
                leaves = await _promise(coordinator, return_within_ms)
            if leaves is not None:
                await _leave(coordinator, leaves)
        except KafkaError as error:
            log.warning("the group was not told of this stop, it waits for a whole session: %r", error)
        coordinator.reset_generation()

    return part


async def _promise(coordinator: Any, return_within_ms: int) -> str | None:
    """Be a member whose session ends then. None when the group has taken it, else the member id that is to leave."""
    member: str = coordinator.member_id
    if not await _beats(coordinator, member):
        return member
    topics = coordinator._subscription.topics
    metadata = [(assignor.name, assignor.metadata(topics).encode()) for assignor in coordinator._assignors]
    instance, rebalance_ms = coordinator._group_instance_id, coordinator._rebalance_timeout_ms
    join = JoinGroupRequest(
        coordinator.group_id, return_within_ms, rebalance_ms, "", instance, ConsumerProtocol.PROTOCOL_TYPE, metadata
    )
    answer = await coordinator._send_req(join)
    if for_code(answer.error_code) is not NoError:
        return member
    # The broker counts from the heartbeat, by the new session.
    is_taken = answer.generation_id == coordinator.generation and await _beats(coordinator, answer.member_id)
    return None if is_taken else str(answer.member_id)


async def _beats(coordinator: Any, member: str) -> bool:
    """Whether a heartbeat is taken: the group is stable and knows the member."""
    answer = await coordinator._send_req(HeartbeatRequest(coordinator.group_id, coordinator.generation, member))
    return for_code(answer.error_code) is NoError


async def _leave(coordinator: Any, member: str) -> None:
    leave = _LeaveRequest(coordinator.group_id, member, coordinator._group_instance_id)
    answer = await coordinator._send_req(leave)
    if (error := for_code(answer.error_code)) is not NoError:
        raise error(coordinator.group_id)
