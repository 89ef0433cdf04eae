"""How workers know one another over HTTP: a token that is good for one request to one worker, for half a minute.

The secret never leaves a worker. Where a worker asks, it knows from the group, where a stranger may have announced
himself: a token that he receives opens nothing, since it names him and the request it was made for.
"""

import hmac
import time

PREFIX = "sfw_"
LASTS_S = 30
#: Clocks of workers may differ by this.
SKEW_S = 30


def _mac(secret: bytes, until_s: int, audience: str, method: str, target: str) -> str:
    text = "\n".join((str(until_s), audience, method, target))
    return hmac.digest(secret, text.encode(), "sha256").hex()


def make(secret: bytes, audience: str, method: str, target: str) -> str:
    """Token for a request. audience: address of the worker asked, target: path with query as they are sent."""
    until_s = int(time.time()) + LASTS_S
    return f"{PREFIX}{until_s}_{_mac(secret, until_s, audience, method, target)}"


def is_good(secret: bytes, token: str, audience: str, method: str, target: str) -> bool:
    """Whether a worker with the same secret made it for this request, just now."""
    until, _, mac = token.removeprefix(PREFIX).partition("_")
    if not until.isdecimal() or not until.isascii() or len(until) > 12 or not mac.isascii():
        return False
    now_s = time.time()
    fits = hmac.compare_digest(mac, _mac(secret, int(until), audience, method, target))
    return fits and now_s - SKEW_S <= int(until) <= now_s + LASTS_S + SKEW_S
