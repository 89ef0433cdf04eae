"""How often somebody may fail to say who they are: a bound against guessing, and against the work of checking."""

import time
from collections import OrderedDict
from collections.abc import Callable

#: Failures of an address at once, and how long one takes to be forgotten.
FAILURES = 20
FORGOTTEN_S = 3.0
#: Addresses that are remembered; beyond, who failed longest ago is forgotten.
ADDRESSES = 10_000


class Attempts:
    """Counts failures per address."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        #: When the last failure of an address will be forgotten.
        self._until: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until the address may try again; 0 when it may now."""
        ahead = self._until.get(address, 0.0) - self._now_s()
        return max(0.0, ahead - (FAILURES - 1) * FORGOTTEN_S)

    def fail(self, address: str) -> None:
        """One more failure."""
        now = self._now_s()
        self._until[address] = min(max(now, self._until.get(address, 0.0)), now + FAILURES * FORGOTTEN_S) + FORGOTTEN_S
        self._until.move_to_end(address)
        if len(self._until) > ADDRESSES:
            self._until.popitem(last=False)
