"""A plain function over one row, called in the worker, under the part of a policy that needs no waiting.

    call ─ok──► rows
      └fails─► its class is in `on`, attempts are left: at once again      the loop would stand still in a pause
                  └ else ─► fallback row ─► dead letter

Time-outs, pauses, breakers and limits need an `async def` or `processes`: nothing ends a function that holds the loop.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from streamflow.calls.faults import failure_of
from streamflow.calls.guarded import WorkerLacks
from streamflow.calls.policy import Policy
from streamflow.errors import CallFailed, ErrorClass
from streamflow.kit.declaration import Declaration
from streamflow.kit.run import Results


def guarded_rows(
    declared: Declaration, arguments: tuple[tuple[str, Any], ...], policy: Policy
) -> Callable[[Any], list[Any]]:
    """The function as one that gives a list. It raises CallFailed, and WorkerLacks for a fault of the worker."""
    row_type = declared.output_type
    assert row_type is not None
    results, function = Results(row_type), partial(declared.target, **dict(arguments))

    def call(row: Any) -> list[Any]:
        attempt, again = 0, True
        while again:
            attempt += 1
            try:
                return results.rows(function(row))
            except Exception as error:
                failed = failure_of(error)
                failed.__cause__ = error if failed is not error else None
            again = failed.error_class in policy.retry.on and attempt < policy.retry.attempts
        if failed.error_class is ErrorClass.SYSTEM:
            raise WorkerLacks(str(failed)) from failed
        if policy.fallback is not None and failed.error_class is not ErrorClass.USER:
            return [row_type(**policy.fallback)]
        raise _with_attempts(failed, attempt)

    return call


def _with_attempts(failed: CallFailed, attempts: int) -> CallFailed:
    failed.details = (("sf-calls", b"%d" % attempts), *failed.details)
    return failed
