"""What every notifier is: configuration as data, and a caller that sends one message under a policy (`calls/`)."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, field_validator

from streamflow.alerts.message import Message
from streamflow.alerts.rules import Strict
from streamflow.bus.masking import MASK
from streamflow.calls.addresses import host_allowed
from streamflow.calls.caller import Origin, Outside
from streamflow.calls.faults import failure_of
from streamflow.calls.http import exchange, open_session, taken
from streamflow.calls.policy import BreakerPlan, Policy, Retry
from streamflow.calls.secrets import refers_to_secret, with_secrets
from streamflow.errors import CallFailed, ErrorClass, Problem, TopologyError
from streamflow.nodes.kind import DurationMs

if TYPE_CHECKING:
    import aiohttp


def _by_reference(text: str) -> str:
    if text and not refers_to_secret(text):
        raise ValueError("write ${secret:name}: files are seen by many")
    return text


#: Text that a file must not have, but refer to.
Secret = Annotated[str, AfterValidator(_by_reference)]

_CONNECTIONS, _CONNECT_MS = 4, 5_000
#: Parts of a secret URL that are masked by themselves.
_HIDDEN_MIN_CHARS = 6


class Notifier(Strict):
    """What all notifiers can be told."""

    timeout: DurationMs = Field(10_000, ge=100, le=120_000, description="of one attempt")
    attempts: int = Field(3, ge=1, le=10, description="of one round; what stays untold is tried in later ones")
    open_for: DurationMs = Field(30_000, ge=100, le=3_600_000, description="pause after three failures in a row")

    @property
    def policy(self) -> Policy:
        """How its calls stand failures. An open circuit does not hold the round up: the message comes up again."""
        retry = Retry(self.attempts, base_ms=500, cap_ms=10_000)
        return Policy(self.timeout, retry, BreakerPlan(failures=3, open_ms=self.open_for, waits=False))

    @abstractmethod
    def make(self, name: str, outside: Outside) -> "NotifierCaller":
        """What sends its messages, not open yet."""


class NotifierCaller:
    """Base of `calls.caller.Caller`s whose rows are messages; the result is nothing but that it was taken."""

    result_type: Any = bool

    def __init__(self, name: str, outside: Outside) -> None:
        self._name, self._outside = name, outside

    async def open(self) -> None:
        """Connect. Raises TopologyError for a secret that is not there."""

    async def close(self) -> None:
        """Let go of everything."""

    @abstractmethod
    async def call(self, row: Message, origin: Origin) -> bool:
        """Send a message. Raises CallFailed."""

    def rows(self, row: Message, result: bool) -> Sequence[Message]:
        """The message, taken."""
        return [row]

    def target(self, row: Message) -> str:
        """Each notifier has one."""
        return self._name

    def fallback(self, row: Message, values: Mapping[str, Any]) -> Message:
        """There is none."""
        return row

    def digest(self, row: Message) -> bytes:
        """Nothing is cached."""
        return row.id.encode()

    def secret(self, text: str, option: str) -> str:
        """Text of an option with its secrets. Raises TopologyError."""
        return with_secrets(text, self._outside, f"notifiers.{self._name}.{option}")


class HttpNotifier(Notifier):
    """What notifiers over HTTP have."""

    url: str = Field(description="https URL; one that is a secret by reference, ${secret:name}")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if refers_to_secret(url):
            return url
        if not _is_url(url) or "@" in urlsplit(url).netloc:
            raise ValueError("begin it with https://, without a password")
        return url


class HttpNotifierCaller(NotifierCaller):
    """Posts JSON. The addresses and hosts that it may reach are those of nodes."""

    def __init__(self, name: str, outside: Outside, url: str) -> None:
        super().__init__(name, outside)
        self._given = url
        self._url = ""
        #: What no message, log or event may say: servers repeat URLs in what they answer.
        self._hidden: list[str] = []
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool."""
        self._url = self.secret(self._given, "url")
        if not _is_url(self._url):
            place = f"notifiers.{self._name}.url"
            raise TopologyError((Problem(place, "its secret makes no URL of it", "begin it with https://"),))
        if refers_to_secret(self._given):
            self._hidden = sorted(_parts_of(self._url), key=len, reverse=True)
        plain = not self._url.startswith("https://")
        self._session = open_session(
            self._outside, only_listed=plain, pool=_CONNECTIONS, connect_timeout_ms=_CONNECT_MS
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """One request that must be a success."""
        assert self._session is not None
        host = urlsplit(self._url).hostname or ""
        if not host_allowed(host, self._outside.hosts):
            raise CallFailed("host", f"{host!r} is no host that this worker may call", ErrorClass.USER)
        try:
            given = {"Content-Type": "application/json", **headers}
            await exchange(self._session, "POST", self._url, given, body, taken)
        except Exception as error:
            failed = failure_of(error)
            raise CallFailed(
                failed.reason, self._shown(str(failed)), failed.error_class, failed.retry_after_s
            ) from None

    def _shown(self, text: str) -> str:
        for each in self._hidden:
            text = text.replace(each, MASK)
        return text


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parts_of(url: str) -> set[str]:
    """What a URL that is a secret must not be told by: all of it, path and query, and what is long in them."""
    parts = urlsplit(url)
    behind = url.partition(parts.netloc)[2]
    found = {
        url,
        behind,
        parts.password or "",
        *(each for each in re.split(r"[/?&=#]", behind) if len(each) >= _HIDDEN_MIN_CHARS),
    }
    return {each for each in found | {unquote(each) for each in found} if len(each) > 1}
