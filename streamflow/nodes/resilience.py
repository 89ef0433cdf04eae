"""Options of every async node: how many calls at once, and what to do when they fail. Lowers to a Policy."""

from hashlib import sha256
from typing import Any, Literal

import msgspec
from pydantic import Field as Option

from streamflow.calls.policy import BreakerPlan, CachePlan, Policy, RatePlan, Retry
from streamflow.errors import ErrorClass
from streamflow.model.schema import Schema, python_type
from streamflow.nodes.kind import DurationMs, FieldName, Lowering, NodeConfig

#: Before the digest of an input in the keys of kept results.
_IDENTITY_BYTES = 16


class RetryConfig(NodeConfig):
    """How failed attempts are repeated."""

    attempts: int = Option(3, ge=1, le=20, description="attempts in all, the first included")
    base: DurationMs = Option(1_000, ge=1, description="pause before the second attempt")
    factor: float = Option(2.0, ge=1.0, le=10.0, description="by how much each pause is longer than the one before")
    cap: DurationMs = Option(30_000, ge=1, le=300_000, description="longest pause; Retry-After is honoured up to it")
    jitter: float = Option(0.5, ge=0.0, le=1.0, description="share of each pause that is random")
    on: list[Literal["transient", "permanent"]] = Option(
        ["transient"], min_length=1, description="classes of failures that are tried again"
    )


class BreakerConfig(NodeConfig):
    """When a target that fails is left alone."""

    failures: int = Option(5, ge=1, le=1_000, description="transient failures in a row that open the circuit")
    open_for: DurationMs = Option(10_000, ge=10, le=3_600_000, description="pause before each probe")
    when_open: Literal["wait", "fail"] = Option(
        "wait", description="rows wait in Kafka until the target is back, or fail at once"
    )
    patience: DurationMs = Option(
        600_000,
        ge=0,
        le=30 * 86_400_000,
        description="how long probes that fail use up no attempts of the waiting rows",
    )


class RateConfig(NodeConfig):
    """How often a target may be asked."""

    rate: int = Option(ge=1, le=1_000_000, description="attempts per `per` of one worker")
    per: DurationMs = Option(1_000, ge=1, le=86_400_000, description="time for `rate` attempts")
    burst: int = Option(1, ge=1, le=1_000_000, description="attempts that may come at once")


class CacheConfig(NodeConfig):
    """Which results are kept. Only for calls that always give the same for the same input."""

    size: int = Option(1_000, ge=1, le=10_000_000, description="results of one worker")
    max_bytes: int = Option(64 << 20, ge=1 << 10, description="bytes of these results, encoded")
    ttl: DurationMs = Option(300_000, ge=1, description="how long a result is good for")
    disk_bytes: int = Option(
        0, ge=0, le=1 << 40, description="bytes of results on the worker's disk, where they outlive it; 0: none"
    )
    shared: bool = Option(
        False, description="results on disk are told to the other workers through a topic, so that none asks again"
    )
    min_took: DurationMs = Option(0, ge=0, description="results of calls that took less are not worth keeping")
    mark: FieldName | None = Option(
        None, description="bool field that says whether a result had been kept; a function's row class must have it"
    )


class ResilienceConfig(NodeConfig):
    """What an async node does about failures. What is left out is off, but for the time-out and three attempts."""

    timeout: DurationMs = Option(30_000, ge=1, le=3_600_000, description="of one attempt")
    expires: DurationMs | None = Option(
        None, ge=1, description="rows whose event time is longer ago when their turn comes are left out, and counted"
    )
    retry: RetryConfig = Option(default_factory=RetryConfig, description="how failed attempts are repeated")
    breaker: BreakerConfig | None = Option(None, description="leaves a target alone that fails, one circuit per host")
    bulkhead: int | None = Option(None, ge=1, le=100_000, description="attempts under way in one worker, of all tasks")
    rate_limit: RateConfig | None = Option(None, description="attempts per time")
    fallback: dict[str, Any] | None = Option(None, description="fields of the row that stands in when all has failed")
    cache: CacheConfig | None = Option(None, description="keeps results")


class AsyncConfig(NodeConfig):
    """Base of the configuration of async nodes."""

    concurrency: int = Option(
        100, ge=1, le=10_000, description="rows of a partition that are asked for at once, the answered ones included"
    )
    order: Literal["input", "unordered"] = Option(
        "input", description="rows leave in the order they came in, or each as soon as it is answered"
    )
    resilience: ResilienceConfig | None = Option(None, description="what is done about failures")


def needs_waiting(config: AsyncConfig) -> list[str]:
    """Options that are not for a function that holds the loop."""
    found = sorted(config.model_fields_set & {"concurrency", "order"})
    if config.resilience is not None:
        retry = config.resilience.retry
        found += [f"resilience.{name}" for name in sorted(config.resilience.model_fields_set - {"retry", "fallback"})]
        found += [f"resilience.retry.{name}" for name in sorted(retry.model_fields_set - {"attempts", "on"})]
    return found


def is_ordered(config: AsyncConfig, lowering: Lowering) -> bool:
    """Whether rows leave in the order of the input; where they must, anything else is a problem."""
    if config.order == "unordered" and lowering.input.repeats:
        message = "of updates of one result the last one holds, so they cannot overtake one another"
        lowering.problem(message, "take the final results only, or leave order out", "order")
    return config.order == "input"


def policy_of(config: ResilienceConfig | None, result: Schema, lowering: Lowering, code: str = "") -> Policy:
    """The policy; a fallback that is no row of `result` is a problem. code: of a person's function, by `code_of`."""
    if config is None:
        return Policy()
    if config.fallback is not None:
        _check_fallback(config.fallback, result, lowering)
    retry, breaker, rate, cache = config.retry, config.breaker, config.rate_limit, config.cache
    if cache is not None and cache.shared and not cache.disk_bytes:
        message = "results of other workers are kept on disk, and none are"
        lowering.problem(message, "add disk_bytes", "resilience.cache.shared")
    on = frozenset(ErrorClass(each) for each in retry.on)
    return Policy(
        timeout_ms=config.timeout,
        expires_ms=config.expires or 0,
        retry=Retry(retry.attempts, retry.base, retry.factor, retry.cap, retry.jitter, on),
        breaker=_breaker(breaker) if breaker else None,
        bulkhead=config.bulkhead or 0,
        rate=RatePlan(rate.rate, rate.per, rate.burst) if rate else None,
        fallback=config.fallback,
        cache=_cache(cache, f"{lowering.identity} {result.fields} {code}") if cache else None,
    )


def _cache(config: CacheConfig, identity: str) -> CachePlan:
    digest = sha256(identity.encode()).digest()[:_IDENTITY_BYTES]
    return CachePlan(
        config.size,
        config.max_bytes,
        config.ttl,
        config.disk_bytes,
        digest,
        config.min_took,
        config.mark,
        config.shared,
    )


def mark_of(config: ResilienceConfig | None) -> str | None:
    """Field that says whether a result had been kept, None when nobody asks for it."""
    return config.cache.mark if config is not None and config.cache is not None else None


def _breaker(config: BreakerConfig) -> BreakerPlan:
    return BreakerPlan(config.failures, config.open_for, config.when_open == "wait", config.patience)


def _check_fallback(values: dict[str, Any], result: Schema, lowering: Lowering) -> None:
    key = "resilience.fallback"
    for name, value in values.items():
        field = result.field(name)
        if field is None:
            lowering.problem(f"the node gives no field {name!r}", f"its fields are {', '.join(result.names)}", key)
            continue
        try:
            msgspec.convert(value, python_type(field))
        except msgspec.ValidationError as error:
            lowering.problem(f"{name}: {error}", f"the field is {field}", key)
    for field in result.fields:
        if field.name not in values and not field.nullable:
            lowering.problem(f"the fallback has no {field.name!r}, which is never null", "add it", key)
