"""Tokens for SASL OAUTHBEARER: from a file that somebody renews, or from a provider for a client's secret.

aiokafka does not authenticate anew on a connection (KIP-368): where the broker sets `connections.max.reauth.ms` it
closes connections whose token has expired, and ours come back with a fresh one.
"""

import asyncio
import time

import httpx
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from streamflow.errors import BrokerUnavailable, KafkaRefusal, StreamflowError
from streamflow.runtime.hooks import oauth
from streamflow.settings.settings import Settings

#: How long the provider may take.
_ANSWER_S = 10.0
#: A token is asked for anew this long before it expires, and is used at least for so long.
_EARLY_S, _LEAST_S = 60.0, 10.0
_TOKEN_MAX_BYTES = 64 << 10


class TokenSource(AbstractTokenProvider):  # type: ignore[misc]
    """One per process and settings; clients on different loops share the token."""

    def __init__(self, settings: Settings) -> None:
        oauth.install()
        self._settings = settings
        self._token, self._until = "", 0.0

    async def token(self) -> str:
        """A token that is good now. Raises KafkaConnectionError, the one error that aiokafka expects here."""
        try:
            return await self._good_token()
        except StreamflowError as error:
            raise KafkaConnectionError(str(error)) from error

    async def _good_token(self) -> str:
        path = self._settings.kafka_token_file
        if path is not None:
            try:
                with path.open() as file:
                    return file.read(_TOKEN_MAX_BYTES).strip()
            except (OSError, UnicodeError) as error:
                raise KafkaRefusal(f"STREAMFLOW_KAFKA_TOKEN_FILE: {path} cannot be read: {error}") from error
        if time.monotonic() >= self._until:
            # In a thread: the client's loop may be another than that of the last one.
            self._token, lasts_s = await asyncio.to_thread(self._ask)
            self._until = time.monotonic() + max(_LEAST_S, lasts_s - _EARLY_S)
        return self._token

    def _ask(self) -> tuple[str, float]:
        """Token, and seconds that it lasts: the flow of client credentials (RFC 6749, 4.4)."""
        settings = self._settings
        body = {"grant_type": "client_credentials"}
        if settings.kafka_token_scope:
            body["scope"] = settings.kafka_token_scope
        who = (settings.kafka_client_id, settings.kafka_client_secret.get_secret_value())
        try:
            answer = httpx.post(settings.kafka_token_url, data=body, auth=who, timeout=_ANSWER_S)
        except httpx.HTTPError as error:
            raise BrokerUnavailable(f"{settings.kafka_token_url} gives no token: {error!r}") from error
        if answer.status_code in (400, 401, 403):
            message = f"{settings.kafka_token_url} gives no token ({answer.status_code})"
            raise KafkaRefusal(f"{message}: look at STREAMFLOW_KAFKA_CLIENT_ID and …_CLIENT_SECRET")
        try:
            given = answer.raise_for_status().json()
            return str(given["access_token"]), float(given.get("expires_in", _EARLY_S))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise BrokerUnavailable(f"{settings.kafka_token_url} gives no token: {type(error).__name__}") from error
