"""Bearer tokens of an OpenID provider: JWTs checked against its published keys, without asking it per request.

What a token may say about how to check it is nothing: algorithms are pinned by the settings and asymmetric, keys come
from the provider's address alone (`jku`, `x5u` and `jwk` of a token are not looked at).
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from streamflow.errors import ExternalError, Lasting, UserError
from streamflow.web.access import Caller, Grant, parse_grant

log = logging.getLogger(__name__)

#: Keys of the provider are read again after this, and at most this often for a key nobody knows.
REFRESH_S, REFRESH_LEAST_S = 600.0, 15.0
#: Keys serve for so long while the provider does not answer.
STALE_S = 86_400.0
#: A token that was checked is known for so long, and so many are.
REMEMBERED_S, REMEMBERED = 60.0, 1_000
TOKEN_MAX_BYTES = 8 << 10
_ANSWER_MAX_BYTES = 1 << 20
_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_REQUIRED = ["exp", "iss", "aud", "sub"]


class ProviderUnavailable(ExternalError):
    """The provider's keys cannot be read, so nobody can be told from anybody."""

    lasting = Lasting.TRANSIENT


class BadToken(UserError):
    """A token that is not taken. The reason is for the log, not for who sent it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose tokens are taken, and how their roles are found.

    jwks_url: of the provider's discovery document when empty. roles_claim: dots lead into objects
    (`realm_access.roles`); values that are no grants are passed over, since tokens name roles of others too.
    """

    issuer: str
    audience: str
    jwks_url: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    roles_claim: str = "roles"
    skew_s: int = 30


class Verifier:
    """Checks tokens of one provider."""

    def __init__(self, provider: Provider, client: httpx.AsyncClient) -> None:
        self._provider, self._client = provider, client
        self._keys: dict[str, Mapping[str, Any]] = {}
        self._read_at, self._tried_at = float("-inf"), float("-inf")
        self._reading = asyncio.Lock()
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def remembered(self, token: str) -> Caller | None:
        """Who a token that was checked a short while ago is of."""
        found = self._known.get(hashlib.sha256(token.encode()).digest())
        return found[0] if found is not None and time.time() < found[1] else None

    async def verify(self, token: str) -> Caller:
        """Who the token is of. Raises BadToken, ProviderUnavailable."""
        import jwt  # with its cryptography, some 60 ms of start-up that only users of OpenID need

        if len(token) > TOKEN_MAX_BYTES:
            raise BadToken("it is too large")
        try:
            head = jwt.get_unverified_header(token)
            algorithm, key_id = head.get("alg"), head.get("kid", "")
            if algorithm not in self._provider.algorithms:
                raise BadToken(f"its algorithm {algorithm!r} is not taken")
            key = jwt.PyJWK(dict(await self._key(str(key_id), algorithm)), algorithm)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                leeway=self._provider.skew_s,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise BadToken(f"{type(error).__name__}: {error}") from error
        who = Caller(f"oidc:{_printable(claims['sub'])}", self._grants(claims))
        self._known[hashlib.sha256(token.encode()).digest()] = (
            who,
            min(float(claims["exp"]) + self._provider.skew_s, time.time() + REMEMBERED_S),
        )
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return who

    def _grants(self, claims: Mapping[str, Any]) -> tuple[Grant, ...]:
        found: Any = claims
        for part in self._provider.roles_claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        texts = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        grants = []
        for text in texts:
            try:
                grants.append(parse_grant(str(text)))
            except UserError:
                continue  # a role of another program
        return tuple(grants)

    async def _key(self, key_id: str, algorithm: str) -> Mapping[str, Any]:
        now = time.monotonic()
        if key_id not in self._keys or now - self._read_at > REFRESH_S:
            async with self._reading:
                await self._refresh()
        if not self._keys or time.monotonic() - self._read_at > STALE_S:
            raise ProviderUnavailable(f"keys of {self._provider.issuer} cannot be read")
        found = self._keys.get(key_id)
        if found is None and not key_id and len(self._keys) == 1:
            found = next(iter(self._keys.values()))
        if found is None:
            raise BadToken("nobody knows its key")
        if found.get("kty") != _FAMILIES.get(algorithm[:2]) or found.get("alg", algorithm) != algorithm:
            raise BadToken("its key is for another algorithm")
        return found

    async def _refresh(self) -> None:
        """Read the provider's keys, unless that was tried just now."""
        if time.monotonic() - self._tried_at < REFRESH_LEAST_S:
            return
        self._tried_at = time.monotonic()
        try:
            keys = (await self._read(await self._address()))["keys"]
            usable = [each for each in keys if each.get("use", "sig") == "sig" and each.get("kty") != "oct"]
            self._keys = {str(each.get("kid", "")): each for each in usable}
            self._read_at = time.monotonic()
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            log.error("keys of %s cannot be read: %r", self._provider.issuer, error)

    async def _address(self) -> str:
        if self._provider.jwks_url:
            return self._provider.jwks_url
        found = await self._read(self._provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found["issuer"] != self._provider.issuer:
            raise ValueError(f"the discovery document is of {found['issuer']!r}")
        address = str(found["jwks_uri"])
        if not is_secure(address):
            raise ValueError(f"{address} is not https")
        return address

    async def _read(self, url: str) -> Any:
        async with self._client.stream("GET", url, follow_redirects=False) as answer:
            answer.raise_for_status()
            parts, size = [], 0
            async for part in answer.aiter_bytes():
                size += len(part)
                if size > _ANSWER_MAX_BYTES:
                    raise ValueError("the answer is too large")
                parts.append(part)
        return httpx.Response(200, content=b"".join(parts)).json()


def is_secure(url: str) -> bool:
    """Whether nobody in between can change what is read there."""
    parsed = httpx.URL(url)
    return parsed.scheme == "https" or (parsed.scheme == "http" and parsed.host in ("127.0.0.1", "::1", "localhost"))


def _printable(subject: object) -> str:
    """A subject as it may stand in a line of a log."""
    return "".join(each if each.isprintable() else "?" for each in str(subject)[:200])
