"""What an async node is made of.

Action    what to do, as pure data in the plan
Caller    the same, open: connections and secrets; one per node and worker, shared by its tasks
Answer    what became of one row
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from streamflow.calls.payload_store import Payloads
from streamflow.calls.policy import CachePlan
from streamflow.calls.result_cache import Tier
from streamflow.errors import EventError


@dataclass(frozen=True, slots=True)
class Outside:
    """What the operator of a worker lets its nodes reach and know.

    hosts: patterns of host names that may be called, `*` in them stands for anything. networks: private ones that may
    be reached, which are refused otherwise; unencrypted http is for these alone. secrets: folder of files, one each.
    results: opens the results that a node keeps on disk; None: they are in memory alone. payloads: where large ones
    lie, None: there is no such place.
    """

    hosts: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    secrets: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    results: Callable[[str, CachePlan], Tier | None] | None = None
    payloads: Payloads | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row comes from: the same for the same row in every attempt, also after a crash.

    owner: identity of the run. batch_ms: when its record's batch was written, time_ms: its event time.
    """

    owner: str
    topic: str
    partition: int
    offset: int
    batch_ms: int
    time_ms: int

    @property
    def key(self) -> str:
        """Idempotency key of what is done for the row. The time tells it from that of a topic that was deleted."""
        return f"{self.owner}/{self.topic}/{self.partition}/{self.offset}/{self.batch_ms}"


class Caller(Protocol):
    """An open node."""

    @property
    def result_type(self) -> Any:
        """What `call` gives, as msgspec knows it, so that a cache can keep it."""

    async def open(self) -> None:
        """Connect. Raises TopologyError for what the node cannot do without, such as a secret."""

    async def call(self, row: Any, origin: Origin) -> Any:
        """The result for a row. Raises CallFailed, or anything that `failure_of` tells the class of."""

    def rows(self, row: Any, result: Any) -> Sequence[Any]:
        """Rows made of a row and a result, which may be that of another row with the same digest."""

    async def close(self) -> None:
        """Let go of everything."""

    def target(self, row: Any) -> str:
        """Whom the call goes to: what has a breaker of its own. Raises CallFailed (user) when the row has none."""

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """The row that a row becomes when all attempts failed."""

    def digest(self, row: Any) -> bytes:
        """What the result is a function of, for the cache."""


@runtime_checkable
class HasMemory(Protocol):
    """A caller whose work is done in processes of its own."""

    def peak_bytes(self) -> int | None:
        """Most memory that one of them has had; None where that is not known."""


class Action(Protocol):
    """What an async node does, as data: hashable by identity, and safe to look at without running anything."""

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""


@dataclass(slots=True)
class Answer:
    """What became of a row: rows, or an error. attempts: calls that were made for it, 0: the result had been kept.

    recovered: what stood in when all calls had failed, `fallback`; `expired` when it was too late for any.
    """

    rows: list[Any] = field(default_factory=list)
    error: EventError | None = None
    attempts: int = 1
    recovered: str = ""


#: Tells (in seconds of a monotonic clock) what time it is.
Now = Callable[[], float]
