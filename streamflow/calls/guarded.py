"""The calls of one node in one worker, under its policy (drawn in `policy.py`).

Every wait is bounded or lawful: an attempt by its time-out, a pause by its cap, a token by the rate, and an open
circuit by the target coming back (`waits`) or by patience ending, during which rows wait in Kafka.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streamflow.calls.breaker import Breaker, Circuit, Pass
from streamflow.calls.caller import Answer, Caller, HasMemory, Now, Origin
from streamflow.calls.faults import failure_of
from streamflow.calls.policy import CachePlan, Policy
from streamflow.calls.rate import RateLimit
from streamflow.calls.result_cache import ResultCache, Tier
from streamflow.errors import CallFailed, ErrorClass, ExternalError

#: How long an attempt may take to notice that its time is over, seconds; then it is said to be stuck.
GRACE_S = 10.0
#: Targets whose breakers are kept; beyond that closed ones are forgotten.
_MAX_TARGETS = 1_000


class WorkerLacks(ExternalError):
    """A call failed because this worker lacks something: its successor may have it."""


@dataclass(slots=True)
class CallCounts:
    """Monotone counts of a node's calls in this worker. seconds: time spent in attempts; faults: attempts by class."""

    attempts: int = 0
    answered: int = 0
    retried: int = 0
    fallbacks: int = 0
    expired: int = 0
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)


class GuardedCaller:
    """Calls under a policy. `answer` never raises for what is wrong with a row or its target."""

    def __init__(self, caller: Caller, policy: Policy, now: Now = time.monotonic) -> None:
        self.caller, self._policy, self._now = caller, policy, now
        self.counts = CallCounts()
        self.cache = ResultCache(policy.cache, now) if policy.cache is not None else None
        self._rate = RateLimit(policy.rate, now) if policy.rate is not None else None
        self._bulkhead = asyncio.Semaphore(policy.bulkhead) if policy.bulkhead else None
        self._breakers: dict[str, Breaker] = {}
        self._attempts: dict[int, tuple[float, Origin]] = {}
        self._number = 0
        #: Calls under way whose results will be kept: who wants the same waits for them.
        self._asking: dict[bytes, asyncio.Event] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(caller.result_type).decode

    async def answer(self, row: object, origin: Origin) -> Answer:
        """The rows of a row, or why there are none."""
        expires_ms = self._policy.expires_ms
        if expires_ms and time.time() * 1_000 - origin.time_ms > expires_ms:
            self.counts.expired += 1
            return Answer(recovered="expired")
        if self.cache is None:
            return await self._asked(row, origin, None)
        try:
            key = self.caller.digest(row)
            if key in self._asking:
                await self._asking[key].wait()
            kept = self.cache.get(key)
            if kept is not None:
                return Answer(self._marked(self.caller.rows(row, self._decode(kept))), attempts=0)
        except Exception as error:
            return self._failed(row, failure_of(error), 0, "")
        if key in self._asking:  # the one before had nothing to keep
            return await self._asked(row, origin, key)
        self._asking[key] = done = asyncio.Event()
        try:
            return await self._asked(row, origin, key)
        finally:
            del self._asking[key]
            done.set()

    async def _asked(self, row: object, origin: Origin, key: bytes | None) -> Answer:
        """Ask the target. key: of what is kept of the result."""
        try:
            target = self.caller.target(row)
        except Exception as error:
            return self._failed(row, failure_of(error), 0, "")
        breaker = self._breaker(target)
        failed = 0
        while True:
            given = await self._enter(breaker)
            if given is None:
                fault = CallFailed(
                    "circuit_open", f"{target} has failed too often; it is left alone", ErrorClass.TRANSIENT
                )
                return self._failed(row, fault, failed, target)
            try:
                result, took_s = await self._attempt(row, origin, breaker, given)
            except CallFailed as error:
                failed += not (error.error_class is ErrorClass.TRANSIENT and breaker.is_patient(given))
                if not self._again(error, failed):
                    return self._failed(row, error, failed, target)
                self.counts.retried += 1
                await asyncio.sleep(self._policy.retry.pause_s(max(1, failed), random.random()))  # noqa: S311
                continue
            if key is not None and self.cache is not None and took_s * 1_000 >= self.cache.plan.min_took_ms:
                self.cache.put(key, self._encode(result))
            self.counts.answered += 1
            return Answer(list(self.caller.rows(row, result)), attempts=failed + 1)

    def _marked(self, rows: Sequence[Any]) -> list[Any]:
        """Rows of a result that had been kept."""
        mark = None if self._policy.cache is None else self._policy.cache.mark
        return list(rows) if mark is None else [msgspec.structs.replace(each, **{mark: True}) for each in rows]

    async def open(self, on_disk: Callable[[CachePlan], Tier | None] | None = None) -> None:
        """Connect. on_disk: opens results on disk. Raises TopologyError for what it cannot do without."""
        await self.caller.open()
        if self.cache is not None and self.cache.plan.disk_bytes and on_disk is not None:
            self.cache.tier = on_disk(self.cache.plan)

    async def close(self) -> None:
        """Let go of everything."""
        await self.caller.close()
        if self.cache is not None:
            self.cache.close()

    @property
    def _waits(self) -> bool:
        return self._policy.breaker is not None and self._policy.breaker.waits

    async def _enter(self, breaker: Breaker) -> Pass | None:
        """Wait for the breaker and for a token; None when the circuit is open and nobody waits for it."""
        waited = False
        while True:
            given = breaker.ask()
            if isinstance(given, Pass):
                break
            if breaker.circuit is not Circuit.CLOSED and not self._waits:
                return None
            await breaker.turns.wait(given, again=waited)
            waited = True
        try:
            if self._rate is not None:
                await asyncio.sleep(self._rate.reserve())
        except BaseException:
            breaker.gave_up(given)
            raise
        return given

    async def _attempt(self, row: object, origin: Origin, breaker: Breaker, given: Pass) -> tuple[Any, float]:
        try:
            if self._bulkhead is None:
                result = await self._timed(row, origin)
            else:
                async with self._bulkhead:
                    result = await self._timed(row, origin)
        except CallFailed as error:
            self.counts.faults[error.error_class] = self.counts.faults.get(error.error_class, 0) + 1
            if error.retry_after_s is not None:
                breaker.be_quiet(min(error.retry_after_s, self._policy.retry.cap_ms / 1_000))
            if error.error_class is ErrorClass.TRANSIENT:
                breaker.failed(given)
            elif error.error_class is ErrorClass.PERMANENT:
                breaker.succeeded(given)
            else:
                breaker.gave_up(given)
            raise
        except BaseException:
            breaker.gave_up(given)
            raise
        breaker.succeeded(given)
        return result

    async def _timed(self, row: object, origin: Origin) -> tuple[Any, float]:
        """The result, and how many seconds it took."""
        self._number = number = self._number + 1
        began = self._now()
        self._attempts[number] = began, origin
        self.counts.attempts += 1
        timeout_s = self._policy.timeout_ms / 1_000
        try:
            async with asyncio.timeout(timeout_s):
                result = await self.caller.call(row, origin)
                return result, self._now() - began
        except TimeoutError as error:
            raise CallFailed("timeout", str(error) or f"no answer in {timeout_s:g} s", ErrorClass.TRANSIENT) from error
        except Exception as error:
            raise failure_of(error) from error
        finally:
            del self._attempts[number]
            self.counts.seconds += self._now() - began

    def _again(self, error: CallFailed, failed: int) -> bool:
        return error.error_class in self._policy.retry.on and failed < self._policy.retry.attempts

    def _failed(self, row: object, error: CallFailed, attempts: int, target: str) -> Answer:
        """The fallback row, if there is one and the row is not at fault itself; else the error with its context."""
        if error.error_class is ErrorClass.SYSTEM:
            raise WorkerLacks(str(error)) from error
        values = self._policy.fallback
        if values is not None and error.error_class is not ErrorClass.USER:
            self.counts.fallbacks += 1
            return Answer([self.caller.fallback(row, values)], attempts=max(1, attempts), recovered="fallback")
        error.details = (
            ("sf-calls", b"%d" % attempts),
            *((("sf-target", target.encode()),) if target else ()),
            *error.details,
        )
        return Answer(error=error)

    def _breaker(self, target: str) -> Breaker:
        found = self._breakers.get(target)
        if found is None:
            if len(self._breakers) >= _MAX_TARGETS:
                self._breakers = {
                    name: each for name, each in self._breakers.items() if each.circuit is not Circuit.CLOSED
                }
            found = self._breakers[target] = Breaker(self._policy.breaker, self._now)
        return found

    # -- seen from outside --------------------------------------------------------------------------------------------

    @property
    def circuits(self) -> Mapping[str, Circuit]:
        """Circuit of every target that was called."""
        return {target: breaker.circuit for target, breaker in self._breakers.items()}

    @property
    def opened_count(self) -> int:
        """How often a circuit was opened."""
        return sum(breaker.opened_count for breaker in self._breakers.values())

    @property
    def under_way(self) -> int:
        """Attempts that have not ended."""
        return len(self._attempts)

    def view(self) -> dict[str, Any]:
        """What is known of the calls, as data that JSON can carry."""
        counts, cache = self.counts, self.cache
        return {
            "attempts": counts.attempts,
            "answered": counts.answered,
            "retried": counts.retried,
            "fallbacks": counts.fallbacks,
            "expired": counts.expired,
            "seconds": round(counts.seconds, 3),
            "under_way": self.under_way,
            "failed": dict(counts.faults),
            "circuits": {target: circuit.value for target, circuit in self.circuits.items()},
            "cache": None if cache is None else cache.view(),
            "peak_bytes": self.caller.peak_bytes() if isinstance(self.caller, HasMemory) else None,
        }

    def stuck(self) -> list[Origin]:
        """Rows whose attempt goes on although its time is over: their code does not let itself be cancelled."""
        limit_s = self._policy.timeout_ms / 1_000 + GRACE_S
        now = self._now()
        return [origin for began, origin in self._attempts.values() if now - began > limit_s]
