"""After a chaos run: the bus is as it was sealed, and says of every window that closed what came out of it, once."""

from collections import Counter
from typing import Any

import orjson

from streamflow.bus.audit.copy import Proof
from streamflow.bus.audit.digest import LogRecord
from streamflow.bus.audit.keys import Verifier
from streamflow.runtime.audit import sealed_log
from streamflow.settings.settings import Settings


async def bus_faults(settings: Settings, outputs: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the bus of a namespace, where tasks said everything."""
    key = Verifier.load(settings.audit_key)
    proof = Proof({key.key_id: key})
    told: Counter[int] = Counter()
    async for part in sealed_log(settings):
        proof.add(part)
        if isinstance(part, LogRecord):
            event = orjson.loads(part.value or b"")
            if event["type"] == "WINDOW_CLOSED":
                told[event["data"]["start"]] += event["data"]["rows"]
    faults = [str(finding) for finding in proof.end().findings]
    if not sum(check.sealed_count for check in proof.partitions.values()):
        faults.append("nothing was sealed")
    came = Counter(row["start"] for row in outputs)
    return faults + [
        f"window {start}: told {told[start]}, came {came[start]}"
        for start in told.keys() | came.keys()
        if told[start] != came[start]
    ]
