"""Position tokens: what was published up to where, as one opaque text.

A client gets a token when it publishes and gives it back with a query, which then waits until the table reflects it
(read-your-writes). The token is base64url of JSON; its size is bounded, and junk is refused.
"""

import base64
from collections.abc import Mapping

import msgspec

from streamflow.errors import UserError

#: Some 1,400 partitions; what an HTTP server takes in a URL is 64 KiB.
TOKEN_MAX_CHARS = 32_768

#: {topic: {partition: next offset}}
Positions = dict[str, dict[int, int]]


def encode_token(positions: Mapping[str, Mapping[int, int]]) -> str:
    """Token of {topic: {partition: next offset}}."""
    return base64.urlsafe_b64encode(msgspec.json.encode(positions)).decode().rstrip("=")


def decode_token(token: str) -> Positions:
    """Reverse of `encode_token`. Raises UserError for anything else."""
    if len(token) > TOKEN_MAX_CHARS:
        raise UserError(
            f"the token has {len(token)} characters, at most {TOKEN_MAX_CHARS} are possible: pass it as it was given"
        )
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=dict[str, dict[int, int]])
    except (ValueError, msgspec.MsgspecError) as error:
        raise UserError("the token is not one of ours: pass it as the answer to a publish gave it") from error
