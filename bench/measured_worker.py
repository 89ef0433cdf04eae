"""The command line with a worker whose measurements of itself are taken out, or timed.

    BENCH_METRICS=out|timed python -m bench.measured_worker run …

Timed: at its end it writes the CPU seconds that went into them to standard error, as `metrics took N s`. Counts of rows per node
are part of the generated functions and of the state; they stay.
"""

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from streamflow.cli.main import app
from streamflow.cli.service import WorkerService
from streamflow.runtime.figures import StreamFigures

_MEASURING = ((WorkerService, "_count_commit"), (WorkerService, "_count_chunk"), (StreamFigures, "committed"))
_spent_s = 0.0


def _out(*_: object) -> None:
    """In place of a measurement."""


def _timed(measure: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any) -> Any:
        global _spent_s
        began = time.thread_time()
        try:
            return measure(*given)
        finally:
            _spent_s += time.thread_time() - began

    return call


if __name__ == "__main__":
    for owner, name in _MEASURING:
        measure = getattr(owner, name)
        setattr(owner, name, _timed(measure) if os.environ["BENCH_METRICS"] == "timed" else _out)
    atexit.register(lambda: print(f"metrics took {_spent_s:.6f} s", file=sys.stderr))
    app()
