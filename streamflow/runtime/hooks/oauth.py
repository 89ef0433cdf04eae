"""Private hook into aiokafka's OAUTHBEARER: the broker's refusal of a token, which aiokafka takes for a yes.

A broker that refuses a token answers with a JSON text instead of an error (RFC 7628, 3.2.2), and with the error only
when the client has answered that. aiokafka 0.14 stops after the token: its connection then breaks at the next request,
for no reason that anybody could see.

Pinned to aiokafka 0.14; tests/runtime/test_hooks.py fails when an upgrade changes what is used here.
"""

from typing import Any

from aiokafka.conn import OAuthAuthenticator
from aiokafka.errors import SaslAuthenticationFailed

_step = OAuthAuthenticator.step


async def _step_with_refusal(self: Any, payload: bytes | None) -> Any:
    if payload:
        raise SaslAuthenticationFailed(f"the token is refused: {payload[:300].decode(errors='replace')}")
    return await _step(self, payload)


def install() -> None:
    """From now on."""
    OAuthAuthenticator.step = _step_with_refusal
