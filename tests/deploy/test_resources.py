"""The memory estimate follows the plan."""

from streamflow.deploy.resources import estimate_memory
from streamflow.plan.planner import make_plan
from streamflow.settings.settings import load_settings
from streamflow.topology.load import load_topology


def test_more_workers_have_fewer_tasks_each() -> None:
    plan, settings = make_plan(load_topology("topologies/flights")), load_settings()
    one, three = (estimate_memory(plan, settings, 8, workers) for workers in (1, 3))
    assert (one.task_count, three.task_count) == (40, 14)
    assert one.global_table_bytes == 8_000_000, "every worker holds whole tables"
    assert one.total_bytes > three.total_bytes > settings.rocksdb_cache_bytes
    stateless = make_plan(load_topology("topologies/readings_stateless"))
    assert estimate_memory(stateless, settings, 8, 1).state_bytes == 0
