"""Class of a fault that a call raised.

TimeoutError, ConnectionError, socket.gaierror, other OSError    transient
no descriptors, no memory                                        system
CallFailed                                                       its own
anything else                                                    permanent
"""

import errno
import os
from types import TracebackType

from streamflow.errors import CallFailed, ErrorClass, EventError

_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def failure_of(error: Exception) -> CallFailed:
    """The error as a CallFailed, with the line of code that raised it."""
    if isinstance(error, CallFailed):
        return error
    if isinstance(error, EventError):
        return CallFailed(error.reason, str(error), ErrorClass.PERMANENT)
    if isinstance(error, TimeoutError):
        return CallFailed("timeout", str(error) or "no answer in time", ErrorClass.TRANSIENT)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _LACKING):
        return CallFailed("system", f"{type(error).__name__}: {error}", ErrorClass.SYSTEM)
    if isinstance(error, OSError):
        return CallFailed("unreachable", f"{type(error).__name__}: {error}", ErrorClass.TRANSIENT)
    return CallFailed("process", f"{type(error).__name__}: {error}{_place(error.__traceback__)}", ErrorClass.PERMANENT)


def _place(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
