"""What a worker of a topology needs, estimated from its plan: the arithmetic behind resource requests."""

from dataclasses import dataclass

from streamflow.deploy.needs import needs_of
from streamflow.plan.plan import Plan
from streamflow.settings.settings import Settings

#: Python, the libraries and one Faust app, measured after start.
_BASE_BYTES = 120 << 20
#: One transactional producer with its connections (1.7 MB for 16 were measured, rounded up), per task.
_PRODUCER_BYTES = 1 << 20
#: Chunks between fetcher and tasks: one being fetched, one being processed, eight in the stream's buffer.
_CHUNKS_PER_STAGE = 10
#: Memory that a global table takes per byte of its bound, with rows of some 50 bytes; larger ones take less.
_GLOBAL_TABLE_FACTOR = 4


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of one worker that has `task_count` tasks."""

    task_count: int
    base_bytes: int
    buffer_bytes: int
    state_bytes: int
    global_table_bytes: int
    node_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything."""
        return self.base_bytes + self.buffer_bytes + self.state_bytes + self.global_table_bytes + self.node_bytes


def estimate_memory(plan: Plan, settings: Settings, partitions: int, workers: int) -> MemoryEstimate:
    """Memory of one of `workers` workers when every stage has `partitions` tasks."""
    tasks = -(-len(plan.stages) * partitions // workers)
    has_state = any(stage.tables for stage in plan.stages)
    rocksdb = settings.rocksdb_cache_bytes + settings.rocksdb_write_buffer_bytes
    return MemoryEstimate(
        task_count=tasks,
        base_bytes=_BASE_BYTES + tasks * _PRODUCER_BYTES,
        buffer_bytes=len(plan.stages) * _CHUNKS_PER_STAGE * settings.fetch_max_bytes,
        state_bytes=rocksdb if has_state else 0,
        global_table_bytes=_GLOBAL_TABLE_FACTOR * sum(table.max_bytes for table in plan.global_tables),
        node_bytes=needs_of(plan, settings, partitions, workers).memory_bytes,
    )
