"""Resume tokens: where in each partition a client is.

    origin, sequence   of a feed in one process: as long as it remembers what came since, the client gets just that
    version            digest of what was committed: the same one at another worker means that nothing came since

Neither: the client gets the partition anew, and is told so. A token is opaque, and good for the table and filter that
it was given for.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from streamflow.errors import UserError
from streamflow.model.position import TOKEN_MAX_CHARS


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a feed. `version` is "" where it says nothing."""

    origin: str
    sequence: int
    version: str


class _Token(msgspec.Struct, array_like=True, frozen=True):
    of: str
    positions: dict[int, tuple[str, int, str]]


def encode_resume(of: str, positions: Mapping[int, Position]) -> str:
    """Token of positions by partition; `of` says what they are of. Some 40 characters per partition."""
    found = {partition: (each.origin, each.sequence, each.version) for partition, each in positions.items()}
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(_Token(of, found))).decode().rstrip("=")


def decode_resume(of: str, token: str) -> dict[int, Position]:
    """Reverse of `encode_resume`; nothing when the token is of something else. Raises UserError for what is none."""
    try:
        if len(token) > TOKEN_MAX_CHARS:
            raise ValueError(token)
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(data, type=_Token)
    except (ValueError, msgspec.MsgspecError) as error:
        raise UserError("the token is not one of ours: pass the id of the last event as it was given") from error
    return {partition: Position(*each) for partition, each in found.positions.items()} if found.of == of else {}
