"""Rows of panes that windows share: what a key has in a pane, and what of it came too late for some of its windows.

    windows        [s0        )            closed when the late event came
                       [s1        )
                           [s2        )
    pane                   [p  )           key k: on time 5 events, from s1 on 1 event more

    row of (p, k)          parts [(None, 5 events), (s1, 1 event)]        window s0 has 5 of them, s1 and s2 have 6

The windows that had closed keep what they were, so that a query gives what was emitted. Nearly every row is one part on
time; its bytes are a zero and the accumulator's. Others are a one and the msgpack array of [since, accumulator] pairs.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from streamflow.windows.layout import AccumulatorLayout

#: Before the bytes of an accumulator that is all there is of a row.
ON_TIME = b"\0"
#: (start of the first window that it belongs to, None for all; accumulator)
Part = tuple[int | None, Any]


class PaneRows:
    """Encodes and decodes rows of parts, those on time first."""

    def __init__(self, layout: AccumulatorLayout) -> None:
        self._layout = layout
        parts: Any = list[tuple[int | None, layout.type]]  # type: ignore[name-defined]
        self._decode = layout.decoder(parts)
        self._raw = msgspec.msgpack.Encoder()

    def encode(self, parts: Sequence[Part]) -> bytes:
        """Bytes of a row. Raises UserError when it is too large."""
        if len(parts) == 1 and parts[0][0] is None:
            return ON_TIME + self._layout.bytes_of(parts[0][1])
        raws = [(since, msgspec.Raw(self._layout.bytes_of(each))) for since, each in parts]
        return self._layout.checked(b"\1" + self._raw.encode(raws), len(parts))

    def decode(self, row: bytes) -> list[Part]:
        """Parts of a row."""
        if row[0] == 0:
            return [(None, self._layout.decode(row[1:]))]
        parts: list[Part] = self._decode(row[1:])
        return parts

    def in_window(self, row: bytes, start: int) -> list[Any]:
        """Accumulators of a row that belong to the window of that start."""
        return [each for since, each in self.decode(row) if since is None or since <= start]
