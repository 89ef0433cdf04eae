"""Store keys.

    panes            | start + 2^63, 8 bytes big-endian | key bytes |     time first: a pane is one contiguous range
    keyed table      | key bytes |
    closed session   | bucket of end, as a start | key bytes | start |    a key's sessions of a bucket lie together
    open sessions    | 0xff | key bytes |                                 behind every time, out of retention's way
    pairs of keys    | length of the first, 2 bytes | first | second |    all of one first key lie together

Adding 2^63 maps signed milliseconds onto unsigned integers in the same order, so that byte order is time order also
before 1970. Time first, because closing a pane, expiring old panes and restoring read whole panes; a query for one key
does one point read per pane.

Key bytes are the Kafka record key: UTF-8 of the text of the key, so that a record's partition, its key in the store and
the `key` of a query agree.
"""

from struct import Struct

from streamflow.errors import EventError

_START = Struct(">Q")
_LENGTH = Struct(">H")
#: Behind every text: no byte of UTF-8.
AFTER_TEXT = b"\xff"
#: Before the rows of open sessions; event times lie far below it (|t| < 2^62 ms).
OPEN_PREFIX = b"\xff"
_SHIFT = 1 << 63
START_BYTES = 8
KEY_MAX_BYTES = 16 << 10


def pane_prefix(start_ms: int) -> bytes:
    """First 8 bytes of every store key of the pane; also the lower bound of the pane's range."""
    return _START.pack(start_ms + _SHIFT)


def window_key(start_ms: int, key: bytes) -> bytes:
    """Store key of `key` in the pane."""
    return _START.pack(start_ms + _SHIFT) + key


def split_window_key(store_key: bytes) -> tuple[int, bytes]:
    """(start_ms, key) of a store key."""
    return _START.unpack_from(store_key)[0] - _SHIFT, store_key[START_BYTES:]


def session_key(bucket_ms: int, key: bytes, start_ms: int) -> bytes:
    """Store key of a closed session whose end lies in the bucket."""
    return _START.pack(bucket_ms + _SHIFT) + key + _START.pack(start_ms + _SHIFT)


def split_session_key(store_key: bytes) -> tuple[int, bytes, int]:
    """(bucket_ms, key, start_ms) of the store key of a closed session."""
    start_ms = _START.unpack(store_key[-START_BYTES:])[0] - _SHIFT
    return _START.unpack_from(store_key)[0] - _SHIFT, store_key[START_BYTES:-START_BYTES], start_ms


def open_key(key: bytes) -> bytes:
    """Store key of a key's open sessions."""
    return OPEN_PREFIX + key


def pair_prefix(first: bytes) -> bytes:
    """What the store keys of pairs with this first key begin with; all of them lie below it with AFTER_TEXT behind."""
    return _LENGTH.pack(len(first)) + first


def split_pair(store_key: bytes) -> tuple[bytes, bytes]:
    """(first, second) of the store key of a pair."""
    border = _LENGTH.size + _LENGTH.unpack_from(store_key)[0]
    return store_key[_LENGTH.size : border], store_key[border:]


def key_bytes(key: str | int) -> bytes:
    """Record key of a key value."""
    return key.encode() if key.__class__ is str else str(key).encode()


def checked_key_bytes(key: str | int) -> bytes:
    """Record key of a key value. Raises EventError(`too_large`) beyond 16 KiB, so that a changelog row always fits."""
    data = key_bytes(key)
    if len(data) > KEY_MAX_BYTES:
        raise EventError("too_large", f"the key has {len(data)} bytes, at most {KEY_MAX_BYTES} are possible")
    return data


def key_from_bytes(key: bytes, integer: bool) -> str | int:
    """Key value of a record key."""
    return int(key) if integer else key.decode()
