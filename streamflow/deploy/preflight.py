"""Whether a topology will run well on a Kafka cluster: everything that will not, before it is deployed.

Errors would stop or corrupt it; warnings are what fails some day: a lost broker, a long stop, a full node.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streamflow.deploy.findings import Finding, KafkaCommands, Weight
from streamflow.deploy.preflight_topics import topic_findings
from streamflow.deploy.resources import MemoryEstimate, estimate_memory
from streamflow.plan.cluster import ClusterFacts, replica_count
from streamflow.plan.plan import Guarantee, Plan
from streamflow.settings.settings import Settings

#: A node's memory is not only ours: what the estimate leaves of the limit for peaks.
_MEMORY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Preflight:
    """Findings, errors first; what a worker needs; partitions of the widest stage, the most workers of use."""

    findings: tuple[Finding, ...]
    memory: MemoryEstimate
    partitions: int

    @property
    def error_count(self) -> int:
        """Findings that would break it."""
        return sum(finding.weight is Weight.ERROR for finding in self.findings)


def inspect(
    plan: Plan,
    settings: Settings,
    facts: ClusterFacts,
    counts: Mapping[str, int],
    workers: int,
    memory_bytes: int | None = None,
) -> Preflight:
    """Judge a plan on a cluster.

    counts: partitions of every topic of the plan, as they will be. memory_bytes: limit of one worker, None when there
    is none.
    """
    partitions = widest(plan, counts)
    estimate = estimate_memory(plan, settings, partitions, workers)
    commands = KafkaCommands(settings.brokers)
    findings = [
        *_cluster_findings(plan, settings, facts, commands),
        *topic_findings(plan, settings, facts, counts, commands),
        *_worker_findings(estimate, partitions, workers, memory_bytes),
    ]
    return Preflight(tuple(sorted(findings, key=lambda each: each.weight)), estimate, partitions)


def widest(plan: Plan, counts: Mapping[str, int]) -> int:
    """Most partitions of an input: more workers than that would idle."""
    return max(counts[topic] for stage in plan.stages for topic in stage.input_topics)


def _cluster_findings(
    plan: Plan, settings: Settings, facts: ClusterFacts, commands: KafkaCommands
) -> Iterator[Finding]:
    brokers = len(facts.brokers)
    wanted = replica_count(settings.replication_factor, brokers)
    if wanted > brokers:
        message = f"replication_factor is {wanted}, but {brokers} broker{'s' * (brokers != 1)} answer"
        command = f"STREAMFLOW_REPLICATION_FACTOR={brokers}, or add brokers"
        yield Finding(Weight.ERROR, "replication_factor", "cluster", message, command)
    elif brokers >= 3 and wanted < 3:
        message = f"topics get {wanted} replicas although {brokers} brokers are there: a lost one loses data"
        command = "STREAMFLOW_REPLICATION_FACTOR=3"
        yield Finding(Weight.WARNING, "replication_factor", "cluster", message, command)
    least_isr = int(facts.config.get("min.insync.replicas", 1))
    if least_isr > wanted:
        message = f"min.insync.replicas is {least_isr}, topics get {wanted} replicas: nothing could be written"
        command = f"STREAMFLOW_REPLICATION_FACTOR={least_isr + 1}"
        yield Finding(Weight.ERROR, "min_insync_replicas", "cluster", message, command)
    elif wanted >= 3 and least_isr < 2:
        message = "min.insync.replicas is 1: what only one broker has acknowledged is lost with it"
        command = commands.configure_brokers({"min.insync.replicas": "2"})
        yield Finding(Weight.WARNING, "min_insync_replicas", "cluster", message, command)
    if plan.guarantee is Guarantee.EXACTLY_ONCE:
        yield from _transaction_findings(settings, facts)
    yield from _session_findings(settings, facts)


def _transaction_findings(settings: Settings, facts: ClusterFacts) -> Iterator[Finding]:
    limit_ms = int(facts.config.get("transaction.max.timeout.ms", 900_000))
    if settings.transaction_timeout_ms > limit_ms:
        message = f"transaction_timeout_ms is {settings.transaction_timeout_ms}, the brokers allow {limit_ms}"
        command = f"STREAMFLOW_TRANSACTION_TIMEOUT_MS={limit_ms}"
        yield Finding(Weight.ERROR, "transaction_timeout", "cluster", message, command)


def _session_findings(settings: Settings, facts: ClusterFacts) -> Iterator[Finding]:
    least_ms = int(facts.config.get("group.min.session.timeout.ms", 6_000))
    most_ms = int(facts.config.get("group.max.session.timeout.ms", 1_800_000))
    if not least_ms <= settings.session_timeout_ms <= most_ms:
        message = f"session_timeout_ms is {settings.session_timeout_ms}, the brokers allow {least_ms} to {most_ms}"
        command = f"STREAMFLOW_SESSION_TIMEOUT_MS={min(max(settings.session_timeout_ms, least_ms), most_ms)}"
        yield Finding(Weight.ERROR, "session_timeout", "cluster", message, command)


def _worker_findings(
    estimate: MemoryEstimate, partitions: int, workers: int, memory_bytes: int | None
) -> Iterator[Finding]:
    if workers > partitions:
        message = f"{workers} workers, but the widest input has {partitions} partitions: the rest idles"
        yield Finding(Weight.WARNING, "workers", "workers", message, f"--workers {partitions}")
    if memory_bytes is not None and estimate.total_bytes > memory_bytes * _MEMORY_SHARE:
        need = f"a worker needs some {estimate.total_bytes >> 20} MiB for {estimate.task_count} tasks"
        message = f"{need}, the limit is {memory_bytes >> 20} MiB"
        command = f"--memory {memory_quantity(estimate)}, more workers, or a smaller STREAMFLOW_ROCKSDB_CACHE_BYTES"
        yield Finding(Weight.ERROR, "memory", "workers", message, command)


def memory_quantity(estimate: MemoryEstimate) -> str:
    """Memory to ask for, as Kubernetes writes it: the estimate and a ninth, in steps of 64 MiB."""
    step = 64 << 20
    return f"{-(-int(estimate.total_bytes / _MEMORY_SHARE) // step) * 64}Mi"
