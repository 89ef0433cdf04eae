"""Executions that somebody has cancelled, beside the orders in the control topic: execution/<id> → who, why, when.

They hold for as long as they are remembered: what comes under the id again is cancelled too. Beyond the bound the
oldest leave by tombstones, which are written with the next one. Pure, as bus/control.py.
"""

from collections import OrderedDict

import msgspec

#: Some 300 bytes of memory each.
CANCELLED_MAX = 10_000
_PREFIX = b"execution/"


class Cancellation(msgspec.Struct, frozen=True):
    """Who cancelled an execution, why, and when (ms)."""

    actor: str
    reason: str
    at_ms: int


_decode, _encode = msgspec.json.Decoder(Cancellation).decode, msgspec.json.Encoder().encode


class Cancellations:
    """By id, oldest first. `version` grows with each change."""

    def __init__(self) -> None:
        self.version = 0
        self._known: OrderedDict[bytes, Cancellation] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._known)

    def apply(self, key: bytes | None, value: bytes | None) -> bool:
        """A record of the control topic; False for one that is about no execution."""
        if key is None or not key.startswith(_PREFIX):
            return False
        execution = key.removeprefix(_PREFIX)
        try:
            found = None if value is None else _decode(value)
        except msgspec.DecodeError:
            return False
        self._known.pop(execution, None)
        if found is not None:
            self._known[execution] = found
        self.version += 1
        return True

    def reason_of(self, execution: bytes | None) -> str | None:
        """Why it was cancelled; None when it was not."""
        found = None if execution is None else self._known.get(execution)
        return None if found is None else found.reason or "cancelled"

    def records(self, execution: bytes, cancelled: Cancellation) -> list[tuple[bytes, bytes | None]]:
        """What is to be appended for one more, tombstones of those that leave included."""
        others = [each for each in self._known if each != execution]
        leaving = others[: max(0, len(others) + 1 - CANCELLED_MAX)]
        return [(_PREFIX + execution, _encode(cancelled)), *((_PREFIX + each, None) for each in leaving)]
