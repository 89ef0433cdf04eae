"""Slack, by an incoming webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).

The URL is the credential. `text` is what notifications show, `attachments` give the colour.
"""

from typing import Any, Literal

import orjson
from pydantic import field_validator

from streamflow.alerts.message import Message
from streamflow.alerts.notifiers.notifier import HttpNotifier, HttpNotifierCaller
from streamflow.calls.caller import Origin, Outside
from streamflow.calls.secrets import refers_to_secret

_COLORS = {"info": "#439fe0", "warning": "warning", "critical": "danger"}


class Slack(HttpNotifier):
    """Options of a Slack channel."""

    kind: Literal["slack"]

    @field_validator("url")
    @classmethod
    def _check(cls, text: str) -> str:
        if not refers_to_secret(text):
            raise ValueError("whoever knows it may post: write ${secret:name}")
        return text

    def make(self, name: str, outside: Outside) -> "SlackCaller":
        """See Notifier."""
        return SlackCaller(name, outside, self.url)


class SlackCaller(HttpNotifierCaller):
    """Posts a message as text."""

    async def call(self, row: Message, origin: Origin) -> bool:
        """Send; Slack answers `ok`."""
        await self.post(orjson.dumps(payload(row)), {})
        return True


def payload(message: Message) -> dict[str, Any]:
    """What Slack is sent."""
    color = "good" if message.state == "cleared" else _COLORS[message.severity]
    text = "\n".join(_escaped(line) for line in message.lines)
    title = _escaped(message.title)
    return {"text": title, "attachments": [{"color": color, "fallback": title, "text": text}]}


def _escaped(text: str) -> str:
    """The three characters that Slack's text needs escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
