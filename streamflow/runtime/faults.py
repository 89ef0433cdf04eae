"""Named fault points: where a test lets a worker crash or stall. Off unless STREAMFLOW_FAULTS is set.

    STREAMFLOW_FAULTS="before_commit=crash:3,after_init=stall:15"
        at the third pass of before_commit the process dies as by kill -9; at the first pass of after_init it is stopped
        for 15 s, loop and heartbeats included (as SIGSTOP would), so that others take over

The points, in the order a checkpoint and a life pass them:

    after_init      the producer is initialised, predecessors are fenced
    during_restore  a batch of the changelog was applied
    after_begin     the transaction has begun
    after_sends     outputs and changelog were handed to the producer
    after_offsets   offsets were added to the transaction
    before_commit   every send is acknowledged
    after_commit    the transaction is committed
    before_store    just before the store is written (same place, for symmetry with after_store)
    after_store     the store is written
    during_revoke   partitions are being taken away

of a decision outside of the tasks (redriven letter, publish with a key):

    decision_made       its producer is initialised, every other fenced
    decision_sent       its records were handed to the producer
    decision_settled    they are acknowledged, the transaction is open
    decision_committed  it is committed, nobody was told

Planted mistakes for the chaos harness, which must notice each: STREAMFLOW_MISTAKE = id_per_worker |
commit_before_sends | store_before_commit, honoured only with STREAMFLOW_ALLOW_MISTAKES=1.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

POINTS = (
    "after_init",
    "during_restore",
    "after_begin",
    "after_sends",
    "after_offsets",
    "before_commit",
    "after_commit",
    "before_store",
    "after_store",
    "during_revoke",
)
DECISION_POINTS = ("decision_made", "decision_sent", "decision_settled", "decision_committed")
MISTAKES = ("id_per_worker", "commit_before_sends", "store_before_commit")


@dataclass(slots=True)
class _Armed:
    action: str
    amount: float
    passes: int = 0


def _parse(text: str) -> dict[str, _Armed]:
    armed = {}
    for part in filter(None, text.split(",")):
        point, _, action = part.partition("=")
        kind, _, amount = action.partition(":")
        if point not in (*POINTS, *DECISION_POINTS) or kind not in ("crash", "stall"):
            raise SystemExit(
                f"STREAMFLOW_FAULTS: {part!r} is no fault; points are {', '.join((*POINTS, *DECISION_POINTS))}"
            )
        armed[point] = _Armed(kind, float(amount or 1))
    return armed


_armed = _parse(os.environ.get("STREAMFLOW_FAULTS", ""))


def reach(point: str) -> None:
    """Pass a fault point; costs one look at an empty dictionary when nothing is armed."""
    if not _armed:
        return
    fault = _armed.get(point)
    if fault is None:
        return
    fault.passes += 1
    if fault.action == "crash" and fault.passes == int(fault.amount):
        sys.stderr.write(f"fault point {point}: crash\n")
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.action == "stall" and fault.passes == 1:
        sys.stderr.write(f"fault point {point}: stall of {fault.amount} s\n")
        _stall(fault.amount)


def _stall(seconds: float) -> None:
    """Stop the whole process, threads and heartbeats too; a helper process continues it."""
    subprocess.Popen(["/bin/sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])  # noqa: S603 - numbers of our own
    os.kill(os.getpid(), signal.SIGSTOP)


def mistake() -> str:
    """The planted mistake, empty in every real run."""
    chosen = os.environ.get("STREAMFLOW_MISTAKE", "")
    if not chosen or os.environ.get("STREAMFLOW_ALLOW_MISTAKES") != "1":
        return ""
    if chosen not in MISTAKES:
        raise SystemExit(f"STREAMFLOW_MISTAKE: {chosen!r} is none of {', '.join(MISTAKES)}")
    return chosen
