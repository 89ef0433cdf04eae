"""What a worker needs of others, and whether it has it."""

from streamflow.calls.breaker import Circuit
from streamflow.runtime.hooks.group import is_answered
from streamflow.runtime.worker import Worker


def dependencies(worker: Worker) -> dict[str, str]:
    """`up` or `down` by name: kafka, known by heartbeats; and what each node calls: `down` when a circuit is open,
    `trying` when it is tried again. Nobody is asked for this."""
    found = {"kafka": "up" if is_answered(worker.app.consumer._thread) else "down"}
    for name, guarded in worker.calls.guarded.items():
        circuits = set(guarded.circuits.values())
        state = "down" if Circuit.OPEN in circuits else "trying" if Circuit.HALF_OPEN in circuits else "up"
        found[f"node {name}"] = state
    return found
