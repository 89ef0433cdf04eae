"""Any HTTP service, signed as Standard Webhooks 1.0.0 has it (https://www.standardwebhooks.com).

`webhook-signature: v1,` and base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`. The id is the same in every
attempt, so whoever keeps the ids that it took sees each message once; `id` and `state` of each alert tell it apart.
"""

import base64
import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

import orjson
from pydantic import Field

from streamflow.alerts.message import Message
from streamflow.alerts.notifiers.notifier import HttpNotifier, HttpNotifierCaller, Secret
from streamflow.calls.caller import Origin, Outside


class Webhook(HttpNotifier):
    """Options of a webhook."""

    kind: Literal["webhook"]
    secret: Secret = Field(min_length=1, description="key of the signature, ${secret:name}")

    def make(self, name: str, outside: Outside) -> "WebhookCaller":
        """See Notifier."""
        return WebhookCaller(self, name, outside)


class WebhookCaller(HttpNotifierCaller):
    """Posts a message whole."""

    def __init__(self, options: Webhook, name: str, outside: Outside) -> None:
        super().__init__(name, outside, options.url)
        self._options, self._key = options, b""

    async def open(self) -> None:
        """Read the key, too."""
        self._key = self.secret(self._options.secret, "secret").encode()
        await super().open()

    async def call(self, row: Message, origin: Origin) -> bool:
        """Sign and send."""
        body = orjson.dumps(row.plain())
        await self.post(body, signed(self._key, row.id, int(time.time()), body))
        return True


def signed(key: bytes, message: str, at_s: int, body: bytes) -> Mapping[str, str]:
    """Headers of a signed message."""
    digest = hmac.new(key, b"%s.%d.%s" % (message.encode(), at_s, body), sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
