"""Who may use the HTTP server, from the settings; and how this worker says who it is to others."""

from collections.abc import Generator

import httpx

from streamflow.cli.connect import trust
from streamflow.errors import SettingsError
from streamflow.settings.settings import Settings
from streamflow.web import worker_token
from streamflow.web.api_keys import KeyRing
from streamflow.web.app import Tls
from streamflow.web.guard import is_loopback
from streamflow.web.identity import Access
from streamflow.web.oidc import Provider, Verifier, is_secure

_SECRET_LEAST = 32
_PROVIDER_S = 5.0


def tls_of(settings: Settings) -> Tls | None:
    """What HTTPS is served with. Raises SettingsError."""
    certificate, key = settings.http_tls_cert_file, settings.http_tls_key_file
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("STREAMFLOW_HTTP_TLS_CERT_FILE and STREAMFLOW_HTTP_TLS_KEY_FILE go together: set both")
    return Tls(certificate, key)


def access_of(settings: Settings, url: str) -> Access:
    """Ways to say who one is. url: this worker's address. Raises SettingsError when everybody could do everything, and
    nobody said so."""
    known = settings.api_keys_file is not None or bool(settings.oidc_issuer)
    if known and settings.http_anonymous:
        raise SettingsError("STREAMFLOW_HTTP_ANONYMOUS contradicts keys and tokens: leave one out")
    if not known:
        if not settings.http_anonymous and not is_loopback(settings.http_host):
            message = f"whoever reaches {settings.http_host} could do everything: set STREAMFLOW_API_KEYS_FILE or "
            raise SettingsError(message + "STREAMFLOW_OIDC_ISSUER; or STREAMFLOW_HTTP_ANONYMOUS=true if that is meant")
        return Access(url=url, is_exposed=settings.http_anonymous)
    secret = settings.worker_secret.get_secret_value().encode()
    if len(secret) < _SECRET_LEAST:
        message = f"STREAMFLOW_WORKER_SECRET needs {_SECRET_LEAST} characters: workers ask one another with it"
        raise SettingsError(f"{message}; make one by `openssl rand -hex 32`, the same for all")
    keys = None if settings.api_keys_file is None else KeyRing(settings.api_keys_file)
    return Access(keys, _verifier(settings), secret, url, requests_per_s=settings.caller_max_requests_per_s)


def _verifier(settings: Settings) -> Verifier | None:
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_audience:
        raise SettingsError("STREAMFLOW_OIDC_AUDIENCE is missing: tokens for other services would be taken")
    for url in filter(None, (settings.oidc_issuer, settings.oidc_jwks_url)):
        if not is_secure(url):
            raise SettingsError(f"{url} is not https: whoever is in between could make tokens")
    provider = Provider(
        settings.oidc_issuer,
        settings.oidc_audience,
        settings.oidc_jwks_url,
        tuple(settings.oidc_algorithms.split(",")),
        settings.oidc_roles_claim,
        settings.oidc_skew_s,
    )
    return Verifier(provider, httpx.AsyncClient(timeout=_PROVIDER_S, verify=trust(settings.http_ca_file)))


class AsWorker(httpx.Auth):
    """Signs requests to another worker. audience: its address, as the group knows it."""

    def __init__(self, secret: bytes, audience: str) -> None:
        self._secret, self._audience = secret, audience

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Adds the token; blocking and other clients alike."""
        target = request.url.raw_path.decode("latin-1")
        token = worker_token.make(self._secret, self._audience, request.method, target)
        request.headers["Authorization"] = f"Bearer {token}"
        yield request
