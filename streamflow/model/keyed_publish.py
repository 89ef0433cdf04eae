"""What is known of a publish with an idempotency key."""

import hashlib
from dataclasses import dataclass

import msgspec

from streamflow.errors import UserError


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of one: digest of its request, next offset per partition, events that were appended, and the id of
    the execution that a write is."""

    digest: bytes
    ends: dict[int, int]
    count: int
    execution: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """Answer to one. replayed: it was published before. execution: id of it, where one was made."""

    ends: dict[int, int]
    count: int
    replayed: bool = False
    execution: str = ""


class KeyReused(UserError):
    """The key was used for another request."""

    def __init__(self) -> None:
        super().__init__("another request was published under this key: use a new key for a new request")


class TooManyKeys(UserError):
    """No more keys are remembered now."""

    def __init__(self, keys_max: int) -> None:
        super().__init__(f"{keys_max} keys are remembered already; older ones make room as their time ends")


def request_digest(topic: str, key: str | None, body: bytes) -> bytes:
    """16 bytes that tell one request from another."""
    parts = (topic.encode(), b"" if key is None else b"key" + key.encode(), body)
    return hashlib.blake2b(b"".join(b"%d:%s" % (len(part), part) for part in parts), digest_size=16).digest()
