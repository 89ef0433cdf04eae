"""Records that carry out what was decided about dead letters: the event as it goes out again, and a key let go."""

import orjson

from streamflow.model.letter import ATTEMPTS, LETTER, TIME, Letter
from streamflow.model.outcome import CORRELATION
from streamflow.model.parking import PARKED, Place, place_of

#: Key, value, headers, time in ms.
Again = tuple[bytes | None, bytes | None, list[tuple[str, bytes]], int]


def event_again(letter: Letter, execution: str, now_ms: int) -> Again:
    """The event of a letter. Its first time goes with it: by that it is judged to be near enough or not."""
    ours = [
        (LETTER, b"%d" % letter.number),
        (ATTEMPTS, b"%d" % letter.attempts),
        (TIME, letter.header(TIME).encode()),
        (CORRELATION, execution.encode()),
        *((PARKED, value) for name, value in letter.record.headers if name == PARKED),
    ]
    return letter.record.key, letter.value, [*own_headers(letter), *ours], now_ms


def release(letter: Letter, now_ms: int) -> tuple[str, bytes] | None:
    """Node and value of the record that lets go what waits behind a letter; None when nothing can."""
    place = parked_place(letter)
    return None if place is None else (place.node, orjson.dumps({"at": now_ms, "offset": place.offset}))


def parked_place(letter: Letter) -> Place | None:
    """What the key of a letter waits behind, or did."""
    header = next((value for name, value in letter.record.headers if name == PARKED), None)
    return None if header is None else place_of(header)


def own_headers(letter: Letter) -> list[tuple[str, bytes]]:
    """Those that the event came with."""
    return [(name, value) for name, value in letter.record.headers if not name.startswith("sf-")]
