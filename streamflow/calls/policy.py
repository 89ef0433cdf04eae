"""The policy of a node's calls, as frozen data: what is tried how often, and what holds others back. Times in ms.

cache ─hit──────────────────────────────────────────────────► rows
  └miss─► breaker ─► bulkhead ─► rate limit ─► attempt ─ok──► rows ─► cache
             ▲                                    └fails
             └───── retry after a pause ◄── its class is in `on`, attempts are left
                                                   └ else ─► fallback row ─► dead letter
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamflow.errors import ErrorClass


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` in all, the first included; before attempt n a pause of min(cap, base × factor^(n-2)).

    jitter: share of the pause that is random, 0 to 1. on: classes of faults that are tried again.
    """

    attempts: int = 3
    base_ms: int = 1_000
    factor: float = 2.0
    cap_ms: int = 30_000
    jitter: float = 0.5
    on: frozenset[ErrorClass] = frozenset({ErrorClass.TRANSIENT})

    def pause_s(self, failed: int, random: float) -> float:
        """Pause in seconds after `failed` (from 1) attempts; `random` in [0, 1)."""
        pause_ms = min(float(self.cap_ms), self.base_ms * self.factor ** (failed - 1))
        return pause_ms * (1 - self.jitter * random) / 1_000


@dataclass(frozen=True, slots=True)
class BreakerPlan:
    """Opens after `failures` transient failures of a target in a row; one probe is let through every `open_ms`.

    waits: calls wait while it is open (rows stand still at this node); else they fail at once. For `patience_ms`
    after the last success a probe that fails uses up no attempt of its row: a long outage costs no rows, and a row that
    always fails does not wait for ever.
    """

    failures: int = 5
    open_ms: int = 10_000
    waits: bool = True
    patience_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class RatePlan:
    """At most `rate` attempts per `per_ms` and worker, up to `burst` at once."""

    rate: int
    per_ms: int
    burst: int


@dataclass(frozen=True, slots=True)
class CachePlan:
    """Results kept per worker: at most `max_entries` and `max_bytes` in memory, each for `ttl_ms`.

    disk_bytes: of those on disk, 0: none are; shared: those are told to the other workers.
    identity: digest of all that a result depends on beside its input.
    min_took_ms: results of quicker calls are not kept. mark: bool field of rows whose result had been kept.
    """

    max_entries: int
    max_bytes: int
    ttl_ms: int
    disk_bytes: int = 0
    identity: bytes = b""
    min_took_ms: int = 0
    mark: str | None = None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about the calls of one node.

    timeout_ms: of one attempt. bulkhead: attempts under way per worker, 0: as many as tasks × capacity.
    expires_ms: how old a row's event time may be by the wall clock when its turn comes, 0: as old as it is.
    fallback: values of what the call would have given, when all fails; None: there are none.
    """

    timeout_ms: int = 30_000
    retry: Retry = field(default_factory=Retry)
    breaker: BreakerPlan | None = None
    bulkhead: int = 0
    rate: RatePlan | None = None
    expires_ms: int = 0
    fallback: Mapping[str, Any] | None = None
    cache: CachePlan | None = None
