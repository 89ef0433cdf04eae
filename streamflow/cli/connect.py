"""Clients of a worker: with the key they were given, and a check of the worker's certificate."""

import os
import ssl
from pathlib import Path

import httpx

from streamflow.errors import SettingsError


def trust(authorities: Path | None) -> ssl.SSLContext:
    """By which servers' certificates are checked. Raises SettingsError."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise SettingsError(f"{authorities} has no certificates of authorities: {error}") from error


def between_workers(authorities: Path | None, limits: httpx.Limits, timeout_s: float = 5.0) -> httpx.AsyncClient:
    """How workers ask one another: never through a proxy of the environment, which is for what is outside and would see
    rows and tokens. Raises SettingsError."""
    return httpx.AsyncClient(timeout=timeout_s, limits=limits, verify=trust(authorities), trust_env=False)


def connect(url: str, timeout_s: float = 30.0) -> httpx.Client:
    """A client of a worker, with the key or token of STREAMFLOW_API_KEY or STREAMFLOW_API_KEY_FILE, checking its
    certificate by STREAMFLOW_HTTP_CA_FILE. Raises SettingsError."""
    return httpx.Client(base_url=url, timeout=timeout_s, headers=_headers(), verify=_verify(url))


def connect_async(url: str, timeout_s: float) -> httpx.AsyncClient:
    """The same for many requests at once."""
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, timeout=timeout_s, headers=_headers(), verify=_verify(url), limits=limits)


def _headers() -> dict[str, str]:
    key, path = os.environ.get("STREAMFLOW_API_KEY", ""), os.environ.get("STREAMFLOW_API_KEY_FILE")
    if path:
        try:
            key = Path(path).read_text().strip()
        except OSError as error:
            raise SettingsError(f"{path} with the API key cannot be read: {error.strerror}") from error
    return {"Authorization": f"Bearer {key}"} if key else {}


def _verify(url: str) -> ssl.SSLContext | bool:
    authorities = os.environ.get("STREAMFLOW_HTTP_CA_FILE")
    return trust(Path(authorities) if authorities else None) if url.startswith("https") else True
