"""Who asks: an API key, a token of the OpenID provider, or another worker. Nothing configured: everybody, as admin."""

import logging
import math
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.requests import HTTPConnection

from streamflow.web import api_keys, worker_token
from streamflow.web.access import ANONYMOUS, WORKER, Caller
from streamflow.web.api_keys import KeyRing
from streamflow.web.attempts import Attempts
from streamflow.web.oidc import BadToken, ProviderUnavailable, Verifier
from streamflow.web.problems import Refusal

log = logging.getLogger(__name__)


@dataclass
class Access:
    """Ways to say who one is. `url`: this worker's address, which tokens of other workers must name."""

    keys: KeyRing | None = None
    oidc: Verifier | None = None
    worker_secret: bytes = b""
    url: str = ""
    #: Whether it was said that everybody may ask, from anywhere.
    is_exposed: bool = False
    #: Requests that a key, or a subject of tokens, may make in a second.
    requests_per_s: int = 1_000
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who they are."""
        return self.keys is None and self.oidc is None

    async def caller(self, connection: HTTPConnection) -> Caller | None:
        """Who asks; None for nobody. Raises Refusal: 401 for what does not fit, 429 for too many of that, 503."""
        if self.is_open:
            return ANONYMOUS
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        text = text.strip()
        if not text:
            return None
        address = connection.client.host if connection.client else ""
        found = self._at_once(connection, text) if scheme.lower() == "bearer" else None
        if found is not None:
            return found
        # Who is known passes above, so that nobody is locked out by a neighbour behind the same address.
        wait_s = self.attempts.wait_s(address)
        if wait_s > 0:
            raise Refusal(429, "too_many_attempts", "too many attempts failed", retry_after_s=math.ceil(wait_s))
        why = "no key or token of this service"
        if self.oidc is not None and scheme.lower() == "bearer" and text.count(".") == 2:
            try:
                return await self.oidc.verify(text)
            except ProviderUnavailable as error:
                raise Refusal(503, "provider_unavailable", str(error), retry_after_s=5) from error
            except BadToken as error:
                why = str(error)
        self.attempts.fail(address)
        log.warning("credentials from %s were not taken: %s", address, "".join(c for c in why if c.isprintable()))
        raise unauthorized()

    def _at_once(self, connection: HTTPConnection, text: str) -> Caller | None:
        """Who it is, where that takes no more than a digest."""
        if text.startswith(api_keys.PREFIX):
            return self.keys.find(text) if self.keys is not None else None
        if text.startswith(worker_token.PREFIX):
            method, target = str(connection.scope.get("method", "GET")), target_of(connection)
            good = bool(self.worker_secret) and worker_token.is_good(self.worker_secret, text, self.url, method, target)
            return WORKER if good else None
        return self.oidc.remembered(text) if self.oidc is not None else None


def target_of(connection: HTTPConnection) -> str:
    """Path and query as they were sent."""
    path: bytes = connection.scope.get("raw_path") or quote(connection.scope["path"]).encode()
    query: bytes = connection.scope["query_string"]
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def unauthorized() -> Refusal:
    """The same for whatever is wrong."""
    return Refusal(401, "unauthorized", "say who you are: Authorization: Bearer with an API key or a token")


#: Nothing configured.
OPEN = Access()
